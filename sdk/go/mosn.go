package transom

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"transom.internal/sdk/go/internal/pb/mosn"
	pb "transom.internal/sdk/go/internal/pb/v1"
)

// calls answers MOSN's `call` with the same extensions: a call with headers is a request that meets the stream filter (changes of headers and
// body come back as MOSN's pluginfilter takes them, a refusal is status -1, as demo_plugin takes it); one without is for the certificate
// provider, if there is one (loader). Callouts are not to be had.
type calls struct {
	mosn.UnimplementedPluginServer
	service      *service
	filter       *use
	certificates *use
	store        store
}

func newCalls(s *service) (*calls, error) {
	c := &calls{service: s, store: store{values: map[string]stored{}}}
	config := &Config{s.defaults}
	make := func(kind pb.Kind, name string) (*use, error) {
		found, err := s.find(&pb.Use{Kind: kind, Extension: name})
		if err != nil {
			return nil, err
		}
		ready, _, err := s.ready(found, "mosn", config)
		if err != nil {
			return nil, fmt.Errorf("the configuration (argument -c FILE) is bad: %w", err)
		}
		return ready, nil
	}
	var err error
	if len(s.plugin.Filters) > 0 {
		if c.filter, err = make(pb.Kind_STREAM_FILTER, s.plugin.Filters[0].Name); err != nil {
			return nil, err
		}
	}
	if len(s.plugin.Certificates) > 0 {
		if c.certificates, err = make(pb.Kind_CERTIFICATE_PROVIDER, s.plugin.Certificates[0].Name); err != nil {
			return nil, err
		}
	}
	if c.filter == nil && c.certificates == nil {
		return nil, fmt.Errorf("MOSN calls stream filters and certificate providers, and this plugin has neither")
	}
	return c, nil
}

func (c *calls) register(server *grpc.Server) {
	mosn.RegisterPluginServer(server, c)
}

// Call answers one call of MOSN's.
func (c *calls) Call(ctx context.Context, request *mosn.Request) (*mosn.Response, error) {
	if c.certificates != nil && (c.filter == nil || len(request.Header) == 0) {
		certificate, err := c.certificates.source.Certificate("")
		if err != nil {
			return nil, status.Error(codes.Unknown, err.Error())
		}
		if certificate == nil {
			certificate = &Certificate{}
		}
		body, err := json.Marshal(map[string]string{
			"cert_pem": string(certificate.Chain), "key_pem": string(certificate.Key), "ca_pem": string(certificate.ClientAuthorities),
		})
		return &mosn.Response{Body: body, Status: 1}, err
	}
	return c.filtered(ctx, request)
}

func (c *calls) filtered(ctx context.Context, request *mosn.Request) (*mosn.Response, error) {
	call := &call{store: &c.store, response: &mosn.Response{Status: 1}, settled: make(chan struct{})}
	s := newStream(1, call, c.filter, c.service.level, nil)
	call.stream = s
	// A caller that goes away, or whose time is over, ends what waits.
	stop := context.AfterFunc(ctx, s.cancel)
	defer stop()
	hasBody, hasTrailers := len(request.Body) > 0, len(request.Trailer) > 0
	s.headersArrive(1, &pb.Headers{Fields: withPseudo(request.Header), End: !hasBody && !hasTrailers})
	if hasBody && call.goesOn() {
		s.dataArrives(2, &pb.Data{Data: request.Body, End: !hasTrailers})
	}
	if hasTrailers && call.goesOn() {
		s.trailersArrive(3, &pb.Trailers{Fields: fieldsOf(request.Trailer)})
	}
	if call.waits() {
		select {
		case <-call.settled:
		case <-ctx.Done():
			s.cancel()
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
	if _, is := s.filter.(Complete); is {
		s.over(4, nil, nil)
	} else {
		s.cancel()
	}
	call.mutex.Lock()
	defer call.mutex.Unlock()
	if call.failure != "" {
		return nil, status.Error(codes.Unknown, call.failure)
	}
	return call.response, nil
}

// call is the port of one call.
type call struct {
	mutex    sync.Mutex
	stream   *Stream
	store    *store
	response *mosn.Response
	verdict  int32
	resumed  bool
	refused  bool
	failure  string
	settled  chan struct{}
	closed   bool
}

func (c *call) answer(_, _ uint64, verdict int32, actions []*pb.Action) {
	c.mutex.Lock()
	c.verdict = verdict
	c.mutex.Unlock()
	c.actions(0, actions)
}

func (c *call) actions(_ uint64, actions []*pb.Action) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for _, action := range actions {
		c.apply(action)
	}
	if (c.resumed || c.refused || c.failure != "") && !c.closed {
		c.closed = true
		close(c.settled)
	}
}

// goesOn says whether the rest of the message is the filter's to see.
func (c *call) goesOn() bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return !c.refused && c.failure == "" && (c.verdict < 2 || c.resumed)
}

