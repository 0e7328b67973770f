// One library that is a network filter, a listener filter, an access log, a certificate provider, a selector and a client. What the functions of the
// host answer is told where a test can see it: to the client, in metadata, in the entries of the log.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "transom.h"

#define TEXT(literal) ((transom_slice){(const uint8_t *)(literal), sizeof(literal) - 1})

static const transom_host *host;
// Kept from callbacks for others, where they must be refused.
static _Atomic transom_handle late_connection, late_record;

static transom_slice text(const char *text) { return (transom_slice){(const uint8_t *)text, strlen(text)}; }

static int starts(transom_slice bytes, const char *with) {
  size_t len = strlen(with);
  return bytes.len >= len && memcmp(bytes.bytes, with, len) == 0;
}

static int is(transom_slice bytes, const char *what) { return bytes.len == strlen(what) && starts(bytes, what); }

// The value of `"key":"value"` in JSON without escapes, to be freed; null if there is none.
static char *value_of(transom_slice json, const char *key) {
  char *all = strndup((const char *)json.bytes, json.len), *found = NULL, look[64];
  snprintf(look, sizeof look, "\"%s\":\"", key);
  char *at = strstr(all, look);
  if (at) {
    at += strlen(look);
    found = strndup(at, strcspn(at, "\""));
  }
  free(all);
  return found;
}

static transom_status check(transom_slice config, transom_fault *fault) {
  char *bad = value_of(config, "bad");
  if (!bad) return TRANSOM_OK;
  free(bad);
  fault->len = (size_t)snprintf((char *)fault->text, fault->capacity, "it is bad");
  fault->path_len = (size_t)snprintf((char *)fault->path, fault->path_capacity, "/bad");
  return TRANSOM_BAD_ARGUMENT;
}

static uint32_t counter(transom_handle control, const char *name) {
  uint32_t number = 0;
  transom_metric metric = {.size = sizeof metric, .kind = TRANSOM_GAUGE, .name = text(name), .help = TEXT("Things.")};
  host->metric_define(control, &metric, &number);
  return number;
}

// ---- The network filter: clients are let begin by a callout; what they send are orders.

struct net {
  uint32_t open;
  char *posted;
};

struct connection {
  struct net *net;
  uint64_t timer, call;
  transom_resumer *resumer;
  int status[16], count, greeted;
};

static transom_object net_prepare(transom_handle control, transom_slice json, transom_network_wants *wants, transom_fault *fault) {
  (void)fault;
  static const transom_slice clusters[] = {{(const uint8_t *)"web", 3}, {(const uint8_t *)"two", 3}};
  struct net *net = calloc(1, sizeof *net);
  net->open = counter(control, "kinds_connections");
  net->posted = value_of(json, "posted");
  if (host->resumer_new(control) != NULL) return NULL;  // It has no news to tell.
  if (wants->callbacks != 3) return NULL;               // Both are in the table.
  wants->clusters = clusters, wants->cluster_count = 2;
  return net;
}

static void net_release(transom_object config) {
  free(((struct net *)config)->posted);
  free(config);
}

static transom_object part_start(transom_object config, transom_handle worker) {
  uint64_t timer;
  // What a part sets up here comes back in `part_event`.
  if (host->timer_set(worker, 1, &timer) != TRANSOM_OK) return NULL;
  // Of a socket and of a record only.
  if (host->socket_consume(worker, 1) != TRANSOM_UNSUPPORTED) return NULL;
  if (host->log_append(worker, TEXT("")) != TRANSOM_UNSUPPORTED) return NULL;
  return config;
}

static void part_event(transom_object part, transom_handle worker, const transom_event *event) {
  (void)part;
  if (event->kind == TRANSOM_EVENT_TIMER) host->shared_set(worker, TEXT("kinds.part"), TEXT("event"), 0);
}

static void part_end(transom_object part) { (void)part; }

static transom_object connection_start(transom_object part, transom_handle handle) {
  struct connection *connection = calloc(1, sizeof *connection);
  connection->net = part;
  host->metric_add(handle, connection->net->open, 1);
  return connection;
}

