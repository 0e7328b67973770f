// The table of functions, whose callbacks are Go's.
#include "filters.h"

extern int32_t goHeaders(transom_object object, transom_handle stream, uint32_t end);

const transom_library *transom_library_entry(const transom_host *given) {
  static const transom_stream_filter filter = {
      .size = sizeof filter,
      .prepare = prepare,
      .release = release,
      .stream_start = stream_start,
      .request_headers = goHeaders,
      .response_headers = goHeaders,
  };
  return library_of(&filter, given);
}
