// The border between Transom and extensions in shared libraries. Made from crates/abi; the rules stand in docs/abi.md.

#ifndef TRANSOM_H
#define TRANSOM_H

#include <stddef.h>
#include <stdint.h>

// What `transom_library.magic` begins with: `TRANSOM` and a line feed.
#define TRANSOM_MAGIC 6075990651937180938

// The major version: two sides with different ones have nothing to say to each other.
#define TRANSOM_MAJOR 1

// The minor version: what was appended since the major one.
#define TRANSOM_MINOR 0

// Wakes a filter from any thread. It is weak: a post to a stream that is gone does nothing.
typedef struct transom_resumer transom_resumer;

// What happened. A library ignores kinds that it does not know.
typedef uint32_t transom_event_kind;

// A kind of extension. A host passes over those that it does not know.
typedef uint32_t transom_kind;

// What a metric is.
typedef uint32_t transom_metric_kind;

// What is known of a socket.
typedef uint32_t transom_socket_field;

// Which listener serves a connection.
typedef uint32_t transom_hand_over;

// The outcome of a function of the host.
typedef int32_t transom_status;

// Which header map. Numbers as in proxy-wasm.
typedef uint32_t transom_map;

// The two directions of a stream. Numbers as in proxy-wasm.
typedef uint32_t transom_direction;

// The level of a log line. Numbers as in proxy-wasm.
typedef uint32_t transom_level;

// What an attribute is.
typedef uint32_t transom_attribute_kind;

// Bytes that the other side owns. Text is UTF-8 unless said otherwise, and has no zero at its end. `bytes` may be null if
// `len` is 0.
typedef struct {
  // The first of them.
  const uint8_t *bytes;
  // How many.
  size_t len;
} transom_slice;

// A stream, a connection, a socket, a record or a worker's part, during a callback. 0 is none.
typedef uint64_t transom_handle;

// A metric of a use.
typedef struct {
  // The size of this struct, as its maker knows it.
  size_t size;
  // What it is.
  transom_metric_kind kind;
  // 0.
  uint32_t reserved;
  // Lower case, digits and underscores; `transom_` comes before it.
  transom_slice name;
  // One sentence on what it counts, and its unit.
  transom_slice help;
} transom_metric;

// A header field. Any bytes that a field may have.
typedef struct {
  // Its name.
  transom_slice name;
  // Its value.
  transom_slice value;
} transom_field;

// An answer in place of the host's.
typedef struct {
  // The size of this struct, as its maker knows it.
  size_t size;
  // 200 to 599.
  uint32_t status;
  // For gRPC clients; below 0, it is made from `status`.
  int32_t grpc_status;
  // Header fields.
  const transom_field *fields;
  // How many.
  size_t field_count;
  // The whole body.
  transom_slice body;
  // Why, for the access log: a word. `filter_reply` if empty.
  transom_slice details;
} transom_local_reply;

// A request to a cluster.
typedef struct {
  // The size of this struct, as its maker knows it.
  size_t size;
  // One of those that the extension named.
  transom_slice cluster;
  // With `:method`, `:path` and `:authority` among them.
  const transom_field *fields;
  // How many.
  size_t field_count;
  // The whole body.
  transom_slice body;
  // Trailers.
  const transom_field *trailers;
  // How many.
  size_t trailer_count;
  // 0 for the host's default of 5 s.
  uint64_t timeout_ms;
} transom_call;

// The value of an attribute.
typedef struct {
  // What it is.
  transom_attribute_kind kind;
  // 0.
  uint32_t reserved;
  // Which, or how much: by its kind.
  int64_t number;
  // The first of them.
  transom_slice bytes;
} transom_attribute;

// A question to a certificate provider, to be answered once, from any thread, in
// `transom_host.certificates_give` or
// `transom_host.certificates_refuse`. One that was answered, or that the host waits for no
// more, is `TRANSOM_GONE`.
typedef uint64_t transom_question;

// A certificate with its key.
typedef struct {
  // The certificate, then those that lead from it to a root: PEM, or DER one behind the other.
  transom_slice chain;
  // Its private key in PKCS #8, PKCS #1 or SEC 1: PEM or DER, not encrypted.
  transom_slice key;
  // What its authority says of its revocation, to be stapled: an `OCSPResponse` in DER (RFC 6960). Empty for none.
  transom_slice ocsp_response;
} transom_certificate;

// The answer to a question.
typedef struct {
  // The size of this struct, as its maker knows it.
  size_t size;
  // Certificates with their keys. A client is shown one that has the name it asks for.
  const transom_certificate *certificates;
  // How many; 0 to `transom_certificate_provider.certificate_for` is that there is none.
  size_t certificate_count;
  // The size of each of them, as this library knows it.
  size_t certificate_size;
  // Authorities that sign certificates of clients, as PEM; empty for none.
  transom_slice authorities;
  // Milliseconds after which it wants to be asked again; 0: not before it posts to its resumer.
  uint64_t refresh_after_ms;
} transom_certificates;

// The head of an answer that a codec has read.
typedef struct {
  // The size of this struct, as its maker knows it.
  size_t size;
  // 200 to 599.
  uint32_t status;
  // 0.
  uint32_t reserved;
  // Header fields. A name or value that is none in HTTP makes the answer a bad one.
  const transom_field *fields;
  // How many.
  size_t field_count;
} transom_message_head;