static void connection_end(transom_object object) {
  struct connection *connection = object;
  host->resumer_free(connection->resumer);
  free(connection);
}

static void note(struct connection *connection, int status) {
  if (connection->count < 16) connection->status[connection->count++] = status;
}

static int32_t begin(transom_object object, transom_handle handle) {
  struct connection *connection = object;
  transom_attribute attribute;
  transom_slice value;
  transom_field field;
  uint64_t dropped;
  note(connection, host->close(late_connection));
  late_connection = handle;
  note(connection, host->attribute(handle, TEXT("source.address"), &attribute));
  note(connection, host->metadata_set(handle, TEXT("kinds"), TEXT("net"), TEXT("\"begun\"")));
  note(connection, host->metadata_get(handle, TEXT("kinds"), TEXT("net"), &value));
  note(connection, host->state_set(handle, TEXT("own"), TEXT("here")));
  note(connection, host->state_get(handle, TEXT("own"), &value));
  note(connection, host->connection_state_get(handle, TEXT("shared"), &value));
  note(connection, host->connection_state_set(handle, TEXT("shared"), TEXT("there")));
  note(connection, host->connection_state_get(handle, TEXT("shared"), &value));
  note(connection, host->header_at(handle, TRANSOM_REQUEST_HEADERS, 0, &field));
  note(connection, host->socket_get(handle, TRANSOM_SOCKET_SOURCE, &value));
  note(connection, host->choose_cluster(handle, (transom_slice){(const uint8_t *)"\xff", 1}));
  host->timer_set(handle, 1, &dropped);
  host->timer_cancel(handle, dropped);
  host->timer_set(handle, 2, &connection->timer);
  return 1;
}

static void net_event(transom_object object, transom_handle handle, const transom_event *event) {
  struct connection *connection = object;
  if (event->kind == TRANSOM_EVENT_TIMER && event->number == connection->timer) {
    transom_field fields[] = {{TEXT(":method"), TEXT("GET")}, {TEXT(":path"), TEXT("/may")}, {TEXT(":authority"), TEXT("web")}};
    transom_call call = {.size = sizeof call, .cluster = TEXT("web"), .fields = fields, .field_count = 3, .timeout_ms = 5000};
    uint64_t dropped;
    host->http_call(handle, &call, &dropped);
    host->callout_cancel(handle, dropped);
    host->http_call(handle, &call, &connection->call);
  } else if (event->kind == TRANSOM_EVENT_CALLOUT && event->number == connection->call) {
    // The host's answer names the cluster.
    if (is(event->callout->body, "two")) host->choose_cluster(handle, TEXT("two"));
    host->resume(handle, TRANSOM_REQUEST);
  } else if (event->kind == TRANSOM_EVENT_RESUMED) {
    host->inject(handle, TRANSOM_RESPONSE, event->number == 4711 ? TEXT("token;") : TEXT("other;"), 0);
    host->resume(handle, TRANSOM_REQUEST);
  }
}

static void *post_later(void *resumer) {
  usleep(2000);
  host->resumer_post(resumer, 4711);
  return NULL;
}

struct posts {
  transom_resumer *resumer;
  char *file;
};

// Posts to a connection that is gone by then, and tells when it is done.
static void *post_on(void *given) {
  struct posts *posts = given;
  for (int n = 0; n < 200; n++) {
    host->resumer_post(posts->resumer, 1);
    usleep(500);
  }
  host->resumer_free(posts->resumer);
  FILE *file = posts->file ? fopen(posts->file, "w") : NULL;
  if (file) fclose(file);
  free(posts->file), free(posts);
  return NULL;
}

