package transom

import (
	"strings"
	"time"

	pb "transom.internal/sdk/go/internal/pb/v1"
)

// Level of a log line.
type Level int32

// The levels, from the finest.
const (
	Trace Level = iota
	Debug
	Info
	Warn
	Error
)

// levelOf reads the name of a level; info for what is none.
func levelOf(name string) Level {
	for level, known := range []string{"trace", "debug", "info", "warn", "error"} {
		if strings.EqualFold(name, known) {
			return Level(level)
		}
	}
	return Info
}

type metric struct {
	kind       pb.Metric_Type
	name, help string
	labels     map[string]string
}

// Metric is one of a use's metrics.
type Metric struct {
	number uint32
}

// Counter defines a metric that only grows; by the field's habit its name ends in _total. labels are names and values in turn, and fixed.
func (u *Use) Counter(name, help string, labels ...string) Metric {
	return u.define(pb.Metric_COUNTER, name, help, labels)
}

// Gauge defines a metric that grows and shrinks.
func (u *Use) Gauge(name, help string, labels ...string) Metric {
	return u.define(pb.Metric_GAUGE, name, help, labels)
}

// Histogram defines a metric of durations; by habit its name ends in _seconds.
func (u *Use) Histogram(name, help string, labels ...string) Metric {
	return u.define(pb.Metric_HISTOGRAM, name, help, labels)
}

// Distribution defines a metric of plain numbers, such as sizes.
func (u *Use) Distribution(name, help string, labels ...string) Metric {
	return u.define(pb.Metric_DISTRIBUTION, name, help, labels)
}

func (u *Use) define(kind pb.Metric_Type, name, help string, labels []string) Metric {
	pairs := map[string]string{}
	for i := 0; i+1 < len(labels); i += 2 {
		pairs[labels[i]] = labels[i+1]
	}
	u.metrics = append(u.metrics, metric{kind, name, help, pairs})
	return Metric{uint32(len(u.metrics) - 1)}
}

// asked is what a stream or connection asks of the host: actions that wait for the next answer.
type asked struct {
	pending []*pb.Action
	level   Level
}

func (a *asked) ask(action *pb.Action) {
	a.pending = append(a.pending, action)
}

// Log writes a line into the host's log.
func (a *asked) Log(level Level, message string) {
	if level >= a.level {
		a.ask(&pb.Action{Action: &pb.Action_Log{Log: &pb.Log{Level: pb.Log_Level(level), Message: message}}})
	}
}

// Count adds to a counter or gauge.
func (a *asked) Count(metric Metric, amount int64) {
	a.ask(&pb.Action{Action: &pb.Action_Metric{Metric: &pb.CountMetric{Metric: metric.number, Amount: amount}}})
}

// Observe records a duration in a histogram.
func (a *asked) Observe(metric Metric, duration time.Duration) {
	a.Count(metric, duration.Nanoseconds())
}

// ObserveValue records a number in a distribution.
func (a *asked) ObserveValue(metric Metric, value int64) {
	a.Count(metric, value)
}

// SetMetadata sets a value of dynamic metadata, for later filters and the access log: nil, a bool, a number, text, bytes, a []any or a
// map[string]any.
func (a *asked) SetMetadata(namespace, key string, value any) {
	a.ask(&pb.Action{Action: &pb.Action_Metadata{Metadata: &pb.SetMetadata{Namespace: namespace, Key: key, Value: toWire(value)}}})
}

// AddResponseFlag adds a response flag by its letters, such as UAEX.
func (a *asked) AddResponseFlag(letters string) {
	a.ask(&pb.Action{Action: &pb.Action_ResponseFlag{ResponseFlag: letters}})
}

// Fail reports that the plugin failed here: the use's failure policy holds, and the filter is not called again.
func (a *asked) Fail(message string) {
	a.ask(&pb.Action{Action: &pb.Action_Fail{Fail: message}})
}

func toWire(value any) *pb.Value {
	switch value := value.(type) {
	case bool:
		return &pb.Value{Kind: &pb.Value_Boolean{Boolean: value}}
	case int:
		return &pb.Value{Kind: &pb.Value_Integer{Integer: int64(value)}}
	case int64:
		return &pb.Value{Kind: &pb.Value_Integer{Integer: value}}
	case float64:
		return &pb.Value{Kind: &pb.Value_Number{Number: value}}
	case string:
		return &pb.Value{Kind: &pb.Value_Text{Text: strings.ToValidUTF8(value, "\uFFFD")}}
	case []byte:
		return &pb.Value{Kind: &pb.Value_Bytes{Bytes: value}}
	case []any:
		list := &pb.ValueList{}
		for _, item := range value {
			list.Values = append(list.Values, toWire(item))
		}
		return &pb.Value{Kind: &pb.Value_List{List: list}}
	case map[string]any:
		entries := map[string]*pb.Value{}
		for key, item := range value {
			entries[key] = toWire(item)
		}
		return &pb.Value{Kind: &pb.Value_Map{Map: &pb.ValueMap{Values: entries}}}
	default:
		return &pb.Value{}
	}
}

func fromWire(value *pb.Value) any {
	switch kind := value.GetKind().(type) {
	case *pb.Value_Boolean:
		return kind.Boolean
	case *pb.Value_Integer:
		return kind.Integer
	case *pb.Value_Number:
		return kind.Number
	case *pb.Value_Text:
		return kind.Text
	case *pb.Value_Bytes:
		return kind.Bytes
	case *pb.Value_List:
		list := make([]any, 0, len(kind.List.GetValues()))
		for _, item := range kind.List.GetValues() {
			list = append(list, fromWire(item))
		}
		return list
	case *pb.Value_Map:
		entries := map[string]any{}
		for key, item := range kind.Map.GetValues() {
			entries[key] = fromWire(item)
		}
		return entries
	default:
		return nil
	}
}
