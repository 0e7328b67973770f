// An extension of the kind that `KIND` names, with one defect, which another macro names: each must be refused with its reason, and
// harm nobody.
#include <stddef.h>
#include <stdlib.h>

#include "transom.h"

#define TEXT(literal) {(const uint8_t *)(literal), sizeof(literal) - 1}

static const transom_host *host;

#if KIND == 2
typedef transom_network_filter table_type;
typedef transom_network_wants wants_type;
#define REQUIRED connection_start
#elif KIND == 3
typedef transom_listener_filter table_type;
typedef transom_listener_wants wants_type;
#define REQUIRED socket_start
#elif KIND == 4
typedef transom_access_log table_type;
typedef transom_log_wants wants_type;
#define REQUIRED log
#elif KIND == 5
typedef transom_certificate_provider table_type;
typedef transom_certificate_wants wants_type;
#define REQUIRED certificates
#elif KIND == 7
typedef transom_selector table_type;
typedef transom_selector_wants wants_type;
#define REQUIRED select
#else
typedef transom_stream_filter table_type;
typedef transom_wants wants_type;
#define REQUIRED stream_start
#endif

static transom_object prepare(transom_handle control, transom_slice json, wants_type *wants, transom_fault *fault) {
  (void)control, (void)json, (void)wants, (void)fault;
#ifdef REFUSES_CONFIG
  return NULL;
#endif
#if defined(UNKNOWN_WANTS) && (KIND == 1 || KIND == 2)
  wants->callbacks = 1u << 20;
#endif
#if defined(BAD_CLUSTER) && KIND != 3 && KIND != 5 && KIND != 7
  static const transom_slice clusters[] = {{(const uint8_t *)"\xff\xfe", 2}};
  wants->clusters = clusters, wants->cluster_count = 1;
#endif
  return (transom_object)1;
}

static void release(transom_object config) { (void)config; }

#if KIND == 4
static void required(transom_object part, transom_handle handle, const transom_record *record) {
  (void)part, (void)handle, (void)record;
}
#elif KIND == 5
static void required(transom_object config, transom_question question) {
  (void)config;
#ifdef GIVES_NOTHING_READABLE
  transom_certificate certificate = {.chain = TEXT("no certificate"), .key = TEXT("no key")};
  transom_certificates given = {.size = sizeof given, .certificates = &certificate, .certificate_count = 1};
  given.certificate_size = sizeof certificate;
#elif defined(GIVES_NULL)
  transom_certificates given = {.size = sizeof given, .certificate_count = 1, .certificate_size = sizeof(transom_certificate)};
  if (host->certificates_give(question, &given) != TRANSOM_BAD_ARGUMENT) abort();
  if (host->certificates_give(question, NULL) != TRANSOM_BAD_ARGUMENT) abort();
  host->certificates_refuse(question, (transom_slice)TEXT("null was refused"), (transom_slice)TEXT(""));
#else
  transom_certificates given = {.size = sizeof given};
#endif
  host->certificates_give(question, &given);
}
#elif KIND == 7
static int64_t required(transom_object selector, transom_handle choice) {
  (void)selector, (void)choice;
  return 1000000;
}
#else
static transom_object required(transom_object config, transom_handle handle) {
  (void)handle;
  return config;
}
#endif

#ifdef WORKER_REFUSES
static transom_object worker_start(transom_object config, transom_handle worker) {
  (void)config, (void)worker;
  return NULL;
}
#endif

static const table_type table = {
#ifdef SIZE_ZERO
    .size = 0,
#elif defined(SIZE_TOO_SMALL)
    .size = offsetof(table_type, release),
#else
    .size = sizeof table,
#endif
#ifndef NO_PREPARE
    .prepare = prepare,
#endif
#ifndef NO_RELEASE
    .release = release,
#endif
#ifndef NO_REQUIRED
    .REQUIRED = required,
#endif
#ifdef WORKER_REFUSES
    .worker_start = worker_start,
#endif
};

__attribute__((constructor)) static void begin(void) {
#ifdef ABORTS
  abort();
#endif
}

// So that none is unused.
const void *const all[] = {(const void *)prepare, (const void *)release, (const void *)required};

const transom_library *transom_library_entry(const transom_host *given) {
  static const transom_extension extensions[] = {
#ifdef NO_TABLE
      {.kind = KIND},
#elif defined(BAD_NAME)
      {.kind = KIND, .name = TEXT("\xff"), .table = &table},
#else
      {.kind = KIND, .table = &table},
#endif
  };
  static const transom_library library = {
      .magic = TRANSOM_MAGIC,
#ifdef DESCRIPTION_TOO_SMALL
      .size = offsetof(transom_library, extension_size),
#else
      .size = sizeof library,
#endif
      .major = TRANSOM_MAJOR,
      .minor = TRANSOM_MINOR,
      .name = TEXT("defect"),
      .version = TEXT("1.0.0"),
      .made_with = TEXT("C"),
#ifndef NO_LIST
      .extensions = extensions,
#endif
#ifdef ENDLESS_LIST
      .extension_count = (size_t)-1,
#else
      .extension_count = 1,
#endif
#ifdef EXTENSION_TOO_SMALL
      .extension_size = sizeof *extensions - 1,
#else
      .extension_size = sizeof *extensions,
#endif
  };
  host = given;
  return &library;
}