static int32_t data(transom_object object, transom_handle handle, uint32_t end) {
  struct connection *connection = object;
  transom_slice piece = {NULL, 0};
  size_t len = host->body_len(handle, TRANSOM_REQUEST);
  host->body_piece(handle, TRANSOM_REQUEST, 0, &piece);
  if (starts(piece, "status")) {
    char line[200];
    int at = 0;
    for (int n = 0; n < connection->count; n++) at += snprintf(line + at, sizeof line - (size_t)at, "%d ", connection->status[n]);
    host->body_splice(handle, TRANSOM_REQUEST, 0, len, TEXT(""));
    host->inject(handle, TRANSOM_RESPONSE, text(line), 0);
  } else if (starts(piece, "close")) {
    host->inject(handle, TRANSOM_RESPONSE, TEXT("bye"), 0);
    host->close(handle);
  } else if (starts(piece, "later")) {
    struct posts *posts = malloc(sizeof *posts);
    *posts = (struct posts){host->resumer_new(handle), connection->net->posted ? strdup(connection->net->posted) : NULL};
    pthread_t thread;
    pthread_create(&thread, NULL, post_on, posts);
    pthread_detach(thread);
    host->close(handle);
  } else if (starts(piece, "reset")) {
    host->terminate(handle);
  } else if (starts(piece, "fail")) {
    host->fail(handle, 503, TEXT("as asked"));
  } else if (starts(piece, "nonsense")) {
    return 9;
  } else if (starts(piece, "thread")) {
    pthread_t thread;
    if (!connection->resumer) connection->resumer = host->resumer_new(handle);
    pthread_create(&thread, NULL, post_later, connection->resumer);
    pthread_detach(thread);
    return 1;
  } else if (len > 0) {
    host->body_splice(handle, TRANSOM_REQUEST, 0, 0, TEXT("<"));
  }
  (void)end;
  return 0;
}

// Behind the host's first words.
static int32_t net_write(transom_object object, transom_handle handle, uint32_t end) {
  (void)end;
  struct connection *connection = object;
  size_t len = host->body_len(handle, TRANSOM_RESPONSE);
  if (len > 0 && !connection->greeted++) host->body_splice(handle, TRANSOM_RESPONSE, len, 0, TEXT(">"));
  return 0;
}

static void net_close(transom_object object, transom_handle handle, uint32_t by) {
  struct connection *connection = object;
  char line[20];
  host->metric_add(handle, connection->net->open, -1);
  snprintf(line, sizeof line, "%u", by);
  host->shared_set(handle, TEXT("kinds.closed"), text(line), 0);
}

static const transom_network_filter network_filter = {
    .size = sizeof network_filter,
    .check = check,
    .prepare = net_prepare,
    .release = net_release,
    .worker_start = part_start,
    .worker_event = part_event,
    .worker_end = part_end,
    .connection_start = connection_start,
    .connection_end = connection_end,
    .begin = begin,
    .data = data,
    .write = net_write,
    .event = net_event,
    .close = net_close,
};

// ---- The listener filter: a word in front of what the client sends is an order.

static transom_object listener_prepare(transom_handle control, transom_slice json, transom_listener_wants *wants, transom_fault *fault) {
  (void)control, (void)json, (void)fault;
  wants->peek = 5;
  return (transom_object)1;
}

static void nothing_to_release(transom_object config) { (void)config; }

static transom_object socket_start(transom_object part, transom_handle socket) {
  (void)part, (void)socket;
  return calloc(1, 100);
}

static void socket_end(transom_object object) { free(object); }

