package transom

import (
	"errors"
	"strings"

	pb "transom.internal/sdk/go/internal/pb/v1"
)

// Field is a header field. Names keep their spelling, values may be any bytes that a field value may have.
type Field struct {
	Name, Value string
}

// Headers is a header map of a message. Names compare without regard to case; order and doubles are kept. The pseudo-headers :method, :scheme,
// :authority and :path of a request and :status of a response come first and can be set; "host" means :authority.
type Headers struct {
	stream   *Stream
	which    pb.HeaderMap
	fields   []Field
	there    bool
	released bool
}

var (
	// ErrAbsent : the message has no such headers (yet).
	ErrAbsent = errors.New("the message has no such header map")
	// ErrReleased : they have gone on already.
	ErrReleased = errors.New("the headers have left already")
	// ErrReserved : framing and connection fields belong to the proxy.
	ErrReserved = errors.New("framing and connection fields belong to the codec")
	// ErrInvalid : no such name or value can be in a message.
	ErrInvalid = errors.New("not a name or value that a header can have")
)

func canonical(name string) string {
	if strings.EqualFold(name, "host") {
		return ":authority"
	}
	return name
}

// Get is the first value of a name, and whether there is one.
func (h *Headers) Get(name string) (string, bool) {
	name = canonical(name)
	for _, field := range h.fields {
		if strings.EqualFold(field.Name, name) {
			return field.Value, true
		}
	}
	return "", false
}

// Value is the first value of a name, or nothing.
func (h *Headers) Value(name string) string {
	value, _ := h.Get(name)
	return value
}

// Values are all values of a name, in their order.
func (h *Headers) Values(name string) []string {
	name = canonical(name)
	var values []string
	for _, field := range h.fields {
		if strings.EqualFold(field.Name, name) {
			values = append(values, field.Value)
		}
	}
	return values
}

// All are all fields, in their order.
func (h *Headers) All() []Field {
	return append([]Field(nil), h.fields...)
}

// Set replaces all values of a name by one.
func (h *Headers) Set(name, value string) error {
	if err := h.check(name, value); err != nil {
		return err
	}
	name = canonical(name)
	kept := h.fields[:0:0]
	placed := false
	for _, field := range h.fields {
		if !strings.EqualFold(field.Name, name) {
			kept = append(kept, field)
		} else if !placed {
			kept = append(kept, Field{field.Name, value})
			placed = true
		}
	}
	if !placed {
		kept = append(kept, Field{name, value})
	}
	h.fields = kept
	h.change(&pb.ChangeFields{Set: []*pb.Field{wireField(name, value)}})
	return nil
}

// Add adds a value behind those that are there.
func (h *Headers) Add(name, value string) error {
	if strings.HasPrefix(canonical(name), ":") {
		return h.Set(name, value)
	}
	if err := h.check(name, value); err != nil {
		return err
	}
	h.fields = append(h.fields, Field{name, value})
	h.change(&pb.ChangeFields{Add: []*pb.Field{wireField(name, value)}})
	return nil
}

// Remove removes all values of a name, also if they were not sent here.
func (h *Headers) Remove(name string) error {
	if err := h.check(name, ""); err != nil {
		return err
	}
	if strings.HasPrefix(canonical(name), ":") {
		return ErrReserved
	}
	kept := h.fields[:0:0]
	for _, field := range h.fields {
		if !strings.EqualFold(field.Name, name) {
			kept = append(kept, field)
		}
	}
	h.fields = kept
	h.change(&pb.ChangeFields{Remove: [][]byte{[]byte(name)}})
	return nil
}

func (h *Headers) change(change *pb.ChangeFields) {
	change.Map = h.which
	h.stream.ask(&pb.Action{Action: &pb.Action_Fields{Fields: change}})
}

// reserved belong to the codec: RFC 9110 section 7.6.1.
var reserved = map[string]bool{
	"connection": true, "content-length": true, "keep-alive": true, "proxy-connection": true, "te": true, "trailer": true,
	"transfer-encoding": true, "upgrade": true,
}

func (h *Headers) check(name, value string) error {
	switch {
	case h.released:
		return ErrReleased
	case !h.there:
		return ErrAbsent
	case reserved[strings.ToLower(name)]:
		return ErrReserved
	case !isName(name) || !isValue(value):
		return ErrInvalid
	}
	return nil
}

// isName is RFC 9110 section 5.6.2, with the colon of pseudo-headers before it.
func isName(name string) bool {
	name = strings.TrimPrefix(name, ":")
	if name == "" {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0 {
			continue
		}
		return false
	}
	return true
}

// isValue is RFC 9110 section 5.5.
func isValue(value string) bool {
	if value != strings.Trim(value, " \t") {
		return false
	}
	for i := range len(value) {
		c := value[i]
		if c != '\t' && (c < ' ' || c == 0x7f) {
			return false
		}
	}
	return true
}

func (h *Headers) arrive(fields []*pb.Field) {
	h.there, h.released = true, false
	h.fields = make([]Field, 0, len(fields)+2)
	for _, field := range fields {
		h.fields = append(h.fields, Field{string(field.Name), string(field.Value)})
	}
}

func wireField(name, value string) *pb.Field {
	return &pb.Field{Name: []byte(name), Value: []byte(value)}
}

func wireFields(fields []Field) []*pb.Field {
	wire := make([]*pb.Field, 0, len(fields))
	for _, field := range fields {
		wire = append(wire, wireField(field.Name, field.Value))
	}
	return wire
}
