package transom

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	pb "transom.internal/sdk/go/internal/pb/v1"
)

func TestAMistakeIsKnownByTheWayToIt(t *testing.T) {
	type rule struct {
		Path string `json:"path"`
	}
	type shape struct {
		Rules  []rule            `json:"rules"`
		Labels map[string]string `json:"labels"`
		Count  int               `json:"count"`
	}
	for text, want := range map[string]string{
		`{"count": "x"}`:                    "count: expected a whole number, found text",
		`{"rules": [{"path": 5}]}`:          "rules.0.path: expected text, found a number",
		`{"labels": {"a": "b", "c": 5}}`:    "labels.c: expected text, found a number",
		`{"rules": [{"path": "", "x": 1}]}`: `rules.0.x: unknown key "x"`,
		`{"rules": [], "cuont": 1}`:         `cuont: unknown key "cuont"`,
		`[]`:                                "expected a map of keys to values, found a list",
	} {
		err := (&Config{[]byte(text)}).Decode(&shape{})
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v", text, err)
		}
	}
	labels := map[string]string{}
	err := (&Config{[]byte(`{"a": "b", "User": 5}`)}).Decode(&labels)
	var fault *Fault
	if !errors.As(err, &fault) || !reflect.DeepEqual(fault.Path, []string{"User"}) {
		t.Errorf("%v", err)
	}
	if err := (&Config{}).Decode(&shape{}); err != nil {
		t.Errorf("nothing at all: %v", err)
	}
}

func TestHeadersKeepTheirOrderAndRefuseWhatTheProxyRefuses(t *testing.T) {
	h := Headers{stream: &Stream{}}
	if err := h.Set("a", "b"); err != ErrAbsent {
		t.Error(err)
	}
	h.arrive(wireFields([]Field{{":authority", "a.test"}, {"A", "1"}, {"b", "2"}, {"a", "3"}}))
	if h.Value("Host") != "a.test" {
		t.Error("host is not the authority")
	}
	h.Set("a", "4")
	h.Add("B", "5")
	if want := []Field{{":authority", "a.test"}, {"A", "4"}, {"b", "2"}, {"B", "5"}}; !reflect.DeepEqual(h.All(), want) {
		t.Error(h.All())
	}
	h.Remove("b")
	if values := h.Values("b"); values != nil {
		t.Error(values)
	}
	for _, wrong := range []struct {
		name, value string
		err         error
	}{
		{"Connection", "x", ErrReserved}, {"a b", "x", ErrInvalid}, {"a", "x\r\n", ErrInvalid}, {"a", " x", ErrInvalid}, {"", "x", ErrInvalid},
	} {
		if err := h.Set(wrong.name, wrong.value); err != wrong.err {
			t.Errorf("%q: %q: %v", wrong.name, wrong.value, err)
		}
	}
	if err := h.Remove(":path"); err != ErrReserved {
		t.Error(err)
	}
	h.released = true
	if err := h.Add("a", "b"); err != ErrReleased {
		t.Error(err)
	}
}

type onlyEnd struct{}

func (onlyEnd) Complete(*Stream) {}

type onlyBody struct{}

func (onlyBody) ResponseBody(*Stream, bool) DataVerdict { return DataContinue }

func TestAFilterIsSentWhatItHasMethodsFor(t *testing.T) {
	for want, filter := range map[uint32]any{
		0:                                   struct{}{},
		wantsRequestHeaders | wantsComplete: onlyEnd{},
		wantsRequestHeaders | wantsResponseHeaders | wantsResponseBody: onlyBody{},
	} {
		if bits := callbacks(&Filters{New: func() any { return filter }}); bits != want {
			t.Errorf("%T: %b", filter, bits)
		}
	}
}

type waiter struct{}

func (waiter) RequestHeaders(s *Stream, _ bool) HeadersVerdict {
	if s.Sleep(time.Hour) != nil {
		return HeadersStop
	}
	answer, err := s.Call(HTTPCall{Cluster: "auth", Method: "GET", Path: "/", Authority: "a"})
	if err != nil {
		s.Reply(LocalReply{Status: 503})
		return HeadersStop
	}
	s.Request().Set("x-user", answer.Header("x-user"))
	return HeadersContinue
}

func waiting() StreamFilter {
	return StreamFilter{Parse: func(*Config) (*Filters, error) {
		return &Filters{New: func() any { return waiter{} }, Clusters: []string{"auth"}}, nil
	}}
}

func TestCodeThatWaitsGoesOn(t *testing.T) {
	answers := map[string]CallResponse{"auth": {Status: 200, Headers: []Field{{"x-user", "alice"}}}}
	outcome, err := Trial{Callouts: answers, Body: "x"}.Run(waiting())
	if err != nil || outcome.Reply != nil || outcome.Request.Header("x-user") != "alice" {
		t.Errorf("%v %+v", err, outcome)
	}
	outcome, err = Trial{}.Run(waiting())
	if err != nil || outcome.Reply == nil || outcome.Reply.Status != 503 {
		t.Errorf("%v %+v", err, outcome)
	}
}

type never struct{}

func (never) answer(uint64, uint64, int32, []*pb.Action) {}
func (never) actions(uint64, []*pb.Action)               {}

func TestWaitingEndsWithTheStream(t *testing.T) {
	used := &use{filters: &Filters{New: func() any { return waiter{} }}}
	s := newStream(1, never{}, used, Info, nil)
	over := make(chan struct{})
	go func() {
		s.headersArrive(1, &pb.Headers{})
		close(over)
	}()
	s.over(0, nil, nil)
	select {
	case <-over:
	case <-time.After(5 * time.Second):
		t.Fatal("it still waits")
	}
}

func TestTheConfigurationIsTheFileThatIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.json")
	os.WriteFile(file, []byte("{}"), 0o600)
	for _, arguments := range [][]string{{"-c", file}, {"x", "--config=" + file}, {"-c=" + file}} {
		if text, err := configOfArguments(arguments); err != nil || string(text) != "{}" {
			t.Errorf("%v: %q %v", arguments, text, err)
		}
	}
	if _, err := configOfArguments([]string{"-c"}); err == nil || !strings.Contains(err.Error(), "wants the name") {
		t.Error(err)
	}
	if _, err := configOfArguments([]string{"-c", file + ".not"}); err == nil {
		t.Error("a file that is not there is taken")
	}
}

func TestAChangedLengthThatWasNotAnnouncedFails(t *testing.T) {
	filter := StreamFilter{Parse: func(*Config) (*Filters, error) {
		return &Filters{New: func() any { return longer{} }}, nil
	}}
	outcome, _ := Trial{Headers: []Field{{"content-length", "1"}}, Body: "x"}.Run(filter)
	if !strings.Contains(outcome.Failure, "length") {
		t.Errorf("%+v", outcome)
	}
}

type longer struct{}

func (longer) RequestBody(s *Stream, _ bool) DataVerdict {
	s.SetBody(Request, []byte("longer"))
	return DataContinue
}