static int32_t accept_socket(transom_object object, transom_handle socket) {
  transom_slice value;
  int status[14] = {
      host->socket_get(socket, TRANSOM_SOCKET_SOURCE, &value),
      host->socket_get(socket, TRANSOM_SOCKET_DESTINATION, &value),
      host->socket_get(socket, TRANSOM_SOCKET_DIRECT_SOURCE, &value),
      host->socket_get(socket, TRANSOM_SOCKET_ORIGINAL_DESTINATION, &value),
      host->socket_get(socket, TRANSOM_SOCKET_PROTOCOLS, &value),
      host->socket_get(socket, 99, &value),
      host->socket_set(socket, TRANSOM_SOCKET_DIRECT_SOURCE, TEXT("192.0.2.1:1")),
      host->socket_set(socket, TRANSOM_SOCKET_SOURCE, TEXT("nowhere")),
      host->socket_set(socket, TRANSOM_SOCKET_DETECTED, TEXT("smtp")),
      host->socket_set(socket, TRANSOM_SOCKET_PROTOCOLS, TEXT("h2,http/1.1")),
      host->socket_set(socket, TRANSOM_SOCKET_SERVER_NAME, TEXT("Name.Test")),
      host->socket_hand_over(socket, 99),
      host->socket_hand_over(socket, TRANSOM_HAND_OVER_STAY),
      host->resumer_new(socket) != NULL,
  };
  char *line = object;
  int at = sprintf(line, "\"");
  for (int n = 0; n < 14; n++) at += sprintf(line + at, "%d", status[n]);
  if (host->socket_get(socket, TRANSOM_SOCKET_PROTOCOLS, &value) == TRANSOM_OK && is(value, "h2,http/1.1")) at += sprintf(line + at, "p");
  if (host->socket_get(socket, TRANSOM_SOCKET_SERVER_NAME, &value) == TRANSOM_OK && is(value, "name.test")) at += sprintf(line + at, "n");
  sprintf(line + at, "\"");
  host->socket_set(socket, TRANSOM_SOCKET_SERVER_NAME, TEXT(""));
  host->socket_set(socket, TRANSOM_SOCKET_PROTOCOLS, TEXT(""));
  host->metadata_set(socket, TEXT("kinds"), TEXT("socket"), text(line));
  return host->metadata_get(socket, TEXT("kinds"), TEXT("socket"), &value) == TRANSOM_OK ? 1 : 2;
}

static int32_t peek(transom_object object, transom_handle socket, transom_slice bytes, uint32_t end) {
  (void)object;
  if (bytes.len < 5 && !end) return 1;
  if (starts(bytes, "CLOSE")) return 2;
  if (starts(bytes, "NONSE")) return 9;
  if (starts(bytes, "FAIL!")) return host->fail(socket, 500, TEXT("as asked")), 0;
  if (starts(bytes, "FROM ")) {
    host->socket_set(socket, TRANSOM_SOCKET_SOURCE, TEXT("192.0.2.9:4711"));
    host->socket_consume(socket, 5);
  }
  host->socket_set(socket, TRANSOM_SOCKET_DETECTED, TEXT("http1"));
  return 0;
}

static const transom_listener_filter listener_filter = {
    .size = sizeof listener_filter,
    .check = check,
    .prepare = listener_prepare,
    .release = nothing_to_release,
    .worker_start = part_start,
    .worker_event = part_event,
    .worker_end = part_end,
    .socket_start = socket_start,
    .socket_end = socket_end,
    .accept = accept_socket,
    .peek = peek,
};

// ---- The access log: a line for each record, into a file.

struct log {
  char *file, *lose;

};

static transom_object log_prepare(transom_handle control, transom_slice json, transom_log_wants *wants, transom_fault *fault) {
  (void)control, (void)fault;
  static const transom_slice clusters[] = {{(const uint8_t *)"one", 3}};
  struct log *log = calloc(1, sizeof *log);
  log->file = value_of(json, "file"), log->lose = value_of(json, "lose");
  wants->clusters = clusters, wants->cluster_count = 1;
  return log;
}

static void log_release(transom_object config) {
  struct log *log = config;
  free(log->file), free(log->lose), free(log);
}

// Text of a slice, for `printf`.
#define SHOWN(slice) (int)(slice).len, (const char *)(slice).bytes