// The host's functions: static, never changed, never freed. A library must not use one that lies beyond `size`.
//
// A handle names what the callback is of: a stream, a connection, a socket, a record of an access log, a selector's choice, a
// worker's part or, while a configuration is prepared, the control side. A function that its object does not have answers
// `TRANSOM_UNSUPPORTED`; parameters are called `stream` where only streams have it. Out parameters are written only with
// `TRANSOM_OK`, and may not be null unless that is said.
typedef struct {
  // The size of this struct, as its maker knows it.
  size_t size;
  // The major version of this interface that the host has.
  uint16_t major;
  // And the minor one.
  uint16_t minor;
  // 0.
  uint32_t reserved;
  // What this host can do beyond its version. None is assigned yet.
  uint64_t features;
  // Its name and version, for logs.
  transom_slice version;
  // 1 where lines of this level are written, else 0. Any thread; `handle` may be 0.
  uint32_t (*log_enabled)(transom_handle handle, transom_level level);
  // Writes a line of the log, never waiting for whoever reads it. Any thread; `handle` may be 0.
  transom_status (*log)(transom_handle handle, transom_level level, transom_slice line);
  // Defines a metric, or finds the one of that name. Only while a configuration is prepared.
  transom_status (*metric_define)(transom_handle control, const transom_metric *metric, uint32_t *number);
  // Adds to a counter or gauge.
  transom_status (*metric_add)(transom_handle handle, uint32_t number, int64_t amount);
  // The value of a counter or gauge, over all workers.
  transom_status (*metric_get)(transom_handle handle, uint32_t number, int64_t *value);
  // Records a value: nanoseconds in a histogram, a plain number in a distribution.
  transom_status (*metric_observe)(transom_handle handle, uint32_t number, uint64_t value);
  // A value of shared data, and its version (which may be null).
  transom_status (*shared_get)(transom_handle handle, transom_slice key, transom_slice *value, uint32_t *version);
  // Sets a value of shared data; with a `version` that is not 0, only if it has that one.
  transom_status (*shared_set)(transom_handle handle, transom_slice key, transom_slice value, uint32_t version);
  // The `nth` value of `name`. Of streams, records and codecs.
  transom_status (*header_get)(transom_handle handle,
                               transom_map map,
                               transom_slice name,
                               size_t nth,
                               transom_slice *value);
  // The entry at `index`, in order, pseudo-headers first. Of streams, records and codecs.
  transom_status (*header_at)(transom_handle handle, transom_map map, size_t index, transom_field *field);
  // One value in place of all of `name`.
  transom_status (*header_set)(transom_handle stream, transom_map map, transom_slice name, transom_slice value);
  // One more value, at the end.
  transom_status (*header_add)(transom_handle stream, transom_map map, transom_slice name, transom_slice value);
  // Removes all values of `name`; how many there were goes to `count`, which may be null.
  transom_status (*header_remove)(transom_handle stream, transom_map map, transom_slice name, size_t *count);
  // Bytes that this callback shows: of a body, or of a connection.
  size_t (*body_len)(transom_handle handle, transom_direction direction);
  // The piece at `index` of them.
  transom_status (*body_piece)(transom_handle handle, transom_direction direction, size_t index, transom_slice *piece);
  // Puts `bytes` in place of `len` bytes at `at`.
  transom_status (*body_splice)(transom_handle handle,
                                transom_direction direction,
                                size_t at,
                                size_t len,
                                transom_slice bytes);
  // Lets go what waits at this filter of a stream or connection. Twice is once.
  transom_status (*resume)(transom_handle handle, transom_direction direction);
  // With 1, the sender of this direction is read no more, whatever waits in the chain; with 0 again.
  transom_status (*hold_back)(transom_handle stream, transom_direction direction, uint32_t hold);
  // Answers in place of the host. `TRANSOM_RELEASED` once the response has left.
  transom_status (*send_local_reply)(transom_handle stream, const transom_local_reply *reply);
  // Skips the filters that come after this one in its phase.
  transom_status (*skip_phase)(transom_handle stream);
  // Forgets the route: later filters see the one that the headers now ask for.
  transom_status (*clear_route)(transom_handle stream);
  // Looks for the route again and calls this filter again; for the phase behind the route.
  transom_status (*rematch_route)(transom_handle stream);
  // Chooses a host again and calls this filter again; for the phase behind that.
  transom_status (*rechoose_host)(transom_handle stream);
  // Ends the stream without an answer; closes a connection at once, and the client sees a reset.
  transom_status (*terminate)(transom_handle handle);
  // Sends bytes of the filter's own on from here, of a stream or connection; with `end` 1, as the end of that direction.
  transom_status (*inject)(transom_handle handle, transom_direction direction, transom_slice bytes, uint32_t end);
  // Does without these callbacks (bits of `transom_wants`) for the rest of the stream.
  transom_status (*forgo)(transom_handle stream, uint32_t callbacks);
  // The filter failed on this stream, connection or socket: the use's policy holds, and the filter is called no more.
  // `status` is 503 for what is not available, 500 otherwise. In a codec, why its function does not answer
  // `TRANSOM_OK`.
  transom_status (*fail)(transom_handle handle, uint32_t status, transom_slice why);
  // What `transom_stream_filter.prepare_route` made for the stream's route; null for none.
  void *(*route_config)(transom_handle stream);
  // A resumer of this filter or part, which the library frees. Null if the handle is gone, or of something that cannot be
  // woken. From the control side, of a certificate provider: a post, whatever its token, says that it has something new.
  transom_resumer *(*resumer_new)(transom_handle handle);
  // Any thread.
  void (*resumer_post)(const transom_resumer *resumer, uint64_t token);
  // Any thread.
  void (*resumer_free)(transom_resumer *resumer);
  // Sets a timer; resolution 1 ms.
  transom_status (*timer_set)(transom_handle handle, uint64_t after_ms, uint64_t *timer);
  // Drops a timer; one that is unknown is ignored.
  transom_status (*timer_cancel)(transom_handle handle, uint64_t timer);
  // Starts a call to a cluster.
  transom_status (*http_call)(transom_handle handle, const transom_call *call, uint64_t *number);
  // Its end is not told.
  transom_status (*callout_cancel)(transom_handle handle, uint64_t number);
  // An attribute by Envoy's name, of a stream, connection or record.
  transom_status (*attribute)(transom_handle handle, transom_slice name, transom_attribute *value);
  // A value of dynamic metadata in a namespace, as JSON; of a stream, connection, socket or record.
  transom_status (*metadata_get)(transom_handle handle, transom_slice space, transom_slice key, transom_slice *json);
  // Sets a value of dynamic metadata, from JSON. Records cannot be changed.
  transom_status (*metadata_set)(transom_handle handle, transom_slice space, transom_slice key, transom_slice json);
  // State of this stream, connection or record under a name: bytes that a filter of any runtime has left there.
  transom_status (*state_get)(transom_handle handle, transom_slice name, transom_slice *value);
  // Leaves bytes there. Records cannot be changed.
  transom_status (*state_set)(transom_handle handle, transom_slice name, transom_slice value);
  // Which worker this is, from 0, and how many there are (which may be null).
  transom_status (*worker_index)(transom_handle handle, uint32_t *index, uint32_t *count);
  // State of the connection, from one of its network filters or from a stream on it: all of them share it.
  transom_status (*connection_state_get)(transom_handle handle, transom_slice name, transom_slice *value);
  // Leaves bytes there.
  transom_status (*connection_state_set)(transom_handle handle, transom_slice name, transom_slice value);
  // Closes a connection after what was written has left.
  transom_status (*close)(transom_handle connection);
  // Has the `tcp_proxy` at the end of the chain take this cluster, of those that the filter named, in place of its own. Holds
  // until it has chosen, which is when the last filter lets the connection begin.
  transom_status (*choose_cluster)(transom_handle connection, transom_slice cluster);
  // What is known of a socket.
  transom_status (*socket_get)(transom_handle socket, transom_socket_field field, transom_slice *value);
  // Sets what a listener filter has found out; empty text takes it away.
  // `TRANSOM_NOT_ALLOWED` for what cannot be set.
  transom_status (*socket_set)(transom_handle socket, transom_socket_field field, transom_slice value);
  // How many of the bytes that `transom_listener_filter.peek` shows are read away for good: later
  // filters and the connection do not see them. The last word of a callback counts.
  transom_status (*socket_consume)(transom_handle socket, size_t count);
  // Which listener serves the connection.
  transom_status (*socket_hand_over)(transom_handle socket, transom_hand_over to);
  // Gives an entry to `transom_access_log.write`, from `transom_access_log.log`.
  // `TRANSOM_TOO_LARGE` when as much waits as may: it is dropped, and counted.
  transom_status (*log_append)(transom_handle record, transom_slice entry);
  // Answers a question with certificates. Any thread.
  transom_status (*certificates_give)(transom_question question, const transom_certificates *given);
  // Answers that there is no answer, and why. `path` is the way to a value of the configuration that is at fault, as in
  // `transom_fault`, which refuses a reload; empty: it could not be done now, and is tried again. Any thread.
  transom_status (*certificates_refuse)(transom_question question, transom_slice why, transom_slice path);
  // 1 if a host may be chosen in `transom_selector.select`: it is healthy, or so few are that health is
  // passed over, and it was not tried for this request before.
  uint32_t (*host_available)(transom_handle choice, size_t host);
  // How many requests and relayed connections a host has from all workers.
  uint32_t (*host_active)(transom_handle choice, size_t host);
  // A random number, all of whose bits are good.
  uint64_t (*random)(transom_handle choice);
  // Appends bytes to what goes to the host, in `transom_client`'s functions but `read`.
  transom_status (*codec_write)(transom_handle codec, transom_slice bytes);
  // Tells the head of an answer that `transom_client.read` has found; then come its data and its end.
  transom_status (*message_head)(transom_handle codec, const transom_message_head *head);
  // Tells a piece of its body.
  transom_status (*message_data)(transom_handle codec, transom_slice data);
  // Tells that it is over.
  transom_status (*message_end)(transom_handle codec);
} transom_host;

