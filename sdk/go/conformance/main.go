// Command conformance has the filters that sdk/CONFORMANCE.md describes, in Go.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	transom "transom.internal/sdk/go"
)

func main() {
	plugin := transom.Plugin{
		Name: "conformance", Version: "1.0.0",
		Filters: []transom.StreamFilter{
			{Name: "auth", Parse: parseAuth, Schema: `{"type": "object", "additionalProperties": {"type": "string"}}`},
			{Name: "rewrite", Parse: parseRewrite},
			{Name: "callout", Parse: parseCallout},
			{Name: "pause", Parse: parsePause},
			{Name: "thread", Parse: without(func() any { return thread{} })},
			{Name: "notes", Parse: parseNotes, Attributes: []string{"source.address"}},
			{Name: "faulty", Parse: without(func() any { return faulty{} })},
			{Name: "edit", Parse: parseEdit, Route: func(c *transom.Config) (any, error) { return readTeam(c) }},
		},
		Network:      []transom.NetworkFilter{{Name: "greet", Parse: parseGreet}},
		Certificates: []transom.CertificateProvider{{Parse: parseFiles}},
		AccessLogs: []transom.AccessLog{{
			Attributes:     []string{"request.method", "request.path", "response.code", "response.size"},
			RequestHeaders: []string{"user-agent"}, ResponseHeaders: []string{"x-note"},
			Parse: func(config *transom.Config) (transom.EntryLogger, error) { return parseLines(config) },
		}},
		LogSinks: []transom.LogSink{{Parse: func(config *transom.Config) (transom.LineLogger, error) { return parseLines(config) }}},
	}
	if os.Getenv("TRANSOM_CONFORMANCE") == "auth" {
		plugin.Filters = []transom.StreamFilter{{Parse: parseAuth}}
		plugin.Network, plugin.Certificates, plugin.AccessLogs, plugin.LogSinks = nil, nil, nil, nil
	}
	transom.Serve(plugin)
}

// auth refuses requests that lack a header of the configuration.
type auth map[string]string

func parseAuth(config *transom.Config) (*transom.Filters, error) {
	wanted := auth{}
	if err := config.Decode(&wanted); err != nil {
		return nil, err
	}
	return &transom.Filters{New: func() any { return wanted }}, nil
}

func (a auth) RequestHeaders(s *transom.Stream, _ bool) transom.HeadersVerdict {
	for name, value := range a {
		if found, is := s.Request().Get(name); !is || found != value {
			s.Reply(transom.LocalReply{
				Status: 403, Headers: []transom.Field{{Name: "x-denied-by", Value: "auth"}}, Body: []byte("denied\n"), Details: "auth_denied",
			})
			return transom.HeadersStop
		}
	}
	return transom.HeadersContinue
}

// rewrite writes bodies in capitals.
type rewrite struct {
	Suffix string `json:"suffix"`
}

func parseRewrite(config *transom.Config) (*transom.Filters, error) {
	r := rewrite{Suffix: "!"}
	if err := config.Decode(&r); err != nil {
		return nil, err
	}
	return &transom.Filters{
		New: func() any { return &r }, WholeRequestBody: 64 << 10, ChangesRequestLength: true, ChangesResponseLength: true,
	}, nil
}

func (r *rewrite) RequestHeaders(_ *transom.Stream, end bool) transom.HeadersVerdict {
	if end {
		return transom.HeadersContinue
	}
	return transom.HeadersStop
}

func (r *rewrite) RequestBody(s *transom.Stream, _ bool) transom.DataVerdict {
	body := s.Body(transom.Request)
	s.Request().Set("x-body-length", strconv.Itoa(len(body)))
	s.SetBody(transom.Request, bytes.ToUpper(body))
	return transom.DataContinue
}

func (r *rewrite) ResponseHeaders(s *transom.Stream, _ bool) transom.HeadersVerdict {
	s.Response().Set("x-rewritten", "yes")
	return transom.HeadersContinue
}

func (r *rewrite) ResponseBody(s *transom.Stream, end bool) transom.DataVerdict {
	body := bytes.ToUpper(s.Body(transom.Response))
	if end {
		body = append(body, r.Suffix...)
	}
	s.SetBody(transom.Response, body)
	return transom.DataContinue
}

// callout asks another service whether a request may pass.
type callout struct {
	Cluster string `json:"cluster"`
}