static void log_record(transom_object part, transom_handle handle, const transom_record *record) {
  struct log *log = part;
  char line[1000];
  transom_slice path = TEXT("-"), socket = TEXT("-"), net = TEXT("-"), state = TEXT("-"), event = TEXT("-");
  transom_field field = {TEXT("-"), TEXT("-")};
  transom_attribute from = {.bytes = TEXT("-")};
  host->header_get(handle, TRANSOM_REQUEST_HEADERS, TEXT(":path"), 0, &path);
  host->header_at(handle, TRANSOM_RESPONSE_HEADERS, 0, &field);
  host->attribute(handle, TEXT("source.address"), &from);
  host->metadata_get(handle, TEXT("kinds"), TEXT("socket"), &socket);
  host->metadata_get(handle, TEXT("kinds"), TEXT("net"), &net);
  host->state_get(handle, TEXT("shared"), &state);
  host->shared_get(handle, TEXT("kinds.part"), &event, NULL);
  // A record is only read.
  int changed = host->header_set(handle, TRANSOM_REQUEST_HEADERS, TEXT("a"), TEXT("b")) * 100 +
                host->metadata_set(handle, TEXT("a"), TEXT("b"), TEXT("1")) * 10 + host->state_set(handle, TEXT("a"), TEXT("b"));
  // The one of the record before, and later on the one of this in the thread that writes.
  int late = host->log_append(late_record, TEXT("late"));
  late_record = handle;
  int len = snprintf(line, sizeof line,
                     "connection=%u status=%u path=%.*s first=%.*s protocol=%.*s listener=%.*s cluster=%.*s from=%.*s socket=%.*s "
                     "net=%.*s state=%.*s part=%.*s changed=%d received=%llu timed=%d late=%d\n",
                     record->is_connection, record->status, SHOWN(path), SHOWN(field.name), SHOWN(record->protocol),
                     SHOWN(record->listener), SHOWN(record->cluster), SHOWN(from.bytes), SHOWN(socket), SHOWN(net), SHOWN(state),
                     SHOWN(event), changed, (unsigned long long)record->bytes_received,
                     record->duration > 0 && record->duration < 60000000000, late);
  host->log_append(handle, (transom_slice){(const uint8_t *)line, (size_t)len});
  (void)log;
}

static transom_status log_write(transom_object config, const transom_slice *entries, size_t count) {
  struct log *log = config;
  if (log->lose || host->log_append(late_record, TEXT("late")) != TRANSOM_GONE) return TRANSOM_NOT_FOUND;
  FILE *file = fopen(log->file, "a");
  if (!file) return TRANSOM_NOT_FOUND;
  for (size_t n = 0; n < count; n++) fwrite(entries[n].bytes, 1, entries[n].len, file);
  fclose(file);
  return TRANSOM_OK;
}

static const transom_access_log access_log = {
    .size = sizeof access_log,
    .check = check,
    .prepare = log_prepare,
    .release = log_release,
    .worker_start = part_start,
    .worker_event = part_event,
    .worker_end = part_end,
    .log = log_record,
    .write = log_write,
};

// ---- The certificate provider: pairs `all`, `next` and `more` in a folder, given by threads of its own.

struct shelf {
  char *folder;
  const char *now;
  transom_resumer *news;
};

struct question {
  struct shelf *shelf;
  transom_question number;
  const char *name;
};

static transom_object shelf_prepare(transom_handle control, transom_slice json, transom_certificate_wants *wants, transom_fault *fault) {
  (void)fault;
  if (wants->on_demand != 1) return NULL;
  struct shelf *shelf = calloc(1, sizeof *shelf);
  shelf->folder = value_of(json, "folder"), shelf->now = "all";
  shelf->news = host->resumer_new(control);
  return shelf;
}

static void shelf_release(transom_object config) {
  struct shelf *shelf = config;
  char path[500];
  snprintf(path, sizeof path, "%s/released", shelf->folder);
  FILE *file = fopen(path, "w");
  if (file) fclose(file);
  host->resumer_free(shelf->news);
  free(shelf->folder), free(shelf);
}

static transom_slice contents(const char *folder, const char *name, const char *ending) {
  char path[500];
  snprintf(path, sizeof path, "%s/%s.%s", folder, name, ending);
  FILE *file = fopen(path, "r");
  if (!file) return TEXT("");
  uint8_t *bytes = malloc(100000);
  size_t len = fread(bytes, 1, 100000, file);
  fclose(file);
  return (transom_slice){bytes, len};
}