// One thing that a library can be used as.
typedef struct {
  // What it is.
  transom_kind kind;
  // For stream filters: where their request callbacks run unless the use says so. 0 before the route is looked for, 1
  // after it, 2 after the host was chosen.
  uint32_t phase;
  // Empty for the only one of its kind; else what a use names behind the slash (`plugin: auth/tokens`).
  transom_slice name;
  // The functions; which type depends on `kind`.
  const void *table;
} transom_extension;

// A library's description of itself: static, never changed, never freed.
typedef struct {
  // `TRANSOM_MAGIC`.
  uint64_t magic;
  // The size of this struct, as its maker knows it.
  size_t size;
  // The version of this interface that the library was made with. The major one must be the host's.
  uint16_t major;
  // A library may be older or newer than its host in this.
  uint16_t minor;
  // 0.
  uint32_t reserved;
  // Bits of `transom_host.features` that it cannot do without.
  uint64_t needs;
  // Its name and version, for logs.
  transom_slice name;
  // Its version, for logs.
  transom_slice version;
  // What it was made with, such as `transom-sdk 0.1.0, rustc 1.95.0`.
  transom_slice made_with;
  // What it can be used as.
  const transom_extension *extensions;
  // How many.
  size_t extension_count;
  // The size of each of them, as this library knows it.
  size_t extension_size;
} transom_library;

// Room for why a configuration is refused.
//
// The library writes up to `capacity` bytes of text to `text` and their number into `len`. `path` is the way to the value
// at fault as a JSON pointer (RFC 6901), such as `/rules/0/name`; empty for the whole.
typedef struct {
  // The size of this struct, as its maker knows it.
  size_t size;
  // Why.
  uint8_t *text;
  // Room at `text`.
  size_t capacity;
  // How many.
  size_t len;
  // The way to the value at fault.
  uint8_t *path;
  // Room at `path`.
  size_t path_capacity;
  // Bytes that were written there.
  size_t path_len;
} transom_fault;