// waits says whether the filter has stopped the request and did not let it go yet.
func (c *call) waits() bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return !c.refused && c.failure == "" && c.verdict != 0 && !c.resumed
}

func (c *call) apply(action *pb.Action) {
	switch kind := action.Action.(type) {
	case *pb.Action_Fields:
		c.change(kind.Fields)
	case *pb.Action_Body:
		if kind.Body.Direction == pb.Direction_REQUEST {
			c.response.Body = kind.Body.Data
		}
	case *pb.Action_Resume:
		c.resumed = c.resumed || kind.Resume == pb.Direction_REQUEST
	case *pb.Action_LocalReply, *pb.Action_Terminate:
		c.refused = true
		c.response = &mosn.Response{Status: -1}
	case *pb.Action_Fail:
		c.failure = kind.Fail
	case *pb.Action_Timer:
		event := &pb.Event{Event: &pb.Event_Timer{Timer: kind.Timer.Timer}}
		time.AfterFunc(time.Duration(kind.Timer.AfterMs)*time.Millisecond, func() { c.stream.happened(event) })
	case *pb.Action_HttpCall:
		c.unsupported(kind.HttpCall.Callout)
	case *pb.Action_GrpcCall:
		c.unsupported(kind.GrpcCall.Callout)
	case *pb.Action_Shared:
		result := c.store.perform(kind.Shared)
		go c.stream.happened(&pb.Event{Event: &pb.Event_Shared{Shared: result}})
	}
}

func (c *call) unsupported(id uint64) {
	done := &pb.CalloutDone{Callout: id, Result: &pb.CalloutDone_Error{Error: pb.CalloutError_UNSUPPORTED}}
	go c.stream.happened(&pb.Event{Event: &pb.Event_Callout{Callout: done}})
}

// change puts a change into MOSN's one map of what changed: empty is gone.
func (c *call) change(change *pb.ChangeFields) {
	into := &c.response.Header
	headers := c.stream.Request()
	switch change.Map {
	case pb.HeaderMap_REQUEST_HEADERS:
	case pb.HeaderMap_REQUEST_TRAILERS:
		into, headers = &c.response.Trailer, c.stream.RequestTrailers()
	default:
		return
	}
	if *into == nil {
		*into = map[string]string{}
	}
	for _, name := range change.Remove {
		(*into)[string(name)] = ""
	}
	for _, field := range change.Set {
		(*into)[string(field.Name)] = string(field.Value)
	}
	for _, field := range change.Add {
		(*into)[string(field.Name)] = strings.Join(headers.Values(string(field.Name)), ", ")
	}
}

// withPseudo are MOSN's headers in an order, with the pseudo-headers that a filter may look at.
func withPseudo(headers map[string]string) []*pb.Field {
	fields := fieldsOf(headers)
	for _, pseudo := range []Field{{":path", "/"}, {":method", "GET"}, {":authority", ""}} {
		if _, is := headers[pseudo.Name]; !is {
			fields = append([]*pb.Field{wireField(pseudo.Name, pseudo.Value)}, fields...)
		}
	}
	return fields
}

func fieldsOf(headers map[string]string) []*pb.Field {
	names := make([]string, 0, len(headers))
	for name := range headers {
		names = append(names, name)
	}
	sort.Strings(names)
	fields := make([]*pb.Field, 0, len(names)+3)
	for _, name := range names {
		fields = append(fields, wireField(name, headers[name]))
	}
	return fields
}

// store is shared data where the host has none: the plugin's own.
type store struct {
	mutex  sync.Mutex
	values map[string]stored
}

type stored struct {
	value   []byte
	version uint32
}

func (s *store) perform(shared *pb.Shared) *pb.SharedResult {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if set := shared.GetSet(); set != nil {
		there := s.values[set.Key]
		if set.Version != nil && *set.Version != there.version {
			return &pb.SharedResult{Key: set.Key}
		}
		if set.Value == nil {
			delete(s.values, set.Key)
		} else {
			s.values[set.Key] = stored{set.Value, there.version + 1}
		}
		return &pb.SharedResult{Key: set.Key, Done: true}
	}
	there := s.values[shared.GetGet()]
	return &pb.SharedResult{Key: shared.GetGet(), Value: there.value, Version: there.version, Done: true}
}