static void *answer(void *asked) {
  struct question *question = asked;
  usleep(2000);
  const char *folder = question->shelf->folder;
  transom_certificate certificate = {.chain = contents(folder, question->name, "pem"), .key = contents(folder, question->name, "key")};
  transom_certificates given = {.size = sizeof given, .certificates = &certificate, .certificate_count = 1};
  transom_status small = host->certificates_give(question->number, &given);  // Without the size of a certificate.
  given.certificate_size = sizeof certificate;
  if (small != TRANSOM_BAD_ARGUMENT || certificate.chain.len == 0)
    host->certificates_refuse(question->number, TEXT("the pair cannot be read"), TEXT("/folder"));
  else
    host->certificates_give(question->number, &given);
  // It is answered: another answer is refused.
  if (host->certificates_give(question->number, &given) != TRANSOM_GONE) abort();
  if (certificate.chain.len) free((void *)certificate.chain.bytes);
  if (certificate.key.len) free((void *)certificate.key.bytes);
  free(question);
  return NULL;
}

static void ask(struct shelf *shelf, transom_question number, const char *name) {
  struct question *question = malloc(sizeof *question);
  *question = (struct question){shelf, number, name};
  pthread_t thread;
  pthread_create(&thread, NULL, answer, question);
  pthread_detach(thread);
}

struct waiting {
  char *folder;
  transom_question number;
};

// Waits until its configuration is gone, of which it has copied what it needs, and writes what its answer is answered.
static void *answer_late(void *given) {
  struct waiting *waiting = given;
  char path[500];
  snprintf(path, sizeof path, "%s/go", waiting->folder);
  while (access(path, F_OK) != 0) usleep(1000);
  transom_status status = host->certificates_refuse(waiting->number, TEXT("late"), TEXT(""));
  snprintf(path, sizeof path, "%s/went", waiting->folder);
  FILE *file = fopen(path, "w");
  if (file) fprintf(file, "%d", status), fclose(file);
  free(waiting->folder), free(waiting);
  return NULL;
}

static void certificates(transom_object config, transom_question question) { ask(config, question, ((struct shelf *)config)->now); }

static void certificate_for(transom_object config, transom_slice name, transom_question question) {
  struct shelf *shelf = config;
  if (is(name, "more.d.test")) {
    ask(shelf, question, "more");
  } else if (is(name, "none.d.test")) {
    transom_certificates none = {.size = sizeof none};
    host->certificates_give(question, &none);
  } else if (is(name, "bad.d.test")) {
    host->certificates_refuse(question, TEXT("bad as asked"), TEXT(""));
  } else if (is(name, "gone.d.test")) {
    struct waiting *waiting = malloc(sizeof *waiting);
    *waiting = (struct waiting){strdup(shelf->folder), question};
    pthread_t thread;
    pthread_create(&thread, NULL, answer_late, waiting);
    pthread_detach(thread);
  } else if (is(name, "news.d.test")) {
    host->certificates_refuse(question, TEXT("later"), TEXT(""));
    shelf->now = "next";
    host->resumer_post(shelf->news, 1);
  }
  // Others are not answered at all.
}

static const transom_certificate_provider certificate_provider = {
    .size = sizeof certificate_provider,
    .check = check,
    .prepare = shelf_prepare,
    .release = shelf_release,
    .certificates = certificates,
    .certificate_for = certificate_for,
};

// ---- The selector: the heaviest host that can be had.

struct hosts {
  size_t count, *order;
};

struct turns {
  struct hosts *hosts;
  size_t position;
};

static transom_object selector_prepare(transom_handle control, transom_slice json, transom_selector_wants *wants, transom_fault *fault) {
  (void)control, (void)json, (void)wants, (void)fault;
  return (transom_object)1;
}