// A configuration of the library's, one of its workers' parts, or one of its filters: whatever it likes. Null is none.
typedef void *transom_object;

// Which callbacks a filter needs. Nothing else is called.
typedef struct {
  // The size of this struct, as its maker knows it.
  size_t size;
  // Bits: 1 request headers, 2 request body, 4 request trailers, 8 response headers, 16 response body, 32 response
  // trailers, 64 the stream's end, 128 and 256: it may change the length of request and response bodies.
  uint32_t callbacks;
  // 0.
  uint32_t reserved;
  // Whole bodies, up to so many bytes; 0 for pieces as they come.
  uint64_t whole_request_body;
  // The same of responses.
  uint64_t whole_response_body;
  // Bytes that a stop verdict may keep; 0 for the host's default of 1 MiB.
  uint64_t buffer_limit;
  // Clusters that its callouts may go to, `cluster_count` of them. The library's, until the configuration is dropped.
  const transom_slice *clusters;
  // How many.
  size_t cluster_count;
} transom_wants;

// The end of a callout.
typedef struct {
  // The size of this struct, as its maker knows it.
  size_t size;
  // 0 for an answer. Otherwise there is none: 1 not allowed, 2 no such cluster, 3 not supported by it, 4 a bad request,
  // 5 no host could be connected, 6 its time was over, 7 the host ended it, 8 the answer is too large.
  uint32_t error;
  // 0.
  uint32_t reserved;
  // `:status` first.
  const transom_field *fields;
  // How many.
  size_t field_count;
  // The whole body.
  transom_slice body;
  // Trailers.
  const transom_field *trailers;
  // How many.
  size_t trailer_count;
} transom_callout;

// Something that happened while the filter waited, or went on without it.
typedef struct {
  // The size of this struct, as its maker knows it.
  size_t size;
  // What it is.
  transom_event_kind kind;
  // 0.
  uint32_t reserved;
  // Which, or how much: by its kind.
  uint64_t number;
  // Null but for `TRANSOM_EVENT_CALLOUT`.
  const transom_callout *callout;
} transom_event;

// The functions of a stream filter. Those that may be null say so; one that is null is as if its callback were not wanted.
//
// ```text
// check                   any thread, any time; keeps nothing
// prepare … release       the control side: one configuration
//   worker_start … worker_end      each worker, for that configuration
//     stream_start … stream_end    each stream, on its worker; in between, its callbacks, one at a time
// ```
typedef struct {
  // The size of this struct, as its maker knows it.
  size_t size;
  // Whether a configuration, as JSON, is good: `TRANSOM_OK`, or anything else and why. Null: `prepare` says so.
  // `route` is 1 for a configuration of a route.
  transom_status (*check)(transom_slice config, uint32_t route, transom_fault *fault);
  // Makes a configuration ready. `control` is good for `transom_host.metric_define` and the log.
  // Null refuses it, and `fault` says why.
  transom_object (*prepare)(transom_handle control, transom_slice config, transom_wants *wants, transom_fault *fault);
  // The configuration is gone; nothing of it is in use.
  void (*release)(transom_object config);
  // Makes a configuration of a route ready, for `transom_host.route_config`. May be null: then
  // there are none.
  transom_object (*prepare_route)(transom_object config, transom_slice route, transom_fault *fault);
  // That configuration is gone. May be null.
  void (*release_route)(transom_object route);
  // A worker begins. Null answers that it cannot. May be null: then a worker's part is the configuration itself.
  transom_object (*worker_start)(transom_object config, transom_handle worker);
  // What happened to the worker's part. May be null.
  void (*worker_event)(transom_object part, transom_handle worker, const transom_event *event);
  // The worker is done with the configuration. May be null.
  void (*worker_end)(transom_object part);
  // A stream begins. Its answer is what its callbacks get; it may be null, which is no failure.
  transom_object (*stream_start)(transom_object part, transom_handle stream);
  // The stream is over, and so is what was made for it. Nothing can be done with it any more. May be null.
  void (*stream_end)(transom_object filter);
  // Answers are numbers of proxy-wasm and Envoy: 0 goes on; for headers 1 stops, 2 goes on and ends the message, 3 and 4
  // stop all and keep what comes (to a limit, to the watermark); for bodies 1 keeps it to a limit, 2 to the
  // watermark, 3 takes it away; for trailers 1 stops. Any other number is a failure of the filter.
  int32_t (*request_headers)(transom_object, transom_handle, uint32_t end);
  // The answer to a part of the body; `end` is 1 when nothing follows.
  int32_t (*request_body)(transom_object, transom_handle, uint32_t end);
  // The answer to trailers.
  int32_t (*request_trailers)(transom_object, transom_handle);
  // As of requests.
  int32_t (*response_headers)(transom_object, transom_handle, uint32_t end);
  // As of requests.
  int32_t (*response_body)(transom_object, transom_handle, uint32_t end);
  // As of requests.
  int32_t (*response_trailers)(transom_object, transom_handle);
  // What happened between callbacks.
  void (*event)(transom_object, transom_handle, const transom_event *event);
  // The stream is over, well or not; the access log comes next.
  void (*complete)(transom_object, transom_handle);
} transom_stream_filter;

