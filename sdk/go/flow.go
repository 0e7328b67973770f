package transom

import (
	"context"
	"errors"
	"sync"
	"time"

	pb "transom.internal/sdk/go/internal/pb/v1"
)

// port is where answers and actions go: the host's worker, or a call of MOSN's.
type port interface {
	answer(id, callback uint64, verdict int32, actions []*pb.Action)
	actions(id uint64, actions []*pb.Action)
}

// flow is what streams and connections have in common: they ask for things, and wait for what comes of it.
type flow struct {
	asked
	id         uint64
	port       port
	used       *use
	context    context.Context
	cancel     context.CancelFunc
	attributes map[string]*pb.Value
	filter     any
	failed     bool
	// One callback at a time: one that waits for something may be overtaken by the next.
	run sync.Mutex
	// The number of the callback that was not answered yet, and what answers it when its code begins to wait; below 0: nothing does.
	callback uint64
	early    int32
	// It was answered when its code began to wait.
	detached bool

	waiting sync.Mutex
	lastID  uint64
	waits   map[uint64]chan *pb.Event
	shared  []chan *pb.Event
}

// ErrGone is what waiting ends with when the stream or connection has ended meanwhile. The filter returns, and need not say anything.
var ErrGone = errors.New("the stream or connection is gone")

// CalloutError is why a callout was not answered.
type CalloutError int32

// Error says it in words.
func (e CalloutError) Error() string {
	switch pb.CalloutError(e) {
	case pb.CalloutError_NOT_ALLOWED:
		return "the filter did not name this cluster in Clusters"
	case pb.CalloutError_NO_CLUSTER:
		return "there is no such cluster"
	case pb.CalloutError_UNSUPPORTED:
		return "the host, or the cluster, does not speak what the call needs"
	case pb.CalloutError_BAD_REQUEST:
		return "a header of the call is missing or malformed"
	case pb.CalloutError_CALLOUT_TIMEOUT:
		return "the call's time was over"
	case pb.CalloutError_RESET:
		return "the cluster's host ended the call"
	case pb.CalloutError_TOO_LARGE:
		return "the answer was larger than a callout may keep"
	default:
		return "no host of the cluster could be connected"
	}
}

// HTTPCall is a request to a cluster of the host's.
type HTTPCall struct {
	// Cluster is one of Filters.Clusters.
	Cluster string
	// Method, Authority and Path of the request.
	Method, Authority, Path string
	// Headers beside those.
	Headers []Field
	Body    []byte
	// Timeout of the whole call; 0 for the host's 5 s.
	Timeout time.Duration
}

// GRPCCall is a unary call to a cluster of the host's, which must speak HTTP/2.
type GRPCCall struct {
	Cluster, Service, Method string
	Metadata                 []Field
	// Message is encoded.
	Message []byte
	Timeout time.Duration
}

// CallResponse is the answer to a call. Of a gRPC call the body is the encoded message, and the trailers have grpc-status.
type CallResponse struct {
	Status   int
	Headers  []Field
	Body     []byte
	Trailers []Field
}

// Header is the first value of a header.
func (r *CallResponse) Header(name string) string {
	h := Headers{fields: r.Headers}
	return h.Value(name)
}

// Context ends when the stream or connection is gone.
func (f *flow) Context() context.Context {
	return f.context
}

// Attribute is a value that the host knows (text, int64, bool, float64); nil for one that the extension did not name in Attributes, or that
// the host does not know.
func (f *flow) Attribute(name string) any {
	return fromWire(f.attributes[name])
}

// Call asks a cluster and waits for the answer. The stream waits at this filter meanwhile; nothing else does.
func (f *flow) Call(call HTTPCall) (*CallResponse, error) {
	headers := append([]Field{{":method", call.Method}, {":path", call.Path}, {":authority", call.Authority}}, call.Headers...)
	if call.Method == "" || call.Path == "" || call.Authority == "" {
		return nil, CalloutError(pb.CalloutError_BAD_REQUEST)
	}
	return f.callout(call.Cluster, func(id uint64) *pb.Action {
		return &pb.Action{Action: &pb.Action_HttpCall{HttpCall: &pb.HttpCall{
			Callout: id, Cluster: call.Cluster, Headers: wireFields(headers), Body: call.Body, TimeoutMs: milliseconds(call.Timeout),
		}}}
	})
}

// CallGRPC makes a unary gRPC call and waits for the answer.
func (f *flow) CallGRPC(call GRPCCall) (*CallResponse, error) {
	return f.callout(call.Cluster, func(id uint64) *pb.Action {
		return &pb.Action{Action: &pb.Action_GrpcCall{GrpcCall: &pb.GrpcCall{
			Callout: id, Cluster: call.Cluster, Service: call.Service, Method: call.Method, Metadata: wireFields(call.Metadata),
			Message: call.Message, TimeoutMs: milliseconds(call.Timeout),
		}}}
	})
}

