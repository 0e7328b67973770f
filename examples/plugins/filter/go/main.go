// Command filter is a plugin that lets requests pass only if they have the headers of its configuration: {"User": "admin"}.
package main

import transom "transom.internal/sdk/go"

type headers map[string]string

func main() {
	transom.Serve(transom.Plugin{Name: "filter", Version: "1.0.0", Filters: []transom.StreamFilter{{Parse: parse}}})
}

func parse(config *transom.Config) (*transom.Filters, error) {
	wanted := headers{}
	if err := config.Decode(&wanted); err != nil {
		return nil, err
	}
	return &transom.Filters{New: func() any { return wanted }}, nil
}

// RequestHeaders refuses a request that lacks one of them.
func (wanted headers) RequestHeaders(s *transom.Stream, _ bool) transom.HeadersVerdict {
	for name, value := range wanted {
		if s.Request().Value(name) != value {
			s.Reply(transom.LocalReply{Status: 403, Body: []byte("a required header is missing\n"), Details: "filter_denied"})
			return transom.HeadersStop
		}
	}
	return transom.HeadersContinue
}
