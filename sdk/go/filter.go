package transom

// StreamFilter is a filter of requests and responses that the plugin has.
type StreamFilter struct {
	// Name is what `extension:` of a use says; empty for the only one.
	Name string
	// Phase is where the request's callbacks run, unless the use says so.
	Phase Phase
	// Schema is the JSON schema of the configuration, for the host's `schema`; empty for none.
	Schema string
	// Attributes that the filter looks at. What follows from the messages themselves need not be named.
	Attributes []string
	// RequestHeaders and ResponseHeaders are the only headers that the filter looks at; empty for all. What is not sent can still be set and removed.
	RequestHeaders, ResponseHeaders []string
	// Parse reads a configuration. It touches nothing outside: `transom check` calls it too.
	Parse func(*Config) (*Filters, error)
	// Route reads the configuration of a route, which [Stream.RouteConfig] gives. Nil: there is none.
	Route func(*Config) (any, error)
}

// Filters is a configuration of a stream filter that was read: it makes the filters of streams.
type Filters struct {
	// New makes the filter of a stream: a value with one or more of the methods below. Which it has decides what is sent.
	New func() any
	// Prepare makes the use ready, once: defines metrics, reads files. May be nil.
	Prepare func(*Use) error
	// Clusters that callouts may go to.
	Clusters []string
	// WholeRequestBody has request bodies come whole, up to so many bytes (more is answered 413); 0: in pieces.
	WholeRequestBody uint64
	// WholeResponseBody is the same for responses (more is answered 502).
	WholeResponseBody uint64
	// BufferLimit is what a stop verdict may keep; 0 for the host's 1 MiB.
	BufferLimit uint64
	// ChangesRequestLength and ChangesResponseLength say that the filter may change the length of bodies, which then go without Content-Length.
	ChangesRequestLength, ChangesResponseLength bool
}

// Use is one use of an extension in the host's configuration.
type Use struct {
	// Name of the use, for logs.
	Name    string
	metrics []metric
}

// RequestHeaders is for filters that see a request's headers. end: they are the whole request.
type RequestHeaders interface {
	RequestHeaders(s *Stream, end bool) HeadersVerdict
}

// RequestBody is for filters that see a request's body: [Stream.Body]. end: nothing follows.
type RequestBody interface {
	RequestBody(s *Stream, end bool) DataVerdict
}

// RequestTrailers is for filters that see a request's trailers.
type RequestTrailers interface {
	RequestTrailers(s *Stream) TrailersVerdict
}

// ResponseHeaders is for filters that see a response's headers, also those of the host's and other filters' own answers.
type ResponseHeaders interface {
	ResponseHeaders(s *Stream, end bool) HeadersVerdict
}

// ResponseBody is for filters that see a response's body.
type ResponseBody interface {
	ResponseBody(s *Stream, end bool) DataVerdict
}

// ResponseTrailers is for filters that see a response's trailers.
type ResponseTrailers interface {
	ResponseTrailers(s *Stream) TrailersVerdict
}

// Complete is for filters that have a last word: the stream is over, well or not, and the access log follows.
type Complete interface {
	Complete(s *Stream)
}

// Reset is for filters that want to know that a stream ended before its time.
type Reset interface {
	Reset(s *Stream, reason ResetReason)
}

// HeadersVerdict is the answer to headers.
type HeadersVerdict int32

const (
	// HeadersContinue lets them go on.
	HeadersContinue HeadersVerdict = 0
	// HeadersStop keeps them; body and trailers still come to this filter.
	HeadersStop HeadersVerdict = 1
	// HeadersEndStream lets them go on as the whole message.
	HeadersEndStream HeadersVerdict = 2
	// HeadersStopAllAndBuffer keeps all, up to the filter's limit.
	HeadersStopAllAndBuffer HeadersVerdict = 3
	// HeadersStopAll keeps all; at the watermark the sender is no longer read.
	HeadersStopAll HeadersVerdict = 4
)

// DataVerdict is the answer to a part of a body.
type DataVerdict int32

const (
	// DataContinue lets it go on, with all that was kept.
	DataContinue DataVerdict = 0
	// DataStopAndBuffer keeps it; the next call shows it together with what has come.
	DataStopAndBuffer DataVerdict = 1
	// DataStop keeps it; at the watermark the sender is no longer read.
	DataStop DataVerdict = 2
	// DataDrop takes it away.
	DataDrop DataVerdict = 3
)

// TrailersVerdict is the answer to trailers.
type TrailersVerdict int32

const (
	// TrailersContinue lets them go on.
	TrailersContinue TrailersVerdict = 0
	// TrailersStop keeps them, and the end of the message.
	TrailersStop TrailersVerdict = 1
)

// Phase is where in the way of a request a filter's request callbacks run.
type Phase int32

const (
	// BeforeRoute is before a route was looked for.
	BeforeRoute Phase = 0
	// AfterRoute is after the route was looked for.
	AfterRoute Phase = 1
	// AfterChooseHost is after the host was chosen.
	AfterChooseHost Phase = 2
)

// Direction is one of the two directions of a stream or connection.
type Direction int32

const (
	// Request is from the client to the host.
	Request Direction = 0
	// Response is from the host to the client.
	Response Direction = 1
)

// ResetReason is why a stream ended before its time.
type ResetReason int32

const (
	// ResetDownstream : the client went away.
	ResetDownstream ResetReason = 0
	// ResetUpstream : the host ended it.
	ResetUpstream ResetReason = 1
	// ResetLocal : a filter or the proxy ended it.
	ResetLocal ResetReason = 2
	// ResetTimeout : its time was over.
	ResetTimeout ResetReason = 3
)

// Bits of callbacks, as transom.plugin.v1 has them.
const (
	wantsRequestHeaders = 1 << iota
	wantsRequestBody
	wantsRequestTrailers
	wantsResponseHeaders
	wantsResponseBody
	wantsResponseTrailers
	wantsComplete
	changesRequestLength
	changesResponseLength
)

// callbacks finds out what a filter has methods for. Headers are asked for with what follows them, because filters read them at any time.
func callbacks(f *Filters) uint32 {
	var bits uint32
	has := func(is bool, bit uint32) {
		if is {
			bits |= bit
		}
	}
	filter := f.New()
	_, is := filter.(RequestHeaders)
	has(is, wantsRequestHeaders)
	_, is = filter.(RequestBody)
	has(is, wantsRequestBody)
	_, is = filter.(RequestTrailers)
	has(is, wantsRequestTrailers)
	_, is = filter.(ResponseHeaders)
	has(is, wantsResponseHeaders)
	_, is = filter.(ResponseBody)
	has(is, wantsResponseBody)
	_, is = filter.(ResponseTrailers)
	has(is, wantsResponseTrailers)
	_, is = filter.(Complete)
	has(is, wantsComplete)
	has(bits&(wantsResponseBody|wantsResponseTrailers) != 0, wantsResponseHeaders)
	has(bits&(wantsRequestBody|wantsRequestTrailers|wantsResponseHeaders|wantsComplete) != 0, wantsRequestHeaders)
	has(f.ChangesRequestLength, changesRequestLength)
	has(f.ChangesResponseLength, changesResponseLength)
	return bits
}