static transom_object table_start(transom_object config, const transom_selector_host *hosts, size_t count, size_t host_size) {
  (void)config;
  struct hosts *made = malloc(sizeof *made);
  made->count = count, made->order = malloc(count * sizeof *made->order);
  uint32_t last = UINT32_MAX;
  for (size_t n = 0; n < count;) {
    uint32_t most = 0;
    for (size_t at = 0; at < count; at++) {
      const transom_selector_host *host = (const void *)((const char *)hosts + at * host_size);
      if (host->weight < last && host->weight > most && host->address.len > 0) most = host->weight;
    }
    if (most == 0) {
      made->count = n;
      break;
    }
    for (size_t at = 0; at < count; at++)
      if (((const transom_selector_host *)(const void *)((const char *)hosts + at * host_size))->weight == most) made->order[n++] = at;
    last = most;
  }
  return made;
}

static void table_end(transom_object table) {
  struct hosts *hosts = table;
  free(hosts->order), free(hosts);
}

static transom_object selector_start(transom_object table, size_t start) {
  struct turns *turns = malloc(sizeof *turns);
  *turns = (struct turns){table, start};
  return turns;
}

static void selector_end(transom_object selector) { free(selector); }

static int64_t select_host(transom_object selector, transom_handle choice) {
  struct turns *turns = selector;
  turns->position++;
  // Of a choice nothing else can be asked, and two random numbers differ.
  transom_slice value;
  if (host->socket_get(choice, TRANSOM_SOCKET_SOURCE, &value) != TRANSOM_UNSUPPORTED) return -1;
  if (host->random(choice) == host->random(choice)) return -1;
  for (size_t n = 0; n < turns->hosts->count; n++)
    if (host->host_available(choice, turns->hosts->order[n]) && host->host_active(choice, turns->hosts->order[n]) < 1000)
      return (int64_t)turns->hosts->order[n];
  return -1;
}

static size_t position(transom_object selector) { return ((struct turns *)selector)->position; }

static const transom_selector selector = {
    .size = sizeof selector,
    .check = check,
    .prepare = selector_prepare,
    .release = nothing_to_release,
    .table_start = table_start,
    .table_end = table_end,
    .selector_start = selector_start,
    .selector_end = selector_end,
    .select = select_host,
    .position = position,
};

// ---- The client: a line `METHOD PATH SIZE`, then the body; the answer is a line `STATUS SIZE`, then the body.

struct spoken {
  char line[300];
  uint8_t *body;
  size_t len, left;
  int in_body, over;
};

static transom_object client_prepare(transom_handle control, transom_slice json, transom_client_wants *wants, transom_fault *fault) {
  (void)control, (void)json, (void)fault;
  wants->name = TEXT("LINES/1");
  return (transom_object)1;
}

static transom_object spoken_start(transom_object config) {
  (void)config;
  return calloc(1, sizeof(struct spoken));
}

static void spoken_end(transom_object object) {
  struct spoken *spoken = object;
  free(spoken->body), free(spoken);
}

static transom_status say(struct spoken *spoken, transom_handle codec) {
  char line[340];
  snprintf(line, sizeof line, "%s %zu\n", spoken->line, spoken->len);
  host->codec_write(codec, text(line));
  transom_status status = host->codec_write(codec, (transom_slice){spoken->body, spoken->len});
  spoken->len = 0;
  return status;
}

static transom_status client_request(transom_object object, transom_handle codec, uint32_t end) {
  struct spoken *spoken = object;
  transom_slice method, path, value;
  transom_field field;
  if (host->header_get(codec, TRANSOM_REQUEST_HEADERS, TEXT(":method"), 0, &method) != TRANSOM_OK ||
      host->header_get(codec, TRANSOM_REQUEST_HEADERS, TEXT(":path"), 0, &path) != TRANSOM_OK ||
      host->header_at(codec, TRANSOM_REQUEST_HEADERS, 0, &field) != TRANSOM_OK ||
      host->header_get(codec, TRANSOM_RESPONSE_HEADERS, TEXT(":status"), 0, &value) != TRANSOM_NOT_FOUND ||
      host->message_end(codec) != TRANSOM_UNSUPPORTED)
    return TRANSOM_BAD_ARGUMENT;
  if (is(path, "/unspeakable")) return host->fail(codec, 0, TEXT("no line has such a path")), TRANSOM_UNSUPPORTED;
  snprintf(spoken->line, sizeof spoken->line, "%.*s %.*s", SHOWN(method), SHOWN(path));
  spoken->in_body = spoken->over = 0;
  return end ? say(spoken, codec) : TRANSOM_OK;
}