func (f *flow) callout(cluster string, action func(uint64) *pb.Action) (*CallResponse, error) {
	allowed := false
	for _, known := range f.used.clusters {
		allowed = allowed || known == cluster
	}
	if !allowed {
		return nil, CalloutError(pb.CalloutError_NOT_ALLOWED)
	}
	event, err := f.wait(action)
	if err != nil {
		return nil, err
	}
	done := event.GetCallout()
	if response := done.GetResponse(); response != nil {
		answer := &CallResponse{Headers: ownFields(response.Headers), Body: response.Body, Trailers: ownFields(response.Trailers)}
		for _, c := range answer.Header(":status") {
			answer.Status = answer.Status*10 + int(c-'0')
		}
		return answer, nil
	}
	return nil, CalloutError(done.GetError())
}

// Sleep waits for a time, by the host's clock.
func (f *flow) Sleep(duration time.Duration) error {
	_, err := f.wait(func(id uint64) *pb.Action {
		return &pb.Action{Action: &pb.Action_Timer{Timer: &pb.SetTimer{Timer: id, AfterMs: milliseconds(duration)}}}
	})
	return err
}

// Wait lets the stream wait while f runs: for whatever takes its time and is not the host's, such as a database.
func (f *flow) Wait(work func()) error {
	f.begin()
	work()
	if f.context.Err() != nil {
		return ErrGone
	}
	return nil
}

// SharedGet reads a value of the host's shared data, which all plugins, workers and filters see, and its version. A value that is not there
// is nil and has version 0.
func (f *flow) SharedGet(key string) ([]byte, uint32, error) {
	event, err := f.askShared(&pb.Shared{Operation: &pb.Shared_Get{Get: key}})
	if err != nil {
		return nil, 0, err
	}
	return event.GetShared().Value, event.GetShared().Version, nil
}

// SharedSet sets a value of the host's shared data; nil removes it. It says whether that was done: it is not if the data is full.
func (f *flow) SharedSet(key string, value []byte) (bool, error) {
	return f.sharedSet(&pb.SharedSet{Key: key, Value: value})
}

// SharedCompareAndSet sets the value if what is there still has this version (0: if nothing is there).
func (f *flow) SharedCompareAndSet(key string, value []byte, version uint32) (bool, error) {
	return f.sharedSet(&pb.SharedSet{Key: key, Value: value, Version: &version})
}

func (f *flow) sharedSet(set *pb.SharedSet) (bool, error) {
	event, err := f.askShared(&pb.Shared{Operation: &pb.Shared_Set{Set: set}})
	return event.GetShared().GetDone(), err
}

func (f *flow) askShared(shared *pb.Shared) (*pb.Event, error) {
	result := make(chan *pb.Event, 1)
	f.waiting.Lock()
	f.shared = append(f.shared, result)
	f.waiting.Unlock()
	f.ask(&pb.Action{Action: &pb.Action_Shared{Shared: shared}})
	return f.until(result)
}

// wait asks for something that ends with an event of its number.
func (f *flow) wait(action func(uint64) *pb.Action) (*pb.Event, error) {
	result := make(chan *pb.Event, 1)
	f.waiting.Lock()
	f.lastID++
	id := f.lastID
	if f.waits == nil {
		f.waits = map[uint64]chan *pb.Event{}
	}
	f.waits[id] = result
	f.waiting.Unlock()
	f.ask(action(id))
	return f.until(result)
}

func (f *flow) until(result chan *pb.Event) (*pb.Event, error) {
	f.begin()
	select {
	case event := <-result:
		return event, nil
	case <-f.context.Done():
		return nil, ErrGone
	}
}

// begin tells the host that the callback's code waits, and what it has asked for so far.
func (f *flow) begin() {
	if f.callback != 0 && f.early >= 0 {
		f.port.answer(f.id, f.callback, f.early, f.take())
		f.callback = 0
		f.detached = true
		return
	}
	f.flush()
}

// flush sends what was asked for outside of an answer.
func (f *flow) flush() {
	if actions := f.take(); len(actions) > 0 && f.context.Err() == nil {
		f.port.actions(f.id, actions)
	}
}

func (f *flow) take() []*pb.Action {
	actions := f.pending
	f.pending = nil
	return actions
}

// happened hands an event to who waits for it.
func (f *flow) happened(event *pb.Event) {
	f.waiting.Lock()
	defer f.waiting.Unlock()
	var id uint64
	switch kind := event.GetEvent().(type) {
	case *pb.Event_Timer:
		id = kind.Timer
	case *pb.Event_Callout:
		id = kind.Callout.Callout
	case *pb.Event_Shared:
		if len(f.shared) > 0 {
			f.shared[0] <- event
			f.shared = f.shared[1:]
		}
		return
	default:
		return
	}
	if result := f.waits[id]; result != nil {
		delete(f.waits, id)
		result <- event
	}
}

func ownFields(fields []*pb.Field) []Field {
	own := make([]Field, 0, len(fields))
	for _, field := range fields {
		own = append(own, Field{string(field.Name), string(field.Value)})
	}
	return own
}

func milliseconds(duration time.Duration) uint64 {
	if duration <= 0 {
		return 0
	}
	return uint64((duration + time.Millisecond - 1) / time.Millisecond)
}
