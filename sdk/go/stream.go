package transom

import (
	"context"
	"errors"
	"fmt"
	"strings"

	pb "transom.internal/sdk/go/internal/pb/v1"
)

// Stream is a request and its response, as a filter sees them in its methods.
type Stream struct {
	flow
	sides [2]side
	route any
}

type side struct {
	headers, trailers Headers
	body              []byte
	shown, changed    bool
}

// LocalReply is an answer in place of the host's.
type LocalReply struct {
	// Status, 200 to 599.
	Status  int
	Headers []Field
	Body    []byte
	// Details says why in a word, for the access log.
	Details string
	// GRPCStatus for gRPC clients; nil: made from Status.
	GRPCStatus *uint32
}

func newStream(id uint64, port port, used *use, level Level, begin *pb.StreamBegin) *Stream {
	s := &Stream{}
	s.id, s.port, s.used, s.level, s.attributes = id, port, used, level, begin.GetAttributes()
	s.context, s.cancel = context.WithCancel(context.Background())
	for direction, maps := range [2][2]pb.HeaderMap{
		{pb.HeaderMap_REQUEST_HEADERS, pb.HeaderMap_REQUEST_TRAILERS},
		{pb.HeaderMap_RESPONSE_HEADERS, pb.HeaderMap_RESPONSE_TRAILERS},
	} {
		s.sides[direction].headers = Headers{stream: s, which: maps[0]}
		s.sides[direction].trailers = Headers{stream: s, which: maps[1]}
	}
	if used.filters == nil {
		s.failWith(errors.New(used.fault))
		return s
	}
	s.try(func() {
		s.filter = used.filters.New()
		if len(begin.GetRouteConfig()) == 0 {
			return
		}
		var err error
		if s.route, err = used.routeConfig(begin.RouteConfig); err != nil {
			s.failWith(err)
		}
	})
	return s
}

// Request are the request's headers.
func (s *Stream) Request() *Headers { return &s.sides[Request].headers }

// Response are the response's headers; empty before they came.
func (s *Stream) Response() *Headers { return &s.sides[Response].headers }

// RequestTrailers are the request's trailers. At the end of a body that has none they can be added.
func (s *Stream) RequestTrailers() *Headers { return &s.sides[Request].trailers }

// ResponseTrailers are the response's trailers.
func (s *Stream) ResponseTrailers() *Headers { return &s.sides[Response].trailers }

// Body is what this call shows of a body: what was kept here and what has come.
func (s *Stream) Body(direction Direction) []byte {
	return s.sides[direction].body
}

// SetBody replaces what this call shows of a body. A filter that changes its length says so in Filters.
func (s *Stream) SetBody(direction Direction, data []byte) error {
	side := &s.sides[direction]
	if !side.shown {
		return ErrAbsent
	}
	if len(data) != len(side.body) {
		_, announced := side.headers.Get("content-length")
		if announced && s.used.bits&(changesRequestLength<<direction) == 0 {
			s.failWith(errors.New("it changed the length of a body without saying so in Filters"))
			return errors.New("the body's length was announced already")
		}
	}
	side.body, side.changed = data, true
	return nil
}

// Reply answers the request here: it does not go on, and the answer passes the response callbacks of all filters.
func (s *Stream) Reply(reply LocalReply) error {
	if s.sides[Response].headers.released {
		return ErrReleased
	}
	s.ask(&pb.Action{Action: &pb.Action_LocalReply{LocalReply: &pb.LocalReply{
		Status: uint32(reply.Status), Headers: wireFields(reply.Headers), Body: reply.Body, Details: reply.Details, GrpcStatus: reply.GRPCStatus,
	}}})
	return nil
}

// RouteConfig is the use's configuration for the route, as StreamFilter.Route read it; nil if there is none.
func (s *Stream) RouteConfig() any { return s.route }

// Resume lets go what waits at this filter after a stop verdict.
func (s *Stream) Resume(direction Direction) {
	s.sides[direction].headers.released = true
	s.ask(&pb.Action{Action: &pb.Action_Resume{Resume: pb.Direction(direction)}})
}

// Later runs f on the stream, from any goroutine, when no callback runs. It does nothing when the stream is gone.
func (s *Stream) Later(f func(*Stream)) {
	go func() {
		s.run.Lock()
		defer s.run.Unlock()
		if s.context.Err() == nil && !s.failed {
			s.try(func() { f(s) })
			s.flush()
		}
	}()
}

// Inject sends bytes of the filter's own on from here. With end, they end the body.
func (s *Stream) Inject(direction Direction, data []byte, end bool) error {
	if !s.sides[direction].headers.released {
		return ErrReleased
	}
	s.ask(&pb.Action{Action: &pb.Action_Inject{Inject: &pb.Inject{Direction: pb.Direction(direction), Data: data, End: end}}})
	return nil
}

// HoldBack stops, or takes up again, reading the sender of a direction.
func (s *Stream) HoldBack(direction Direction, hold bool) {
	s.ask(&pb.Action{Action: &pb.Action_HoldBack{HoldBack: &pb.HoldBack{Direction: pb.Direction(direction), Hold: hold}}})
}

// SkipPhase skips the filters behind this one in its request phase.
func (s *Stream) SkipPhase() { s.ask(&pb.Action{Action: &pb.Action_SkipPhase{SkipPhase: &pb.Unit{}}}) }

// ClearRoute has later filters and the router look for the route anew.
func (s *Stream) ClearRoute() {
	s.ask(&pb.Action{Action: &pb.Action_ClearRoute{ClearRoute: &pb.Unit{}}})
}