// Which callbacks a network filter needs, and what it may call.
typedef struct {
  // The size of this struct, as its maker knows it.
  size_t size;
  // Bits: 1 the client's bytes, 2 the bytes for the client. The host has set both where the table has the function. Bytes
  // that no filter of a chain wants are not copied for it.
  uint32_t callbacks;
  // 0.
  uint32_t reserved;
  // Clusters that its callouts and `transom_host.choose_cluster` may name, `cluster_count` of
  // them. The library's, until the configuration is released.
  const transom_slice *clusters;
  // How many.
  size_t cluster_count;
} transom_network_wants;

// The functions of a network filter. Those that may be null say so.
//
// ```text
// check                   any thread, any time; keeps nothing
// prepare … release       the control side: one configuration
//   worker_start … worker_end              each worker, for that configuration
//     connection_start … connection_end    each connection, on its worker; in between, its callbacks, one at a time
// ```
//
// Verdicts are 0, on to the next filter with the bytes that are there, and 1, the bytes wait here, up to the watermark, until
// `transom_host.resume` or an answer 0 to more of them. Any other number is a failure of the filter.
typedef struct {
  // The size of this struct, as its maker knows it.
  size_t size;
  // Whether a configuration, as JSON, is good: `TRANSOM_OK`, or anything else and why. Null: `prepare` says so.
  transom_status (*check)(transom_slice config, transom_fault *fault);
  // Makes a configuration ready. `control` is good for `transom_host.metric_define` and the log.
  // Null refuses it, and `fault` says why.
  transom_object (*prepare)(transom_handle control,
                            transom_slice config,
                            transom_network_wants *wants,
                            transom_fault *fault);
  // The configuration is gone; nothing of it is in use.
  void (*release)(transom_object config);
  // A worker begins. Null answers that it cannot. May be null: then a worker's part is the configuration itself.
  transom_object (*worker_start)(transom_object config, transom_handle worker);
  // What happened to the worker's part. May be null.
  void (*worker_event)(transom_object part, transom_handle worker, const transom_event *event);
  // The worker is done with the configuration. May be null.
  void (*worker_end)(transom_object part);
  // A connection begins. Its answer is what its callbacks get; it may be null, which is no failure.
  transom_object (*connection_start)(transom_object part, transom_handle connection);
  // The connection is over, and so is what was made for it. May be null.
  void (*connection_end)(transom_object filter);
  // The connection has begun; while a filter stops here nothing is read. May be null: it goes on.
  int32_t (*begin)(transom_object, transom_handle);
  // Bytes of the client have come: all that waits here is the body of the direction 0. `end` is 1 when it sends no more.
  // May be null: they are not wanted.
  int32_t (*data)(transom_object, transom_handle, uint32_t end);
  // Bytes for the client have come: the body of the direction 1. May be null: they are not wanted.
  int32_t (*write)(transom_object, transom_handle, uint32_t end);
  // What happened between callbacks. May be null.
  void (*event)(transom_object, transom_handle, const transom_event *event);
  // The connection is over, and who ended it, with the numbers of `TRANSOM_EVENT_RESET`. Nothing can be sent
  // any more. May be null.
  void (*close)(transom_object, transom_handle, uint32_t by);
} transom_network_filter;

// What a listener filter needs.
typedef struct {
  // The size of this struct, as its maker knows it.
  size_t size;
  // How many of the first bytes it may need to see, 65,551 at the most; 0 for none.
  size_t peek;
} transom_listener_wants;

// The functions of a listener filter, which sees an accepted socket before its connection begins. Those that may be null
// say so.
//
// ```text
// check                   any thread, any time; keeps nothing
// prepare … release       the control side: one configuration
//   worker_start … worker_end          each worker, for that configuration
//     socket_start … socket_end        each socket, on its worker: accept, then peek until it has seen enough
// ```
//
// Verdicts are 0, on to the next filter; 1, more bytes are needed; 2, the socket is closed. Any other number is a failure of the
// filter.
typedef struct {
  // The size of this struct, as its maker knows it.
  size_t size;
  // Whether a configuration, as JSON, is good: `TRANSOM_OK`, or anything else and why. Null: `prepare` says so.
  transom_status (*check)(transom_slice config, transom_fault *fault);
  // Makes a configuration ready. `control` is good for `transom_host.metric_define` and the log.
  // Null refuses it, and `fault` says why.
  transom_object (*prepare)(transom_handle control,
                            transom_slice config,
                            transom_listener_wants *wants,
                            transom_fault *fault);
  // The configuration is gone; nothing of it is in use.
  void (*release)(transom_object config);
  // A worker begins. Null answers that it cannot. May be null: then a worker's part is the configuration itself.
  transom_object (*worker_start)(transom_object config, transom_handle worker);
  // What happened to the worker's part. May be null.
  void (*worker_event)(transom_object part, transom_handle worker, const transom_event *event);
  // The worker is done with the configuration. May be null.
  void (*worker_end)(transom_object part);
  // A socket was accepted. Its answer is what its callbacks get; it may be null, which is no failure.
  transom_object (*socket_start)(transom_object part, transom_handle socket);
  // The filter is done with the socket. May be null.
  void (*socket_end)(transom_object filter);
  // No byte was seen yet; 0 is to want none. May be null: it waits for bytes, if it wants any.
  int32_t (*accept)(transom_object, transom_handle);
  // All bytes that have come, up to `transom_listener_wants.peek`. They stay for whoever is behind.
  // `end` is 1 when no more will come. May be null: it goes on.
  int32_t (*peek)(transom_object, transom_handle, transom_slice bytes, uint32_t end);
} transom_listener_filter;

// What an access log may call.
typedef struct {
  // The size of this struct, as its maker knows it.
  size_t size;
  // Clusters that the callouts of its workers' parts may go to, `cluster_count` of them. The library's, until the
  // configuration is released.
  const transom_slice *clusters;
  // How many.
  size_t cluster_count;
} transom_log_wants;

