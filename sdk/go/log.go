package transom

import (
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "transom.internal/sdk/go/internal/pb/v1"
)

// AccessLog is an access log that the plugin keeps.
type AccessLog struct {
	// Name is what `extension:` of a use says; empty for the only one.
	Name string
	// Schema is the JSON schema of the configuration; empty for none.
	Schema string
	// Attributes that entries have; nothing else is sent.
	Attributes []string
	// RequestHeaders and ResponseHeaders are the headers that entries have.
	RequestHeaders, ResponseHeaders []string
	// Parse reads a configuration. It touches nothing outside.
	Parse func(*Config) (EntryLogger, error)
}

// EntryLogger is a configuration of an access log that was read.
type EntryLogger interface {
	// Log takes a batch: entries of one of the host's workers, in their order; lost were dropped before them, because this plugin was slow or
	// away. It may block: until it returns the host keeps what follows, and then drops the oldest. Calls of several workers come at once. An error
	// ends the worker's call, and the host begins another.
	Log(entries []LogEntry, lost uint64) error
}

// LogSink is a log that the plugin keeps for the host.
type LogSink struct {
	// Name is what `extension:` of a use says; empty for the only one.
	Name string
	// Schema is the JSON schema of the configuration; empty for none.
	Schema string
	// Parse reads a configuration. It touches nothing outside.
	Parse func(*Config) (LineLogger, error)
}

// LineLogger is a configuration of a log sink that was read.
type LineLogger interface {
	// Write takes a batch of lines, without their line feeds. As [EntryLogger.Log] in all else.
	Write(lines [][]byte, lost uint64) error
}

// LogEntry is a stream or connection that is over.
type LogEntry struct {
	values map[string]*pb.Value
}

// Attribute gives an attribute that was asked for, and whether it was known.
func (e LogEntry) Attribute(name string) (any, bool) {
	value, is := e.values[name]
	return fromWire(value), is
}

// Text gives an attribute as text, numbers in decimal; otherwise if it was not known.
func (e LogEntry) Text(name, otherwise string) string {
	if value, is := e.Attribute(name); is {
		return fmt.Sprint(value)
	}
	return otherwise
}

// RequestHeader gives a header that was asked for, by its name in lower case; otherwise if it was not there.
func (e LogEntry) RequestHeader(name, otherwise string) string {
	return e.header("request.headers", name, otherwise)
}

// ResponseHeader gives a header that was asked for, by its name in lower case; otherwise if it was not there.
func (e LogEntry) ResponseHeader(name, otherwise string) string {
	return e.header("response.headers", name, otherwise)
}

func (e LogEntry) header(of, name, otherwise string) string {
	if value, is := e.values[of].GetMap().GetValues()[name]; is {
		return value.GetText()
	}
	return otherwise
}

// keep is what takes a batch, whatever its kind.
type keep func(*pb.LogBatch) error

func keepEntries(logger EntryLogger) keep {
	return func(batch *pb.LogBatch) error {
		entries := make([]LogEntry, 0, len(batch.GetEntries()))
		for _, entry := range batch.GetEntries() {
			entries = append(entries, LogEntry{entry.GetValues()})
		}
		return logger.Log(entries, batch.GetLost())
	}
}

func keepLines(logger LineLogger) keep {
	return func(batch *pb.LogBatch) error {
		return logger.Write(batch.GetLines(), batch.GetLost())
	}
}

// Log takes the batches of one of the host's workers.
func (s *service) Log(stream grpc.ClientStreamingServer[pb.LogBatch, pb.LogSummary]) error {
	entries := 0
	for {
		batch, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&pb.LogSummary{Entries: uint64(entries)})
		}
		if err != nil {
			return err
		}
		used := s.use(batch.GetUseId())
		if used.keep == nil {
			return status.Errorf(codes.InvalidArgument, "use %d is no log of this plugin that is ready", batch.GetUseId())
		}
		if err := used.keep(batch); err != nil {
			return status.Errorf(codes.Unavailable, "the log failed: %v", err)
		}
		entries += len(batch.GetEntries()) + len(batch.GetLines())
	}
}
