// Calls every function of the host, each at a place where it works, and tells in headers and bodies what came of it.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "transom.h"

#define TEXT(literal) ((transom_slice){(const uint8_t *)(literal), sizeof(literal) - 1})

static const transom_host *host;
// Kept from one callback for another, where it must be refused.
static transom_handle kept;

struct config {
  uint32_t counter, gauge, histogram, distribution;
};

struct filter {
  struct config *config;
  uint64_t call;
  transom_resumer *resumer;
};

static transom_slice text(const char *text) { return (transom_slice){(const uint8_t *)text, strlen(text)}; }

static void tell(transom_handle stream, transom_map map, const char *name, const char *what, long long number) {
  char line[200];
  snprintf(line, sizeof line, "%s=%lld", what, number);
  host->header_add(stream, map, text(name), text(line));
}

static transom_status check(transom_slice config, uint32_t route, transom_fault *fault) {
  const char *bad = "\"bad\"";
  char *found = NULL;
  for (size_t at = 0; at + 5 <= config.len && !found; at++)
    if (memcmp(config.bytes + at, bad, 5) == 0) found = (char *)config.bytes + at;
  if (!found) return TRANSOM_OK;
  fault->len = (size_t)snprintf((char *)fault->text, fault->capacity, "bad is not good%s", route ? " for a route" : "");
  fault->path_len = (size_t)snprintf((char *)fault->path, fault->path_capacity, "/value");
  return TRANSOM_BAD_ARGUMENT;
}

static transom_object prepare(transom_handle control, transom_slice json, transom_wants *wants, transom_fault *fault) {
  (void)json, (void)fault;
  static const transom_slice clusters[] = {{(const uint8_t *)"up", 2}};
  struct config *config = calloc(1, sizeof *config);
  transom_metric metric = {.size = sizeof metric, .help = TEXT("Requests seen.")};
  metric.kind = TRANSOM_COUNTER, metric.name = TEXT("everything_total");
  host->metric_define(control, &metric, &config->counter);
  metric.kind = TRANSOM_GAUGE, metric.name = TEXT("everything_now");
  host->metric_define(control, &metric, &config->gauge);
  metric.kind = TRANSOM_HISTOGRAM, metric.name = TEXT("everything_seconds");
  host->metric_define(control, &metric, &config->histogram);
  metric.kind = TRANSOM_DISTRIBUTION, metric.name = TEXT("everything_bytes");
  host->metric_define(control, &metric, &config->distribution);
  wants->callbacks = 127 | 256;
  wants->clusters = clusters, wants->cluster_count = 1;
  host->log(0, TRANSOM_INFO, TEXT("everything is prepared"));
  return config;
}

static void release(transom_object config) { free(config); }

static transom_object prepare_route(transom_object config, transom_slice route, transom_fault *fault) {
  (void)config, (void)fault;
  return strndup((const char *)route.bytes, route.len);
}

static void release_route(transom_object route) { free(route); }

static transom_object worker_start(transom_object config, transom_handle worker) {
  uint32_t index = 99, count = 0;
  if (host->worker_index(worker, &index, &count) != TRANSOM_OK || index >= count) return NULL;
  // Of a stream only.
  transom_slice value;
  if (host->header_get(worker, TRANSOM_REQUEST_HEADERS, TEXT("a"), 0, &value) != TRANSOM_UNSUPPORTED) return NULL;
  // What a part sets up here comes back in `worker_event`.
  uint64_t timer;
  if (host->timer_set(worker, 1, &timer) != TRANSOM_OK) return NULL;
  return config;
}

static void worker_event(transom_object part, transom_handle worker, const transom_event *event) {
  (void)part;
  if (event->kind == TRANSOM_EVENT_TIMER) host->shared_set(worker, TEXT("everything.part"), TEXT("awake"), 0);
}

static void worker_end(transom_object part) { (void)part; }

static transom_object stream_start(transom_object part, transom_handle stream) {
  (void)stream;
  struct filter *filter = calloc(1, sizeof *filter);
  filter->config = part;
  return filter;
}

static void stream_end(transom_object object) {
  struct filter *filter = object;
  host->resumer_free(filter->resumer);
  free(filter);
}

static void *post_later(void *resumer) {
  usleep(2000);
  // A handle of another thread's callback.
  if (host->terminate(kept) == TRANSOM_GONE) host->resumer_post(resumer, 4711);
  return NULL;
}

static int path_is(transom_handle stream, const char *path) {
  transom_slice found;
  return host->header_get(stream, TRANSOM_REQUEST_HEADERS, TEXT(":path"), 0, &found) == TRANSOM_OK &&
         found.len == strlen(path) && memcmp(found.bytes, path, found.len) == 0;
}

