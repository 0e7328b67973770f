// A filter that is compiled with the header of version 1.0: smaller structs of its own, and nothing of its host's that came later.
#include "transom.h"

#define TEXT(literal) ((transom_slice){(const uint8_t *)(literal), sizeof(literal) - 1})

_Static_assert(TRANSOM_MINOR == 0, "this is no old header");

static const transom_host *host;
static uint32_t counter;

static transom_object prepare(transom_handle control, transom_slice json, transom_wants *wants, transom_fault *fault) {
  (void)json, (void)fault;
  // The host gives more room than this version knows of.
  if (wants->size <= sizeof *wants) return 0;
  transom_metric metric = {.size = sizeof metric, .kind = TRANSOM_COUNTER, .name = TEXT("old_total"), .help = TEXT("Requests.")};
  if (host->metric_define(control, &metric, &counter) != TRANSOM_OK) return 0;
  wants->callbacks = 1 | 8;
  return &counter;
}

static void release(transom_object config) { (void)config; }

static transom_object stream_start(transom_object part, transom_handle stream) {
  (void)stream;
  return part;
}

static int32_t request_headers(transom_object object, transom_handle stream, uint32_t end) {
  (void)object, (void)end;
  transom_slice path;
  host->metric_add(stream, counter, 1);
  if (host->header_get(stream, TRANSOM_REQUEST_HEADERS, TEXT(":path"), 0, &path) != TRANSOM_OK || path.len != 7) return 0;
  transom_local_reply reply = {.size = sizeof reply, .status = 418, .grpc_status = -1};
  host->send_local_reply(stream, &reply);
  return 1;
}

static int32_t response_headers(transom_object object, transom_handle stream, uint32_t end) {
  (void)object, (void)end;
  host->header_set(stream, TRANSOM_RESPONSE_HEADERS, TEXT("x-old"), TEXT("1.0"));
  return 0;
}

static const transom_stream_filter filter = {
    .size = sizeof filter,
    .prepare = prepare,
    .release = release,
    .stream_start = stream_start,
    .request_headers = request_headers,
    .response_headers = response_headers,
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
  host = given;
  return &library;
}
