// A filter that tells its version in each response, and remembers in each stream which one that was when the stream began.
#include "transom.h"

#define TEXT(literal) ((transom_slice){(const uint8_t *)(literal), sizeof(literal) - 1})

static const transom_host *host;
static int some;

static transom_object prepare(transom_handle control, transom_slice json, transom_wants *wants, transom_fault *fault) {
  (void)control, (void)json, (void)fault;
  wants->callbacks = 1 | 8;
  return &some;
}

static void release(transom_object config) { (void)config; }

static transom_object stream_start(transom_object part, transom_handle stream) {
  (void)stream;
  return part;
}

static int32_t request_headers(transom_object object, transom_handle stream, uint32_t end) {
  (void)object, (void)end;
  host->header_set(stream, TRANSOM_REQUEST_HEADERS, TEXT("x-began-with"), TEXT(VERSION));
  return 0;
}

static int32_t response_headers(transom_object object, transom_handle stream, uint32_t end) {
  (void)object, (void)end;
  host->header_set(stream, TRANSOM_RESPONSE_HEADERS, TEXT("x-ended-with"), TEXT(VERSION));
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
