// Is called with the heads of request and response, and does nothing.
#include "filters.h"

static int32_t headers(transom_object object, transom_handle stream, uint32_t end) {
  (void)object, (void)stream, (void)end;
  return 0;
}

const transom_library *transom_library_entry(const transom_host *given) {
  static const transom_stream_filter filter = {
      .size = sizeof filter,
      .prepare = prepare,
      .release = release,
      .stream_start = stream_start,
      .request_headers = headers,
      .response_headers = headers,
  };
  return library_of(&filter, given);
}
