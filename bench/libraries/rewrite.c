// Sets a field of each request and one of each response, whatever they were: what `header_mutation` does with `set`.
#include "filters.h"

static int32_t request_headers(transom_object object, transom_handle stream, uint32_t end) {
  (void)object, (void)end;
  host->header_set(stream, TRANSOM_REQUEST_HEADERS, TEXT("x-team"), TEXT("blue"));
  return 0;
}

static int32_t response_headers(transom_object object, transom_handle stream, uint32_t end) {
  (void)object, (void)end;
  host->header_set(stream, TRANSOM_RESPONSE_HEADERS, TEXT("x-proxy"), TEXT("transom"));
  return 0;
}

const transom_library *transom_library_entry(const transom_host *given) {
  static const transom_stream_filter filter = {
      .size = sizeof filter,
      .prepare = prepare,
      .release = release,
      .stream_start = stream_start,
      .request_headers = request_headers,
      .response_headers = response_headers,
  };
  return library_of(&filter, given);
}