static int32_t request_headers(transom_object object, transom_handle stream, uint32_t end) {
  struct filter *filter = object;
  struct config *config = filter->config;
  const transom_map request = TRANSOM_REQUEST_HEADERS;
  if (path_is(stream, "/terminate")) return host->terminate(stream), 1;
  if (path_is(stream, "/fail")) return host->fail(stream, 503, TEXT("as asked")), 0;
  if (path_is(stream, "/reply")) {
    transom_field field = {TEXT("x-lib"), TEXT("yes")};
    transom_local_reply reply = {.size = sizeof reply, .status = 418, .grpc_status = -1};
    reply.fields = &field, reply.field_count = 1, reply.body = TEXT("short and stout"), reply.details = TEXT("teapot");
    host->send_local_reply(stream, &reply);
    return 1;
  }
  transom_slice value;
  transom_field field;
  size_t count = 0;
  uint32_t version = 0;
  int64_t number = 0;
  transom_attribute attribute;
  tell(stream, request, "x-old-handle", "status", host->terminate(kept));
  kept = stream;
  tell(stream, request, "x-log", "enabled", host->log_enabled(stream, TRANSOM_ERROR));
  host->log(stream, TRANSOM_INFO, TEXT("a request"));
  host->metric_add(stream, config->counter, 1);
  host->metric_add(stream, config->gauge, 3);
  host->metric_observe(stream, config->histogram, 1000000);
  host->metric_observe(stream, config->distribution, 100);
  host->metric_get(stream, config->gauge, &number);
  tell(stream, request, "x-gauge", "is-multiple-of-3", number > 0 && number % 3 == 0);
  host->shared_set(stream, TEXT("everything"), TEXT("shared"), 0);
  tell(stream, request, "x-shared", "status", host->shared_get(stream, TEXT("everything"), &value, &version));
  tell(stream, request, "x-shared-len", "len", (long long)value.len);
  tell(stream, request, "x-shared-changed", "status", host->shared_set(stream, TEXT("everything"), TEXT("x"), version + 7));
  tell(stream, request, "x-part", "status", host->shared_get(stream, TEXT("everything.part"), &value, NULL));
  // A struct that says it is smaller than any that there was.
  tell(stream, request, "x-small", "status", host->send_local_reply(stream, &(transom_local_reply){.size = 8, .status = 418}));
  tell(stream, request, "x-of-connection", "status", host->close(stream));
  host->connection_state_set(stream, TEXT("everything"), TEXT("on the connection"));
  tell(stream, request, "x-connection-state", "status", host->connection_state_get(stream, TEXT("everything"), &value));
  tell(stream, request, "x-at", "status", host->header_at(stream, request, 0, &field));
  tell(stream, request, "x-at-len", "len", (long long)field.name.len);
  host->header_set(stream, request, TEXT("x-set"), TEXT("set"));
  tell(stream, request, "x-bad-name", "status", host->header_set(stream, request, TEXT("a b"), TEXT("set")));
  tell(stream, request, "x-reserved", "status", host->header_set(stream, request, TEXT("content-length"), TEXT("7")));
  host->header_remove(stream, request, TEXT("x-remove"), &count);
  tell(stream, request, "x-removed", "count", (long long)count);
  tell(stream, request, "x-attribute", "status", host->attribute(stream, TEXT("request.method"), &attribute));
  tell(stream, request, "x-attribute-kind", "kind", attribute.kind);
  tell(stream, request, "x-no-attribute", "status", host->attribute(stream, TEXT("no.such"), &attribute));
  host->metadata_set(stream, TEXT("lib"), TEXT("key"), TEXT("{\"a\":[1,true,null]}"));
  tell(stream, request, "x-metadata", "status", host->metadata_get(stream, TEXT("lib"), TEXT("key"), &value));
  tell(stream, request, "x-metadata-len", "len", (long long)value.len);
  tell(stream, request, "x-bad-json", "status", host->metadata_set(stream, TEXT("lib"), TEXT("key"), TEXT("{")));
  host->state_set(stream, TEXT("lib.state"), TEXT("bytes"));
  tell(stream, request, "x-state", "status", host->state_get(stream, TEXT("lib.state"), &value));
  const char *route = host->route_config(stream);
  host->header_set(stream, request, TEXT("x-route"), route ? text(route) : TEXT("none"));
  tell(stream, request, "x-index", "status", host->worker_index(stream, &version, NULL));
  tell(stream, request, "x-define", "status", host->metric_define(stream, &(transom_metric){.size = sizeof(transom_metric)}, &version));
  tell(stream, request, "x-clear-route", "status", host->clear_route(stream));
  tell(stream, request, "x-rematch", "status", host->rematch_route(stream));
  tell(stream, request, "x-rechoose", "status", host->rechoose_host(stream));
  if (path_is(stream, "/skip")) host->skip_phase(stream);
  if (path_is(stream, "/forgo")) host->forgo(stream, 2 | 16);
  if (path_is(stream, "/pause")) {
    uint64_t dropped = 0, timer = 0;
    host->timer_set(stream, 1, &dropped);
    host->timer_cancel(stream, dropped);
    host->timer_set(stream, 2, &timer);
    host->hold_back(stream, TRANSOM_REQUEST, 1);
    return 3;
  }
  if (path_is(stream, "/thread")) {
    pthread_t thread;
    filter->resumer = host->resumer_new(stream);
    pthread_create(&thread, NULL, post_later, filter->resumer);
    pthread_detach(thread);
    return 3;
  }
  (void)end;
  return 0;
}

