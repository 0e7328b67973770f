// What the libraries of bench/library have in common: a filter without a configuration.
#pragma once
#include <stdint.h>
#include <string.h>

#include "transom.h"

#define TEXT(literal) ((transom_slice){(const uint8_t *)(literal), sizeof(literal) - 1})

static const transom_host *host;

static transom_object prepare(transom_handle control, transom_slice json, transom_wants *wants, transom_fault *fault) {
  (void)control, (void)json, (void)fault;
  wants->callbacks = 1 | 8;  // headers of requests and of responses
  return &host;
}

static void release(transom_object config) { (void)config; }

static transom_object stream_start(transom_object config, transom_handle stream) {
  (void)stream;
  return config;
}

// The library's one function. `filter` has its callbacks.
static inline const transom_library *library_of(const transom_stream_filter *filter, const transom_host *given) {
  static transom_extension extension = {.kind = TRANSOM_STREAM_FILTER};
  static transom_library library = {
      .magic = TRANSOM_MAGIC,
      .size = sizeof library,
      .major = TRANSOM_MAJOR,
      .minor = TRANSOM_MINOR,
      .extensions = &extension,
      .extension_count = 1,
      .extension_size = sizeof extension,
  };
  extension.table = filter;
  library.name = TEXT("bench");
  library.version = TEXT("1.0.0");
  library.made_with = TEXT("C");
  host = given;
  return &library;
}