// What is known of a finished stream or connection without a look-up by name. Text that there is none of is empty; a time
// that there is none of is -1.
typedef struct {
  // The size of this struct, as its maker knows it.
  size_t size;
  // 1 for a connection's record, 0 for a stream's.
  uint32_t is_connection;
  // The status of the response; 0 for none.
  uint32_t status;
  // Nanoseconds from the first byte of the request (of the connection) to its end.
  int64_t duration;
  // Nanoseconds from the first byte of the request to its last.
  int64_t request_received;
  // From the first byte of the request until the last of it was handed to the host's socket.
  int64_t request_sent;
  // From the first byte of the request to the first of the host's response.
  int64_t response_received;
  // From the first byte of the request until the head of the response was handed to the client's socket.
  int64_t response_sent;
  // Bytes of the request's body; of a connection, all that came from the client.
  uint64_t bytes_received;
  // Bytes of the response's body; of a connection, all that went to the client.
  uint64_t bytes_sent;
  // A number of the connection, unique in the process.
  uint64_t connection_id;
  // A number of the stream, unique in the process; the connection's own for a connection.
  uint64_t stream_id;
  // A number of the connection to the host; 0 for none.
  uint64_t upstream_connection_id;
  // How many hosts, or times one host, were tried.
  uint32_t upstream_attempts;
  // 0.
  uint32_t reserved;
  // `HTTP/1.1`; nothing for a connection.
  transom_slice protocol;
  // Why the response is what it is.
  transom_slice details;
  // The name of the listener.
  transom_slice listener;
  // The name of the virtual host.
  transom_slice virtual_host;
  // The name of the route.
  transom_slice route;
  // The name of the cluster.
  transom_slice cluster;
  // The chosen host's address.
  transom_slice upstream_host;
  // The protocol that is spoken with the host.
  transom_slice upstream_protocol;
  // Why TLS with the host failed.
  transom_slice upstream_failure;
  // The name that the client asked for in its TLS handshake.
  transom_slice server_name;
  // `TLSv1.2`, `TLSv1.3`; nothing for plain bytes.
  transom_slice tls_version;
  // The cipher suite, such as `TLS_AES_128_GCM_SHA256`.
  transom_slice tls_cipher;
  // Why the client's TLS handshake failed.
  transom_slice downstream_failure;
} transom_record;

// The functions of an access log. Those that may be null say so.
//
// ```text
// check                   any thread, any time; keeps nothing
// prepare … release       the control side: one configuration
//   worker_start … worker_end    each worker, for that configuration; in between, log, for each record of that worker
//   write                        a thread of the use's own, one call at a time: all entries, in batches
// ```
//
// A worker must not wait, so what may take its time (a disk, a network) is done in `write`: `log` gives entries to the host by
// `transom_host.log_append`, the host collects them, and hands them over when a worker has 32 KiB of them,
// when one has waited for a second, and at the end. While `write` stands still up to 4 MiB are kept for it; what comes
// then is dropped and counted.
typedef struct {
  // The size of this struct, as its maker knows it.
  size_t size;
  // Whether a configuration, as JSON, is good: `TRANSOM_OK`, or anything else and why. Null: `prepare` says so.
  transom_status (*check)(transom_slice config, transom_fault *fault);
  // Makes a configuration ready. `control` is good for `transom_host.metric_define` and the log.
  // Null refuses it, and `fault` says why.
  transom_object (*prepare)(transom_handle control, transom_slice config, transom_log_wants *wants, transom_fault *fault);
  // The configuration is gone; nothing of it is in use, and `write` has had all entries.
  void (*release)(transom_object config);
  // A worker begins. Null answers that it cannot. May be null: then a worker's part is the configuration itself.
  transom_object (*worker_start)(transom_object config, transom_handle worker);
  // What happened to the worker's part. May be null.
  void (*worker_event)(transom_object part, transom_handle worker, const transom_event *event);
  // The worker is done with the configuration. May be null.
  void (*worker_end)(transom_object part);
  // A stream, or in the log of a listener a connection, is over. `handle` is good for its headers, attributes, metadata and
  // state, and for `transom_host.log_append`. Returns at once.
  void (*log)(transom_object part, transom_handle handle, const transom_record *record);
  // Writes `count` entries, in the order of each worker. It may wait. Anything but `TRANSOM_OK`: they are lost, and
  // counted. May be null: then `log` does all, and nothing can be appended.
  transom_status (*write)(transom_object config, const transom_slice *entries, size_t count);
} transom_access_log;

// What a certificate provider needs.
typedef struct {
  // The size of this struct, as its maker knows it.
  size_t size;
  // 1 if it has certificates for names that are not among those that it gives for everybody. The host has set 1 where
  // the table has `certificate_for`.
  uint32_t on_demand;
  // 0.
  uint32_t reserved;
} transom_certificate_wants;

// The functions of a certificate provider, which lives on the control side. Those that may be null say so.
//
// ```text
// check                   any thread, any time; keeps nothing
// prepare … release       one configuration; in between, questions, one call at a time
// ```
//
// A call of `certificates` or `certificate_for` hands over a question and returns soon; its answer may come during the call, or
// later from any thread, within 30 s. What comes later is refused, and the host asks again by itself. In `prepare`,
// `transom_host.resumer_new` gives a resumer by which the provider says that it has something new.
typedef struct {
  // The size of this struct, as its maker knows it.
  size_t size;
  // Whether a configuration, as JSON, is good: `TRANSOM_OK`, or anything else and why. Null: `prepare` says so.
  transom_status (*check)(transom_slice config, transom_fault *fault);
  // Makes a configuration ready. `control` is good for `transom_host.metric_define`, the log and
  // `transom_host.resumer_new`. Null refuses it, and `fault` says why.
  transom_object (*prepare)(transom_handle control,
                            transom_slice config,
                            transom_certificate_wants *wants,
                            transom_fault *fault);
  // The configuration is gone; nothing of it is in use. Questions that are open are gone too.
  void (*release)(transom_object config);
  // Everything that it has for whoever asks. It must be answered well when the configuration is prepared; later, what was
  // given last stays in use when it is not.
  void (*certificates)(transom_object config, transom_question question);
  // The certificate for a name of DNS, in lower case, that a client asks for at this moment: one certificate, or none.
  // May be null.
  void (*certificate_for)(transom_object config, transom_slice name, transom_question question);
} transom_certificate_provider;

