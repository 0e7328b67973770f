package transom

import (
	"fmt"
	"strings"
	"sync"
	"time"

	pb "transom.internal/sdk/go/internal/pb/v1"
)

// Trial is a request that meets a filter in a unit test, without a host: see [Trial.Run].
type Trial struct {
	// Config is the use's configuration, as JSON; Route that of the route.
	Config, Route string
	// Method, Path and Authority of the request; GET, / and example.test unless set.
	Method, Path, Authority string
	Headers                 []Field
	Body                    string
	// Attributes that the host knows.
	Attributes map[string]any
	// Callouts are the answers of clusters; of others none can be connected.
	Callouts map[string]CallResponse
	// Response is what the upstream answers, if the filter is to see that: status and headers, and a body in one piece.
	Response     []Field
	ResponseBody string
}

// Outcome is what became of a trial.
type Outcome struct {
	// Reply is the filter's own answer; nil if the request went on.
	Reply *LocalReply
	// Request is what went on to the upstream.
	Request Message
	// Response is what went on to the client.
	Response Message
	// Failure is why the filter failed; empty if it did not.
	Failure string
	// Metadata by namespace and key, with a dot between them.
	Metadata map[string]any
	Logs     []string
}

// Message is headers and a body.
type Message struct {
	Headers []Field
	Body    string
}

// Header is the first value of a header.
func (m Message) Header(name string) string {
	h := Headers{fields: m.Headers}
	return h.Value(name)
}

// Run has the request pass a new filter. Times pass at once, shared data begins empty. An error is one of Parse, Prepare or Route: a [Fault] for a
// configuration that is wrong.
func (t Trial) Run(filter StreamFilter) (*Outcome, error) {
	service := &service{plugin: &Plugin{Filters: []StreamFilter{filter}}}
	found, err := service.find(&pb.Use{Kind: pb.Kind_STREAM_FILTER})
	if err != nil {
		return nil, err
	}
	used, _, err := service.ready(found, "trial", &Config{[]byte(t.Config)})
	if err != nil {
		return nil, err
	}
	if t.Route != "" && filter.Route != nil {
		if _, err := filter.Route(&Config{[]byte(t.Route)}); err != nil {
			return nil, err
		}
	}
	begin := &pb.StreamBegin{RouteConfig: []byte(t.Route), Attributes: map[string]*pb.Value{}}
	for name, value := range t.Attributes {
		begin.Attributes[name] = toWire(value)
	}
	port := &trialPort{
		callouts: t.Callouts, store: store{values: map[string]stored{}}, resumed: make(chan struct{}, 8),
		outcome: &Outcome{Metadata: map[string]any{}},
	}
	s := newStream(1, port, used, Trace, begin)
	port.stream = s
	defer s.cancel()
	or := func(text, other string) string {
		if text == "" {
			return other
		}
		return text
	}
	request := append([]Field{
		{":method", or(t.Method, "GET")}, {":scheme", "http"}, {":authority", or(t.Authority, "example.test")}, {":path", or(t.Path, "/")},
	}, t.Headers...)
	if err := port.pass(Request, request, t.Body); err != nil {
		return port.outcome, err
	}
	port.outcome.Request = Message{s.Request().All(), port.bodies[Request]}
	if port.outcome.Reply == nil && port.outcome.Failure == "" && t.Response != nil {
		if err := port.pass(Response, t.Response, t.ResponseBody); err != nil {
			return port.outcome, err
		}
		port.outcome.Response = Message{s.Response().All(), port.bodies[Response]}
	}
	if _, is := s.filter.(Complete); is {
		s.over(9, nil, nil)
	}
	return port.outcome, nil
}

// trialPort is the host of a trial.
type trialPort struct {
	mutex    sync.Mutex
	stream   *Stream
	callouts map[string]CallResponse
	store    store
	outcome  *Outcome
	verdict  int32
	bodies   [2]string
	resumed  chan struct{}
}

func (p *trialPort) pass(direction Direction, headers []Field, body string) error {
	s := p.stream
	p.bodies[direction] = body
	s.headersArrive(1, &pb.Headers{Direction: pb.Direction(direction), Fields: wireFields(headers), End: body == ""})
	if p.over() {
		return nil
	}
	if stops := p.verdict; stops >= 3 || stops == 1 && body == "" {
		if err := p.wait(); err != nil {
			return err
		}
	}
	if body == "" || p.over() {
		return nil
	}
	s.dataArrives(2, &pb.Data{Direction: pb.Direction(direction), Data: []byte(body), End: true})
	if p.verdict == 1 || p.verdict == 2 {
		return p.wait()
	}
	return nil
}

func (p *trialPort) over() bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.outcome.Reply != nil || p.outcome.Failure != ""
}

func (p *trialPort) wait() error {
	select {
	case <-p.resumed:
		return nil
	case <-time.After(5 * time.Second):
		return fmt.Errorf("the filter stopped the stream and did not let it go on within 5 s")
	}
}

func (p *trialPort) answer(_, _ uint64, verdict int32, actions []*pb.Action) {
	p.mutex.Lock()
	p.verdict = verdict
	p.mutex.Unlock()
	p.actions(0, actions)
}

func (p *trialPort) actions(_ uint64, actions []*pb.Action) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, action := range actions {
		p.apply(action)
	}
}

func (p *trialPort) apply(action *pb.Action) {
	tell := func(event *pb.Event) { go p.stream.happened(event) }
	switch kind := action.Action.(type) {
	case *pb.Action_Body:
		p.bodies[kind.Body.Direction] = string(kind.Body.Data)
	case *pb.Action_Resume:
		p.resumed <- struct{}{}
	case *pb.Action_LocalReply:
		reply := kind.LocalReply
		p.outcome.Reply = &LocalReply{
			Status: int(reply.Status), Headers: ownFields(reply.Headers), Body: reply.Body, Details: reply.Details, GRPCStatus: reply.GrpcStatus,
		}
		p.resumed <- struct{}{}
	case *pb.Action_Fail:
		p.outcome.Failure = kind.Fail
		p.resumed <- struct{}{}
	case *pb.Action_Metadata:
		p.outcome.Metadata[kind.Metadata.Namespace+"."+kind.Metadata.Key] = fromWire(kind.Metadata.Value)
	case *pb.Action_Log:
		p.outcome.Logs = append(p.outcome.Logs, strings.ToLower(kind.Log.Level.String())+": "+kind.Log.Message)
	case *pb.Action_Timer:
		tell(&pb.Event{Event: &pb.Event_Timer{Timer: kind.Timer.Timer}})
	case *pb.Action_HttpCall:
		done := &pb.CalloutDone{Callout: kind.HttpCall.Callout, Result: &pb.CalloutDone_Error{Error: pb.CalloutError_UNAVAILABLE}}
		if answer, is := p.callouts[kind.HttpCall.Cluster]; is {
			headers := append([]Field{{":status", fmt.Sprint(answer.Status)}}, answer.Headers...)
			done.Result = &pb.CalloutDone_Response{Response: &pb.CalloutResponse{Headers: wireFields(headers), Body: answer.Body}}
		}
		tell(&pb.Event{Event: &pb.Event_Callout{Callout: done}})
	case *pb.Action_GrpcCall:
		done := &pb.CalloutDone{Callout: kind.GrpcCall.Callout, Result: &pb.CalloutDone_Error{Error: pb.CalloutError_UNAVAILABLE}}
		tell(&pb.Event{Event: &pb.Event_Callout{Callout: done}})
	case *pb.Action_Shared:
		tell(&pb.Event{Event: &pb.Event_Shared{Shared: p.store.perform(kind.Shared)}})
	}
}