static void event(transom_object object, transom_handle stream, const transom_event *event) {
  struct filter *filter = object;
  if (event->kind == TRANSOM_EVENT_TIMER) {
    transom_field fields[] = {{TEXT(":method"), TEXT("GET")}, {TEXT(":path"), TEXT("/called")}, {TEXT(":authority"), TEXT("up")}};
    transom_call call = {.size = sizeof call, .fields = fields, .field_count = 3, .timeout_ms = 1000};
    uint64_t dropped = 0;
    call.cluster = TEXT("other");
    tell(stream, TRANSOM_REQUEST_HEADERS, "x-not-allowed", "status", host->http_call(stream, &call, &dropped));
    call.cluster = TEXT("up");
    host->http_call(stream, &call, &dropped);
    host->callout_cancel(stream, dropped);
    host->http_call(stream, &call, &filter->call);
  } else if (event->kind == TRANSOM_EVENT_CALLOUT) {
    tell(stream, TRANSOM_REQUEST_HEADERS, "x-callout", "right", event->number == filter->call);
    tell(stream, TRANSOM_REQUEST_HEADERS, "x-callout-body", "len", (long long)event->callout->body.len);
    host->hold_back(stream, TRANSOM_REQUEST, 0);
    host->resume(stream, TRANSOM_REQUEST);
  } else if (event->kind == TRANSOM_EVENT_RESUMED) {
    tell(stream, TRANSOM_REQUEST_HEADERS, "x-token", "token", (long long)event->number);
    host->resume(stream, TRANSOM_REQUEST);
  }
}

static int32_t request_body(transom_object object, transom_handle stream, uint32_t end) {
  (void)object, (void)stream, (void)end;
  return 0;
}

static int32_t request_trailers(transom_object object, transom_handle stream) {
  (void)object, (void)stream;
  return 0;
}

static int32_t response_headers(transom_object object, transom_handle stream, uint32_t end) {
  (void)object, (void)end;
  host->header_set(stream, TRANSOM_RESPONSE_HEADERS, TEXT("x-lib"), TEXT("seen"));
  return 0;
}

// `[`, all pieces, and their number of bytes behind.
static int32_t response_body(transom_object object, transom_handle stream, uint32_t end) {
  (void)object;
  size_t len = host->body_len(stream, TRANSOM_RESPONSE), sum = 0;
  transom_slice piece;
  for (size_t at = 0; host->body_piece(stream, TRANSOM_RESPONSE, at, &piece) == TRANSOM_OK; at++) sum += piece.len;
  if (sum != len) return 77;
  if (len) {
    host->body_splice(stream, TRANSOM_RESPONSE, 0, 0, TEXT("["));
    host->body_splice(stream, TRANSOM_RESPONSE, len + 1, 0, TEXT("]"));
  }
  if (end) host->inject(stream, TRANSOM_RESPONSE, TEXT(""), 0);
  return 0;
}

static int32_t response_trailers(transom_object object, transom_handle stream) {
  (void)object, (void)stream;
  return 0;
}

static void complete(transom_object object, transom_handle stream) {
  struct filter *filter = object;
  host->metric_add(stream, filter->config->gauge, -3);
}

static const transom_stream_filter filter = {
    .size = sizeof filter,
    .check = check,
    .prepare = prepare,
    .release = release,
    .prepare_route = prepare_route,
    .release_route = release_route,
    .worker_start = worker_start,
    .worker_event = worker_event,
    .worker_end = worker_end,
    .stream_start = stream_start,
    .stream_end = stream_end,
    .request_headers = request_headers,
    .request_body = request_body,
    .request_trailers = request_trailers,
    .response_headers = response_headers,
    .response_body = response_body,
    .response_trailers = response_trailers,
    .event = event,
    .complete = complete,
};

const transom_library *transom_library_entry(const transom_host *given) {
  static transom_extension extensions[2] = {
      {.kind = TRANSOM_STREAM_FILTER, .table = &filter},
      {.kind = 4000000},  // of a version to come
  };
  static transom_library library = {
      .magic = TRANSOM_MAGIC,
      .size = sizeof library,
      .major = TRANSOM_MAJOR,
      .minor = TRANSOM_MINOR,
      .extensions = extensions,
      .extension_count = 2,
      .extension_size = sizeof *extensions,
  };
  library.name = TEXT("everything");
  library.version = TEXT("0.1.0");
  library.made_with = TEXT("C");
  host = given;
  return &library;
}