// What a selector needs: nothing yet.
typedef struct {
  // The size of this struct, as its maker knows it.
  size_t size;
} transom_selector_wants;

// A host of a cluster. Its place in the list is its index.
typedef struct {
  // Where it is, as the configuration writes it.
  transom_slice address;
  // Its share beside the other hosts' weights, 1 or more.
  uint32_t weight;
  // 0.
  uint32_t reserved;
} transom_selector_host;

// The functions of a selector, which chooses a host of a cluster. Those that may be null say so.
//
// ```text
// check                   any thread, any time; keeps nothing
// prepare … release       the control side: one configuration
//   table_start … table_end              the control side: one version of the list of hosts
//     selector_start … selector_end      each worker, for that list; in between, select
// ```
typedef struct {
  // The size of this struct, as its maker knows it.
  size_t size;
  // Whether a configuration, as JSON, is good: `TRANSOM_OK`, or anything else and why. Null: `prepare` says so.
  transom_status (*check)(transom_slice config, transom_fault *fault);
  // Makes a configuration ready. `control` is good for `transom_host.metric_define` and the log.
  // Null refuses it, and `fault` says why.
  transom_object (*prepare)(transom_handle control,
                            transom_slice config,
                            transom_selector_wants *wants,
                            transom_fault *fault);
  // The configuration is gone; nothing of it is in use.
  void (*release)(transom_object config);
  // Makes what workers choose by, for `count` hosts, each of `host_size` bytes. It may take its time; an order of hosts that
  // takes long to make belongs here. Its answer may be null, which is no failure. May be null: then it is the configuration.
  transom_object (*table_start)(transom_object config,
                                const transom_selector_host *hosts,
                                size_t count,
                                size_t host_size);
  // The list of hosts is another one. Any thread. May be null.
  void (*table_end)(transom_object table);
  // A worker begins to choose; `start` is the position of its predecessor, or the worker's number. May be null: then
  // workers choose by the table itself.
  transom_object (*selector_start)(transom_object table, size_t start);
  // It chooses no more. May be null.
  void (*selector_end)(transom_object selector);
  // The index of the host to use, or -1 when none is available. Called for each request and each connection. An index of a
  // host that is not available counts as -1, and then the proxy takes any that is. `choice` is good for
  // `transom_host.host_available`, `transom_host.host_active` and
  // `transom_host.random`.
  int64_t (*select)(transom_object selector, transom_handle choice);
  // How far it has come in its turns, for its successor. May be null: 0.
  size_t (*position)(transom_object selector);
} transom_selector;

// What a client says of itself.
typedef struct {
  // The size of this struct, as its maker knows it.
  size_t size;
  // What logs call the protocol, such as `HTTP/1.1`. The library's, until the configuration is released; empty is the
  // library's.
  transom_slice name;
} transom_client_wants;

// The functions of a client: a protocol that hosts are spoken to with. Those that may be null say so.
//
// ```text
// check                   any thread, any time; keeps nothing
// prepare … release       the control side: one configuration
//   connection_start … connection_end    each connection to a host, on its worker: one request after the other, each
//                                        request, data, end; and read, which tells the answer
// ```
//
// A request is the same whatever the host speaks: pseudo-headers, fields, a body, trailers. The functions of a connection write
// it in the protocol with `transom_host.codec_write`, and tell what they have read with
// `transom_host.message_head`, `transom_host.message_data` and
// `transom_host.message_end`. Their answer is `TRANSOM_OK`; `TRANSOM_UNSUPPORTED` for a
// request that cannot be said in the protocol; anything else when the peer does not speak it. Why, they say with
// `transom_host.fail`.
typedef struct {
  // The size of this struct, as its maker knows it.
  size_t size;
  // Whether a configuration, as JSON, is good: `TRANSOM_OK`, or anything else and why. Null: `prepare` says so.
  transom_status (*check)(transom_slice config, transom_fault *fault);
  // Makes a configuration ready. `control` is good for `transom_host.metric_define` and the log.
  // Null refuses it, and `fault` says why.
  transom_object (*prepare)(transom_handle control,
                            transom_slice config,
                            transom_client_wants *wants,
                            transom_fault *fault);
  // The configuration is gone; nothing of it is in use.
  void (*release)(transom_object config);
  // A connection to a host was made. Its answer is what its callbacks get; it may be null, which is no failure. Any
  // worker.
  transom_object (*connection_start)(transom_object config);
  // The connection is over. May be null.
  void (*connection_end)(transom_object connection);
  // Begins a request, whose head is the map `TRANSOM_REQUEST_HEADERS`: `:method`, `:path` and `:authority`
  // are there. `end` is 1 when that is all of it.
  transom_status (*request)(transom_object, transom_handle, uint32_t end);
  // A piece of the request's body.
  transom_status (*data)(transom_object, transom_handle, transom_slice data);
  // The request is over; its trailers, none for most, are the map
  // `TRANSOM_REQUEST_TRAILERS`.
  transom_status (*end)(transom_object, transom_handle);
  // Reads of what the host sent: all bytes that it has not used before are there again. How many it has used goes to
  // `used`. It is called again as long as it uses some, and else when more have come. `eof` is 1 when no more will.
  transom_status (*read)(transom_object, transom_handle, transom_slice bytes, uint32_t eof, size_t *used);
  // 1 if the connection may be used for another request, asked when an answer is over. May be null: it may not.
  uint32_t (*is_reusable)(transom_object);
} transom_client;