// RematchRoute looks for the route again and calls this filter again (phase AfterRoute; ten times at most).
func (s *Stream) RematchRoute() {
	s.ask(&pb.Action{Action: &pb.Action_RematchRoute{RematchRoute: &pb.Unit{}}})
}

// RechooseHost chooses a host again and calls this filter again (phase AfterChooseHost; ten times at most).
func (s *Stream) RechooseHost() {
	s.ask(&pb.Action{Action: &pb.Action_RechooseHost{RechooseHost: &pb.Unit{}}})
}

// Terminate ends the stream without an answer.
func (s *Stream) Terminate() { s.ask(&pb.Action{Action: &pb.Action_Terminate{Terminate: &pb.Unit{}}}) }

func (s *Stream) failWith(err error) {
	s.failed = true
	s.Fail(err.Error())
}

// try runs code of the plugin. A panic is a failure of this stream, and of no other.
func (s *Stream) try(code func()) {
	defer func() {
		if panicked := recover(); panicked != nil {
			s.failWith(fmt.Errorf("the filter panicked: %v", panicked))
		}
	}()
	code()
}

// headersArrive, dataArrives and trailersArrive call the filter and answer.
func (s *Stream) headersArrive(callback uint64, m *pb.Headers) {
	s.run.Lock()
	defer s.run.Unlock()
	direction := Direction(m.Direction & 1)
	s.sides[direction].headers.arrive(m.Fields)
	s.start(callback, int32(HeadersStopAll))
	var verdict HeadersVerdict
	s.call(func() {
		if filter, is := s.filter.(RequestHeaders); is && direction == Request {
			verdict = filter.RequestHeaders(s, m.End)
		} else if filter, is := s.filter.(ResponseHeaders); is && direction == Response {
			verdict = filter.ResponseHeaders(s, m.End)
		}
	})
	s.finish(direction, int32(verdict), verdict == HeadersContinue || verdict == HeadersEndStream)
}

func (s *Stream) dataArrives(callback uint64, m *pb.Data) {
	s.run.Lock()
	defer s.run.Unlock()
	direction := Direction(m.Direction & 1)
	side := &s.sides[direction]
	side.body, side.shown, side.changed = m.Data, true, false
	if m.End && !side.trailers.there {
		side.trailers.arrive(nil)
	}
	// The host cannot be given another body later than with the answer.
	s.start(callback, -1)
	var verdict DataVerdict
	s.call(func() {
		if filter, is := s.filter.(RequestBody); is && direction == Request {
			verdict = filter.RequestBody(s, m.End)
		} else if filter, is := s.filter.(ResponseBody); is && direction == Response {
			verdict = filter.ResponseBody(s, m.End)
		}
	})
	if side.changed {
		s.ask(&pb.Action{Action: &pb.Action_Body{Body: &pb.ReplaceBody{Direction: m.Direction, Data: side.body}}})
	}
	side.body, side.shown = nil, false
	s.finish(direction, int32(verdict), verdict == DataContinue)
}

func (s *Stream) trailersArrive(callback uint64, m *pb.Trailers) {
	s.run.Lock()
	defer s.run.Unlock()
	direction := Direction(m.Direction & 1)
	s.sides[direction].trailers.arrive(m.Fields)
	s.start(callback, int32(TrailersStop))
	var verdict TrailersVerdict
	s.call(func() {
		if filter, is := s.filter.(RequestTrailers); is && direction == Request {
			verdict = filter.RequestTrailers(s)
		} else if filter, is := s.filter.(ResponseTrailers); is && direction == Response {
			verdict = filter.ResponseTrailers(s)
		}
	})
	s.finish(direction, int32(verdict), verdict == TrailersContinue)
}

// over is the end; callback is 0 if nobody waits for an answer.
func (s *Stream) over(callback uint64, reset *pb.ResetReason, attributes map[string]*pb.Value) {
	s.cancel()
	s.run.Lock()
	defer s.run.Unlock()
	for name, value := range attributes {
		if s.attributes == nil {
			s.attributes = map[string]*pb.Value{}
		}
		s.attributes[name] = value
	}
	s.start(callback, -1)
	s.call(func() {
		if filter, is := s.filter.(Reset); is && reset != nil {
			filter.Reset(s, ResetReason(*reset))
		}
	})
	s.call(func() {
		if filter, is := s.filter.(Complete); is && callback != 0 {
			filter.Complete(s)
		}
	})
	if callback != 0 {
		s.port.answer(s.id, callback, 0, s.take())
	}
}

func (s *Stream) start(callback uint64, early int32) {
	s.callback, s.early, s.detached = callback, early, false
}

// call calls the filter, unless it failed before.
func (s *Stream) call(code func()) {
	if !s.failed {
		s.try(code)
	}
}

// finish answers the callback, or does late what its code said after it had waited.
func (s *Stream) finish(direction Direction, verdict int32, goes bool) {
	if !s.detached {
		if goes {
			s.sides[direction].headers.released = true
		}
		callback := s.callback
		s.callback = 0
		s.port.answer(s.id, callback, verdict, s.take())
		return
	}
	if goes && !s.failed && !s.isAnswered() {
		s.Resume(direction)
	}
	s.flush()
}

// isAnswered says whether the actions that wait end the stream's way onwards.
func (s *Stream) isAnswered() bool {
	for _, action := range s.pending {
		switch action.Action.(type) {
		case *pb.Action_LocalReply, *pb.Action_Terminate, *pb.Action_Fail:
			return true
		}
	}
	return false
}

// Path is the request's path without its query.
func (s *Stream) Path() string {
	path, _, _ := strings.Cut(s.Request().Value(":path"), "?")
	return path
}
