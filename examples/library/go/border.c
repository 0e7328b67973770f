// The table of functions, in C: it hands to Go what is Go's to decide, and saves the ways that Go need not be asked for.
#include "border.h"

#include <stdlib.h>
#include <string.h>

#include "_cgo_export.h"

#define TEXT(literal) ((transom_slice){(const uint8_t *)(literal), sizeof(literal) - 1})
#define MOST 16

static const transom_host *host;

struct config {
  uintptr_t go;
  size_t name_len;
  uint8_t name[256];
};

static transom_object prepare(transom_handle control, transom_slice json, transom_wants *wants, transom_fault *fault) {
  (void)control;
  uintptr_t go = goPrepare(json, fault);
  struct config *config = go ? malloc(sizeof *config) : NULL;
  if (config == NULL) return NULL;
  config->go = go;
  config->name_len = goName(go, config->name, sizeof config->name);
  wants->callbacks = 1;  // request headers and nothing else
  return config;
}

static void release(transom_object object) {
  struct config *config = object;
  goRelease(config->go);
  free(config);
}

// There is nothing to keep of a stream: its object is the configuration.
static transom_object stream_start(transom_object config, transom_handle stream) {
  (void)stream;
  return config;
}

static int32_t request_headers(transom_object object, transom_handle stream, uint32_t end) {
  (void)end;
  const struct config *config = object;
  const transom_slice name = {config->name, config->name_len};
  transom_slice values[MOST];
  size_t count = 0;
  while (count < MOST && host->header_get(stream, TRANSOM_REQUEST_HEADERS, name, count, &values[count]) == TRANSOM_OK) count++;
  if (goLetsPass(config->go, values, count)) return 0;
  transom_local_reply reply = {.size = sizeof reply, .status = 403, .grpc_status = -1};
  reply.body = TEXT("a required header is missing\n");
  reply.details = TEXT("auth_denied");
  host->send_local_reply(stream, &reply);
  return 1;
}

static const transom_stream_filter filter = {
    .size = sizeof filter,
    .prepare = prepare,
    .release = release,
    .stream_start = stream_start,
    .request_headers = request_headers,
};

__attribute__((visibility("default"))) const transom_library *transom_library_entry(const transom_host *given) {
  static const transom_extension extension = {.kind = TRANSOM_STREAM_FILTER, .table = &filter};
  static transom_library library = {
      .magic = TRANSOM_MAGIC,
      .size = sizeof library,
      .major = TRANSOM_MAJOR,
      .minor = TRANSOM_MINOR,
      .extensions = &extension,
      .extension_count = 1,
      .extension_size = sizeof extension,
  };
  library.name = TEXT("auth");
  library.version = TEXT("1.0.0");
  library.made_with = TEXT("Go");
  host = given;
  return &library;
}