func parseCallout(config *transom.Config) (*transom.Filters, error) {
	c := callout{}
	if err := config.Decode(&c); err != nil {
		return nil, err
	}
	if c.Cluster == "" {
		return nil, transom.FaultAt("", "the key `cluster` is missing")
	}
	return &transom.Filters{New: func() any { return c }, Clusters: []string{c.Cluster}}, nil
}

func (c callout) RequestHeaders(s *transom.Stream, _ bool) transom.HeadersVerdict {
	answer, err := s.Call(transom.HTTPCall{
		Cluster: c.Cluster, Method: "GET", Authority: "auth", Path: "/check", Timeout: time.Second,
		Headers: []transom.Field{{Name: "x-token", Value: s.Request().Value("x-token")}},
	})
	switch {
	case err != nil:
		s.Reply(transom.LocalReply{Status: 503, Details: "callout_failed"})
		return transom.HeadersStop
	case answer.Status != 200:
		s.Reply(transom.LocalReply{Status: 403, Details: "callout_denied"})
		return transom.HeadersStop
	}
	s.Request().Set("x-user", answer.Header("x-user"))
	return transom.HeadersContinue
}

// pause holds requests for a time.
type pause struct {
	MS *int `json:"ms"`
}

func parsePause(config *transom.Config) (*transom.Filters, error) {
	p := pause{}
	if err := config.Decode(&p); err != nil {
		return nil, err
	}
	if p.MS == nil {
		return nil, transom.FaultAt("", "the key `ms` is missing")
	}
	if *p.MS < 0 || *p.MS > 60000 {
		return nil, transom.FaultAt("ms", "expected a number from 0 to 60000, found %d", *p.MS)
	}
	return &transom.Filters{New: func() any { return p }}, nil
}

func (p pause) RequestHeaders(s *transom.Stream, _ bool) transom.HeadersVerdict {
	if s.Sleep(time.Duration(*p.MS)*time.Millisecond) != nil {
		return transom.HeadersStop // the stream is gone
	}
	s.Request().Set("x-paused", "yes")
	return transom.HeadersContinue
}

// thread lets another goroutine decide when requests go on.
type thread struct{}

func (thread) RequestHeaders(s *transom.Stream, _ bool) transom.HeadersVerdict {
	go func() {
		time.Sleep(5 * time.Millisecond)
		s.Later(func(s *transom.Stream) {
			s.Request().Set("x-thread", "yes")
			s.Resume(transom.Request)
		})
	}()
	return transom.HeadersStopAll
}

// notes leaves notes everywhere, and counts visits in the host's shared data.
type notes struct {
	counter transom.Metric
}

func parseNotes(config *transom.Config) (*transom.Filters, error) {
	if err := config.Decode(&struct{}{}); err != nil {
		return nil, err
	}
	n := &notes{}
	return &transom.Filters{
		New: func() any { return n },
		Prepare: func(use *transom.Use) error {
			n.counter = use.Counter("notes_total", "Requests noted.")
			return nil
		},
	}, nil
}

func (n *notes) RequestHeaders(s *transom.Stream, _ bool) transom.HeadersVerdict {
	path := s.Request().Value(":path")
	s.SetMetadata("notes", "path", path)
	s.SetMetadata("notes", "length", len(path))
	s.SetMetadata("notes", "seen", true)
	s.Count(n.counter, 1)
	s.Log(transom.Info, "noted "+path)
	from, _ := s.Attribute("source.address").(string)
	s.Request().Set("x-from", from)
	for {
		value, version, err := s.SharedGet("visits")
		if err != nil {
			return transom.HeadersStop
		}
		visits, _ := strconv.Atoi(string(value))
		next := strconv.Itoa(visits + 1)
		done, err := s.SharedCompareAndSet("visits", []byte(next), version)
		if err != nil {
			return transom.HeadersStop
		}
		if done {
			s.Request().Set("x-visits", next)
			return transom.HeadersContinue
		}
	}
}

func (n *notes) ResponseHeaders(*transom.Stream, bool) transom.HeadersVerdict {
	return transom.HeadersContinue
}

func (n *notes) Complete(s *transom.Stream) {
	s.SetMetadata("notes", "status", s.Response().Value(":status"))
}

// faulty breaks when it is asked to.
type faulty struct{}

func (faulty) RequestHeaders(s *transom.Stream, _ bool) transom.HeadersVerdict {
	switch s.Request().Value(":path") {
	case "/panic":
		panic("told to panic")
	case "/fail":
		s.Fail("told to fail")
	case "/log":
		slog.Warn("told to log")
	}
	return transom.HeadersContinue
}

