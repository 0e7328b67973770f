package transom

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	pb "transom.internal/sdk/go/internal/pb/v1"
)

// Config is a configuration as the host gives it: JSON.
type Config struct {
	// JSON is the text; empty if the use has none.
	JSON []byte
}

// Fault is a mistake in a configuration. The host shows it at its line.
type Fault struct {
	// Path is the way to the value: keys and, for lists, decimal numbers.
	Path []string
	// Message says what was expected, what is there instead, and what to do.
	Message string
}

// Error gives the way and the message.
func (f *Fault) Error() string {
	if len(f.Path) == 0 {
		return f.Message
	}
	return strings.Join(f.Path, ".") + ": " + f.Message
}

// FaultAt makes a fault at a place, which is keys with dots between them.
func FaultAt(path string, format string, arguments ...any) *Fault {
	var keys []string
	if path != "" {
		keys = strings.Split(path, ".")
	}
	return &Fault{Path: keys, Message: fmt.Sprintf(format, arguments...)}
}

// IsEmpty says whether the use has no configuration.
func (c *Config) IsEmpty() bool {
	return len(bytes.TrimSpace(c.JSON)) == 0
}

// Decode reads the configuration into what v points to, as encoding/json does. A key that v does not have is refused. Nothing at all leaves v
// as it is. The error is a [Fault] with the way to what is wrong.
func (c *Config) Decode(v any) error {
	if c.IsEmpty() {
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(c.JSON))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return c.fault(err)
	}
	return nil
}

var unknownField = regexp.MustCompile(`unknown field "(.*)"`)

// fault finds the place of what encoding/json says.
func (c *Config) fault(err error) *Fault {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		path := wrong.Field
		if wrong.Value != "object" && wrong.Value != "array" {
			// Field names neither entries of maps nor places in lists; the offset is behind the value.
			path = keyBefore(c.JSON, wrong.Offset)
		}
		return FaultAt(path, "expected %s, found %s", shown(wrong.Type.Kind().String()), article(wrong.Value))
	}
	if found := unknownField.FindStringSubmatch(err.Error()); found != nil {
		return &Fault{Path: wayTo(c.JSON, found[1]), Message: fmt.Sprintf("unknown key %q", found[1])}
	}
	return FaultAt("", "the configuration is no good JSON: %v", err)
}

func shown(kind string) string {
	switch {
	case kind == "string":
		return "text"
	case kind == "bool":
		return "true or false"
	case strings.HasPrefix(kind, "int"), strings.HasPrefix(kind, "uint"):
		return "a whole number"
	case strings.HasPrefix(kind, "float"):
		return "a number"
	case kind == "slice", kind == "array":
		return "a list"
	default:
		return "a map of keys to values"
	}
}

func article(value string) string {
	switch value {
	case "string":
		return "text"
	case "array":
		return "a list"
	case "object":
		return "a map"
	case "bool":
		return "a boolean"
	default:
		return "a " + value
	}
}

// step is one level of a document that is read token by token.
type step struct {
	key    string
	isMap  bool
	isKey  bool
	number int
}

// walk reads a document token by token and tells the way to each value and key.
func walk(text []byte, visit func(way []string, isKey bool, end int64) bool) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	var steps []step
	way := func() []string {
		keys := make([]string, 0, len(steps))
		for _, s := range steps {
			if s.isMap {
				keys = append(keys, s.key)
			} else {
				keys = append(keys, fmt.Sprint(s.number))
			}
		}
		return keys
	}
	for {
		token, err := decoder.Token()
		if err != nil {
			return
		}
		top := len(steps) - 1
		if delim, is := token.(json.Delim); is && (delim == '}' || delim == ']') {
			steps = steps[:top]
			top--
		} else if top >= 0 && steps[top].isMap && steps[top].isKey {
			steps[top].key, _ = token.(string)
			steps[top].isKey = false
			if !visit(way(), true, decoder.InputOffset()) {
				return
			}
			continue
		} else if is {
			steps = append(steps, step{isMap: delim == '{', isKey: delim == '{'})
			continue
		} else if !visit(way(), false, decoder.InputOffset()) {
			return
		}
		if top >= 0 {
			steps[top].isKey = steps[top].isMap
			steps[top].number++
		}
	}
}

// keyBefore is the way to the value that ends at an offset, with dots.
func keyBefore(text []byte, offset int64) string {
	found := ""
	walk(text, func(way []string, isKey bool, end int64) bool {
		if !isKey && end >= offset {
			found = strings.Join(way, ".")
			return false
		}
		return true
	})
	return found
}

// wayTo is the way to the first key of this name.
func wayTo(text []byte, name string) []string {
	found := []string{name}
	walk(text, func(way []string, isKey bool, _ int64) bool {
		if isKey && way[len(way)-1] == name {
			found = append([]string(nil), way...)
			return false
		}
		return true
	})
	return found
}

// faults makes of any error what the host is told.
func faults(err error) []*pb.ConfigFault {
	var fault *Fault
	if errors.As(err, &fault) {
		return []*pb.ConfigFault{{Path: fault.Path, Message: fault.Message}}
	}
	return []*pb.ConfigFault{{Message: err.Error()}}
}