// A resumer's post; `number` is its token.
#define TRANSOM_EVENT_RESUMED 0

// The timer `number` has run out.
#define TRANSOM_EVENT_TIMER 1

// The callout `number` has ended; `callout` has its answer.
#define TRANSOM_EVENT_CALLOUT 2

// What is kept for the receiver of the direction `number` went over the watermark.
#define TRANSOM_EVENT_ABOVE_WATERMARK 3

// It came under it again.
#define TRANSOM_EVENT_BELOW_WATERMARK 4

// The stream ends before its time; `number` is why: 0 the client, 1 the host, 2 the proxy, 3 its time was over.
#define TRANSOM_EVENT_RESET 5

// The listener drains: whoever holds long-lived state brings it to an end.
#define TRANSOM_EVENT_DRAIN 6

// `table` is a `transom_stream_filter`.
#define TRANSOM_STREAM_FILTER 1

// `table` is a `transom_network_filter`.
#define TRANSOM_NETWORK_FILTER 2

// `table` is a `transom_listener_filter`.
#define TRANSOM_LISTENER_FILTER 3

// `table` is an `transom_access_log`.
#define TRANSOM_ACCESS_LOG 4

// `table` is a `transom_certificate_provider`.
#define TRANSOM_CERTIFICATE_PROVIDER 5

// `table` is a `transom_selector`.
#define TRANSOM_SELECTOR 7

// `table` is a `transom_client`.
#define TRANSOM_CLIENT 9

// Only grows.
#define TRANSOM_COUNTER 0

// Grows and shrinks.
#define TRANSOM_GAUGE 1

// Of durations, in nanoseconds.
#define TRANSOM_HISTOGRAM 2

// Of plain numbers.
#define TRANSOM_DISTRIBUTION 3

// The client's address and port, `192.0.2.1:4711` or `[2001:db8::1]:4711`. Can be set.
#define TRANSOM_SOCKET_SOURCE 0

// The address and port that the client connected to. Can be set.
#define TRANSOM_SOCKET_DESTINATION 1

// The peer of the socket itself, whatever a proxy before it says of the client.
#define TRANSOM_SOCKET_DIRECT_SOURCE 2

// Where the client wanted to go before the kernel redirected it.
#define TRANSOM_SOCKET_ORIGINAL_DESTINATION 3

// The server name of a TLS hello, in lower case. Can be set.
#define TRANSOM_SOCKET_SERVER_NAME 4

// The protocols that the client offers (ALPN), the most wanted first, with a comma between two. Can be set.
#define TRANSOM_SOCKET_PROTOCOLS 5

// What the first bytes were found to be: `tls`, `http1`, `http2`, `raw`. Can be set to one of these.
#define TRANSOM_SOCKET_DETECTED 6

// The one that accepted it.
#define TRANSOM_HAND_OVER_STAY 0

// The one on its destination, or on all addresses with that port; else the one that accepted it.
#define TRANSOM_HAND_OVER_TO_DESTINATION 1

// The same; before the one that accepted it comes one on the loopback with that port.
#define TRANSOM_HAND_OVER_TO_DESTINATION_OR_LOOPBACK 2

// Done.
#define TRANSOM_OK 0

// There is none of this name or number.
#define TRANSOM_NOT_FOUND 1

// The handle is of another callback, or of another thread.
#define TRANSOM_GONE 2

// What it concerns has left already, or has not come yet.
#define TRANSOM_RELEASED 3

// A number or slice is none that this function takes: a name that is no field name, text that is no UTF-8, a range outside
// of the body.
#define TRANSOM_BAD_ARGUMENT 4

// The proxy keeps this for itself: fields of framing, a cluster that the extension did not name.
#define TRANSOM_NOT_ALLOWED 5

// Over a limit.
#define TRANSOM_TOO_LARGE 6

// Shared data has another version by now.
#define TRANSOM_CHANGED 7

// This object cannot do that, or this host cannot.
#define TRANSOM_UNSUPPORTED 8

// Headers of the request.
#define TRANSOM_REQUEST_HEADERS 0

// Trailers of the request.
#define TRANSOM_REQUEST_TRAILERS 1

// Headers of the response.
#define TRANSOM_RESPONSE_HEADERS 2

// Trailers of the response.
#define TRANSOM_RESPONSE_TRAILERS 3

// From the client to the host.
#define TRANSOM_REQUEST 0

// From the host, or the proxy itself, to the client.
#define TRANSOM_RESPONSE 1

// Every step.
#define TRANSOM_TRACE 0

// For finding faults.
#define TRANSOM_DEBUG 1

// Worth knowing.
#define TRANSOM_INFO 2

// Something is off but goes on.
#define TRANSOM_WARN 3

// Something failed.
#define TRANSOM_ERROR 4

// `bytes`.
#define TRANSOM_ATTRIBUTE_BYTES 0

// `number`.
#define TRANSOM_ATTRIBUTE_INTEGER 1

// `number`, 0 or 1.
#define TRANSOM_ATTRIBUTE_BOOL 2

// `number`: nanoseconds since 1970-01-01 00:00 UTC.
#define TRANSOM_ATTRIBUTE_TIME 3

// `number`: nanoseconds.
#define TRANSOM_ATTRIBUTE_DURATION 4

#endif  /* TRANSOM_H */

#if defined(__cplusplus)
extern "C" {
#endif
// The one symbol that a library exports.
const transom_library *transom_library_entry(const transom_host *host);
#if defined(__cplusplus)
}
#endif