static transom_status client_data(transom_object object, transom_handle codec, transom_slice data) {
  (void)codec;
  struct spoken *spoken = object;
  spoken->body = realloc(spoken->body, spoken->len + data.len + 1);
  memcpy(spoken->body + spoken->len, data.bytes, data.len);
  spoken->len += data.len;
  return TRANSOM_OK;
}

static transom_status client_end(transom_object object, transom_handle codec) { return say(object, codec); }

static transom_status client_read(transom_object object, transom_handle codec, transom_slice bytes, uint32_t eof, size_t *used) {
  struct spoken *spoken = object;
  if (host->codec_write(codec, TEXT("not now")) != TRANSOM_UNSUPPORTED) return TRANSOM_BAD_ARGUMENT;
  if (!spoken->in_body) {
    const uint8_t *line_end = memchr(bytes.bytes, '\n', bytes.len);
    if (!line_end) return eof ? host->fail(codec, 0, TEXT("the line has no end")), TRANSOM_BAD_ARGUMENT : TRANSOM_OK;
    if (starts(bytes, "greedy")) return *used = bytes.len + 1, TRANSOM_OK;
    char line[50] = {0};
    memcpy(line, bytes.bytes, (size_t)(line_end - bytes.bytes) < 49 ? (size_t)(line_end - bytes.bytes) : 49);
    transom_field field = {TEXT("x-spoken"), TEXT("lines")};
    transom_message_head head = {.size = sizeof head, .fields = &field, .field_count = 1};
    if (sscanf(line, "%u %zu", &head.status, &spoken->left) != 2) return host->fail(codec, 0, TEXT("the line is none")), TRANSOM_BAD_ARGUMENT;
    if (host->message_head(codec, &head) != TRANSOM_OK) return TRANSOM_BAD_ARGUMENT;
    spoken->in_body = 1;
    *used = (size_t)(line_end - bytes.bytes) + 1;
  } else {
    *used = bytes.len < spoken->left ? bytes.len : spoken->left;
    if (*used) host->message_data(codec, (transom_slice){bytes.bytes, *used});
    spoken->left -= *used;
  }
  if (spoken->in_body && !spoken->left && !spoken->over++) host->message_end(codec);
  return TRANSOM_OK;
}

static uint32_t is_reusable(transom_object object) { return ((struct spoken *)object)->over > 0; }

static const transom_client client = {
    .size = sizeof client,
    .check = check,
    .prepare = client_prepare,
    .release = nothing_to_release,
    .connection_start = spoken_start,
    .connection_end = spoken_end,
    .request = client_request,
    .data = client_data,
    .end = client_end,
    .read = client_read,
    .is_reusable = is_reusable,
};

const transom_library *transom_library_entry(const transom_host *given) {
  static const transom_extension extensions[] = {
      {.kind = TRANSOM_NETWORK_FILTER, .table = &network_filter},
      {.kind = TRANSOM_LISTENER_FILTER, .table = &listener_filter},
      {.kind = TRANSOM_ACCESS_LOG, .table = &access_log},
      {.kind = TRANSOM_CERTIFICATE_PROVIDER, .table = &certificate_provider},
      {.kind = TRANSOM_SELECTOR, .table = &selector},
      {.kind = TRANSOM_CLIENT, .table = &client},
  };
  static transom_library library = {
      .magic = TRANSOM_MAGIC,
      .size = sizeof library,
      .major = TRANSOM_MAJOR,
      .minor = TRANSOM_MINOR,
      .extensions = extensions,
      .extension_count = sizeof extensions / sizeof *extensions,
      .extension_size = sizeof *extensions,
  };
  library.name = TEXT("kinds");
  library.version = TEXT("0.1.0");
  library.made_with = TEXT("C");
  host = given;
  return &library;
}