// edit changes headers and trailers.
type edit struct {
	Team string `json:"team"`
}

func readTeam(config *transom.Config) (edit, error) {
	e := edit{Team: "none"}
	return e, config.Decode(&e)
}

func parseEdit(config *transom.Config) (*transom.Filters, error) {
	e, err := readTeam(config)
	if err != nil {
		return nil, err
	}
	return &transom.Filters{New: func() any { return e }}, nil
}

func (e edit) RequestHeaders(s *transom.Stream, _ bool) transom.HeadersVerdict {
	if route, is := s.RouteConfig().(edit); is {
		e = route
	}
	headers := s.Request()
	headers.Remove("x-remove")
	headers.Set("x-set", "a")
	headers.Add("x-add", "1")
	headers.Add("x-add", "2")
	headers.Set("x-team", e.Team)
	return transom.HeadersContinue
}

func (edit) RequestTrailers(s *transom.Stream) transom.TrailersVerdict {
	s.RequestTrailers().Set("x-trailer", "yes")
	return transom.TrailersContinue
}

func (edit) ResponseHeaders(s *transom.Stream, _ bool) transom.HeadersVerdict {
	s.Response().Set("x-edited", "yes")
	return transom.HeadersContinue
}

// greet greets connections, shouts back, and ends with bye.
type greet struct{}

func parseGreet(config *transom.Config) (*transom.NetworkFilters, error) {
	if err := config.Decode(&struct{}{}); err != nil {
		return nil, err
	}
	return &transom.NetworkFilters{New: func() any { return greet{} }}, nil
}

func (greet) NewConnection(c *transom.Conn) transom.NetworkVerdict {
	c.Inject(transom.Response, []byte("hello\n"), false)
	return transom.NetworkContinue
}

func (greet) ClientData(c *transom.Conn, _ bool) transom.NetworkVerdict {
	if bytes.HasPrefix(c.Bytes(), []byte("bye")) {
		c.Close()
		return transom.NetworkStop
	}
	c.SetBytes(bytes.ToUpper(c.Bytes()))
	return transom.NetworkContinue
}

// files is a certificate in files.
type files struct {
	Chain string `json:"chain"`
	Key   string `json:"key"`
}

func parseFiles(config *transom.Config) (transom.CertificateSource, error) {
	f := files{}
	if err := config.Decode(&f); err != nil {
		return nil, err
	}
	if f.Chain == "" || f.Key == "" {
		return nil, transom.FaultAt("", "the keys `chain` and `key` must be there")
	}
	return f, nil
}

func (f files) Certificate(string) (*transom.Certificate, error) {
	chain, err := os.ReadFile(f.Chain)
	if err != nil {
		return nil, fmt.Errorf("cannot read the chain: %w", err)
	}
	key, err := os.ReadFile(f.Key)
	if err != nil {
		return nil, fmt.Errorf("cannot read the key: %w", err)
	}
	return &transom.Certificate{Chain: chain, Key: key, RefreshAfter: time.Hour}, nil
}

// lines is a log in a file.
type lines struct {
	File string `json:"file"`
}

func parseLines(config *transom.Config) (*lines, error) {
	l := lines{}
	if err := config.Decode(&l); err != nil {
		return nil, err
	}
	if l.File == "" {
		return nil, transom.FaultAt("", "the key `file` must be there")
	}
	return &l, nil
}

func (l *lines) Log(entries []transom.LogEntry, lost uint64) error {
	var all [][]byte
	for _, e := range entries {
		all = append(all, fmt.Appendf(nil, "%s %s %s %s %s %s", e.Text("request.method", "-"), e.Text("request.path", "-"),
			e.Text("response.code", "-"), e.Text("response.size", "-"), e.RequestHeader("user-agent", "-"), e.ResponseHeader("x-note", "-")))
	}
	return l.Write(all, lost)
}

func (l *lines) Write(lines [][]byte, lost uint64) error {
	var text []byte
	if lost > 0 {
		text = fmt.Appendf(text, "lost %d\n", lost)
	}
	for _, line := range lines {
		text = append(append(text, line...), '\n')
	}
	file, err := os.OpenFile(l.File, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Close())
}

// without is for filters that have no configuration.
func without(make func() any) func(*transom.Config) (*transom.Filters, error) {
	return func(config *transom.Config) (*transom.Filters, error) {
		if err := config.Decode(&struct{}{}); err != nil {
			return nil, err
		}
		return &transom.Filters{New: make}, nil
	}
}
