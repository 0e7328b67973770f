// Lets only those requests pass that have a certain header: a stream filter in C.
//
// Its configuration is text, `NAME: VALUE`. Build: cc -shared -fPIC -fvisibility=hidden -I sdk/c -o auth.so examples/library/auth.c
#include <stdlib.h>
#include <string.h>

#include "transom.h"

#define TEXT(literal) ((transom_slice){(const uint8_t *)(literal), sizeof(literal) - 1})

static const transom_host *host;

// A configuration: the two halves of the text, which is behind them.
struct config {
  transom_slice name, value;
  uint8_t text[];
};

static void refuse(transom_fault *fault, const char *why) {
  size_t len = strlen(why);
  fault->len = len < fault->capacity ? len : fault->capacity;
  memcpy(fault->text, why, fault->len);
}

// The configuration comes as JSON: text is in quotes. Names and values of header fields need no escapes.
static transom_object prepare(transom_handle control, transom_slice json, transom_wants *wants, transom_fault *fault) {
  (void)control;
  if (json.len < 2 || json.bytes[0] != '"' || memchr(json.bytes, '\\', json.len) != NULL) {
    refuse(fault, "it is to be text such as `User: admin`");
    return NULL;
  }
  size_t len = json.len - 2;
  struct config *config = malloc(sizeof *config + len);
  if (config == NULL) {
    refuse(fault, "there is no memory");
    return NULL;
  }
  memcpy(config->text, json.bytes + 1, len);
  uint8_t *colon = memchr(config->text, ':', len);
  if (colon == NULL || colon == config->text) {
    free(config);
    refuse(fault, "it has no name and colon; write for example `User: admin`");
    return NULL;
  }
  uint8_t *value = colon + 1, *end = config->text + len;
  while (value < end && *value == ' ') value++;
  config->name = (transom_slice){config->text, (size_t)(colon - config->text)};
  config->value = (transom_slice){value, (size_t)(end - value)};
  wants->callbacks = 1;  // request headers and nothing else
  return config;
}

static void release(transom_object config) { free(config); }

// There is nothing to keep of a stream: its object is the configuration.
static transom_object stream_start(transom_object config, transom_handle stream) {
  (void)stream;
  return config;
}

static int32_t request_headers(transom_object object, transom_handle stream, uint32_t end) {
  (void)end;
  const struct config *config = object;
  transom_slice value;
  for (size_t nth = 0; host->header_get(stream, TRANSOM_REQUEST_HEADERS, config->name, nth, &value) == TRANSOM_OK; nth++)
    if (value.len == config->value.len && memcmp(value.bytes, config->value.bytes, value.len) == 0) return 0;
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

#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
const transom_library *
transom_library_entry(const transom_host *given) {
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
  library.made_with = TEXT("C");
  host = given;
  return &library;
}
