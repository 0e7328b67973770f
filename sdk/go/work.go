package transom

import (
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "transom.internal/sdk/go/internal/pb/v1"
)

const (
	// Callbacks that the host may have under way.
	grantedMessages = 8192
	// Bytes of bodies that the host may have under way.
	grantedBytes = 16 << 20
)

// worker is one worker of the host: all its streams and connections.
type worker struct {
	service     *service
	stream      grpc.BidiStreamingServer[pb.ToPlugin, pb.ToHost]
	streams     map[uint64]*Stream
	connections map[uint64]*Conn

	// What is said to the host, and within which credit.
	mutex     sync.Mutex
	messages  uint64
	bytes     int64
	waiting   []*pb.ToHost
	usedCount uint64
	usedBytes uint64
}

func newWorker(s *service, stream grpc.BidiStreamingServer[pb.ToPlugin, pb.ToHost]) *worker {
	return &worker{service: s, stream: stream, streams: map[uint64]*Stream{}, connections: map[uint64]*Conn{}}
}

func (w *worker) serve() error {
	defer w.end()
	hello := &pb.Hello{Revision: revision, Credit: &pb.Credit{Messages: grantedMessages, Bytes: grantedBytes}}
	if err := w.stream.Send(&pb.ToHost{Message: &pb.ToHost_Hello{Hello: hello}}); err != nil {
		return err
	}
	for {
		message, err := w.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			if status.Code(err) == codes.Canceled {
				return nil
			}
			return err
		}
		w.receive(message)
	}
}

// end lets go what waits: the host is gone.
func (w *worker) end() {
	for _, s := range w.streams {
		s.cancel()
	}
	for _, c := range w.connections {
		c.cancel()
	}
}

func (w *worker) receive(m *pb.ToPlugin) {
	id, callback := m.Stream, m.Callback
	if callback != 0 {
		size := 0
		switch kind := m.Message.(type) {
		case *pb.ToPlugin_Data:
			size = len(kind.Data.Data)
		case *pb.ToPlugin_Bytes:
			size = len(kind.Bytes.Data)
		}
		w.use(size)
	}
	switch kind := m.Message.(type) {
	case *pb.ToPlugin_Hello:
		w.granted(kind.Hello.GetCredit())
		return
	case *pb.ToPlugin_Credit:
		w.granted(kind.Credit)
		return
	case *pb.ToPlugin_StreamBegin:
		w.begin(id, kind.StreamBegin)
		return
	case *pb.ToPlugin_Headers:
		if kind.Headers.Begin != nil {
			w.begin(id, kind.Headers.Begin)
		}
	case *pb.ToPlugin_ConnectionBegin:
		used := w.service.use(kind.ConnectionBegin.UseId)
		c := newConn(id, w, used, w.service.level, kind.ConnectionBegin)
		w.connections[id] = c
		go c.begins(callback)
		return
	}
	if c := w.connections[id]; c != nil {
		w.connection(c, callback, m)
		return
	}
	s := w.streams[id]
	if s == nil {
		return // gone by the time that it arrived
	}
	switch kind := m.Message.(type) {
	case *pb.ToPlugin_Headers:
		go s.headersArrive(callback, kind.Headers)
	case *pb.ToPlugin_Data:
		go s.dataArrives(callback, kind.Data)
	case *pb.ToPlugin_Trailers:
		go s.trailersArrive(callback, kind.Trailers)
	case *pb.ToPlugin_Event:
		s.happened(kind.Event)
		w.answer(id, callback, 0, nil)
	case *pb.ToPlugin_Complete:
		delete(w.streams, id)
		go s.over(callback, kind.Complete.Reset_, kind.Complete.Attributes)
	case *pb.ToPlugin_Gone:
		delete(w.streams, id)
		go s.over(0, kind.Gone.Reason, nil)
	default:
		if callback != 0 {
			w.answer(id, callback, 0, nil)
		}
	}
}

func (w *worker) begin(id uint64, begin *pb.StreamBegin) {
	w.streams[id] = newStream(id, w, w.service.use(begin.UseId), w.service.level, begin)
}

func (w *worker) connection(c *Conn, callback uint64, m *pb.ToPlugin) {
	switch kind := m.Message.(type) {
	case *pb.ToPlugin_Bytes:
		go c.bytesArrive(callback, kind.Bytes)
	case *pb.ToPlugin_Event:
		c.happened(kind.Event)
		w.answer(c.id, callback, 0, nil)
	case *pb.ToPlugin_Closed:
		delete(w.connections, c.id)
		go c.over(kind.Closed.By)
	case *pb.ToPlugin_Gone:
		delete(w.connections, c.id)
		go c.over(pb.ResetReason_LOCAL)
	default:
		if callback != 0 {
			w.answer(c.id, callback, 0, nil)
		}
	}
}

func (w *worker) answer(id, callback uint64, verdict int32, actions []*pb.Action) {
	w.say(&pb.ToHost{Stream: id, Callback: callback, Message: &pb.ToHost_Answer{Answer: &pb.Answer{Actions: actions, Verdict: verdict}}})
}

func (w *worker) actions(id uint64, actions []*pb.Action) {
	w.say(&pb.ToHost{Stream: id, Message: &pb.ToHost_Actions{Actions: &pb.Actions{Actions: actions}}})
}

// say sends an answer or actions, or keeps it until there is credit for it.
func (w *worker) say(m *pb.ToHost) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if len(w.waiting) > 0 || w.messages == 0 || w.bytes <= 0 {
		w.waiting = append(w.waiting, m)
		return
	}
	w.send(m)
}

func (w *worker) granted(credit *pb.Credit) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.messages += credit.GetMessages()
	if bytes := int64(credit.GetBytes() & (1<<62 - 1)); w.bytes < 1<<62 {
		w.bytes += bytes
	}
	for len(w.waiting) > 0 && w.messages > 0 && w.bytes > 0 {
		m := w.waiting[0]
		w.waiting = w.waiting[1:]
		w.send(m)
	}
	w.grant()
}

// use counts what the host has used of its credit.
func (w *worker) use(size int) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.usedCount++
	w.usedBytes += uint64(size)
	w.grant()
}

// grant gives it back, a half at a time. Not while answers wait, so that what waits has a bound.
func (w *worker) grant() {
	if len(w.waiting) > 0 || w.usedCount < grantedMessages/2 && w.usedBytes < grantedBytes/2 {
		return
	}
	credit := &pb.Credit{Messages: w.usedCount, Bytes: w.usedBytes}
	w.usedCount, w.usedBytes = 0, 0
	// An error is the end of the stream, which Recv tells.
	_ = w.stream.Send(&pb.ToHost{Message: &pb.ToHost_Credit{Credit: credit}})
}

func (w *worker) send(m *pb.ToHost) {
	w.messages--
	w.bytes -= cost(m)
	_ = w.stream.Send(m)
}

// cost is what a message takes of the credit in bytes.
func cost(m *pb.ToHost) int64 {
	size := 0
	for _, action := range append(m.GetAnswer().GetActions(), m.GetActions().GetActions()...) {
		switch kind := action.Action.(type) {
		case *pb.Action_Body:
			size += len(kind.Body.Data)
		case *pb.Action_Inject:
			size += len(kind.Inject.Data)
		case *pb.Action_LocalReply:
			size += len(kind.LocalReply.Body)
		case *pb.Action_HttpCall:
			size += len(kind.HttpCall.Body)
		case *pb.Action_GrpcCall:
			size += len(kind.GrpcCall.Message)
		case *pb.Action_Shared:
			size += len(kind.Shared.GetSet().GetValue())
		}
	}
	return int64(size)
}
