// A library with one defect, which a macro names: each must be refused with its reason, and harm nobody.
#include <stdlib.h>
#include <unistd.h>

#include "transom.h"

#define TEXT(literal) {(const uint8_t *)(literal), sizeof(literal) - 1}

static transom_object prepare(transom_handle control, transom_slice json, transom_wants *wants, transom_fault *fault) {
  (void)control, (void)json, (void)fault;
#ifdef UNKNOWN_WANTS
  wants->callbacks = 1u << 20;
#else
  wants->callbacks = 1;
#endif
#ifdef REFUSES_CONFIG
  return NULL;
#endif
  return (transom_object)1;
}

static void release(transom_object config) { (void)config; }
static transom_object stream_start(transom_object config, transom_handle stream) {
  (void)stream;
  return config;
}
static int32_t request_headers(transom_object object, transom_handle stream, uint32_t end) {
  (void)object, (void)stream, (void)end;
  return 77;  // no verdict
}

static const transom_stream_filter filter = {
    .size = sizeof filter,
    .prepare = prepare,
#ifndef NO_FUNCTION
    .release = release,
#endif
    .stream_start = stream_start,
    .request_headers = request_headers,
};

#ifdef NO_FUNCTION
void unused(void) { release(NULL); }
#endif

__attribute__((constructor)) static void begin(void) {
#ifdef CRASHES
  *(volatile int *)8 = 1;
#endif
#ifdef EXITS
  _exit(3);
#endif
}

#ifdef NO_SYMBOL
extern void nobody_has_this(void);
void (*needs)(void) = nobody_has_this;
#endif

#ifdef NO_ENTRY
#define transom_library_entry another_name
const transom_library *another_name(const transom_host *host);
#endif

const transom_library *transom_library_entry(const transom_host *host) {
  (void)host;
#ifdef NO_TABLE
  static const transom_extension extension = {.kind = TRANSOM_STREAM_FILTER};
#else
  static const transom_extension extension = {.kind = TRANSOM_STREAM_FILTER, .table = &filter};
#endif
  static const transom_library library = {
#ifdef WRONG_MAGIC
      .magic = 7,
#else
      .magic = TRANSOM_MAGIC,
#endif
      .size = sizeof library,
#ifdef WRONG_MAJOR
      .major = TRANSOM_MAJOR + 1,
#else
      .major = TRANSOM_MAJOR,
#endif
      .minor = TRANSOM_MINOR,
#ifdef NEEDS
      .needs = 1u << 5,
#endif
      .name = TEXT("defect"),
      .version = TEXT("1.0.0"),
      .made_with = TEXT("C"),
      .extensions = &extension,
      .extension_count = 1,
      .extension_size = sizeof extension,
  };
#ifdef REFUSES_HOST
  return NULL;
#endif
  return &library;
}
