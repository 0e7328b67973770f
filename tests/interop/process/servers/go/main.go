// A server of Envoy's services that does what a script says; ../python/server.py has the same and says how the script looks.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	als "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	envoytype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Without a script, and nothing is noted: for measuring. It lets requests with `user: admin` pass and refuses others.
var bare = len(os.Args) > 1 && os.Args[1] == "--auth"

var lock sync.Mutex

func note(call string, message proto.Message, more map[string]any) {
	if bare {
		return
	}
	encoded, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(message)
	if err != nil {
		panic(err)
	}
	line := map[string]any{"call": call, "message": json.RawMessage(encoded)}
	for key, value := range more {
		line[key] = value
	}
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	lock.Lock()
	defer lock.Unlock()
	file, err := os.OpenFile(os.Args[2], os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	fmt.Fprintf(file, "%s\n", text)
}

type step struct {
	Answer json.RawMessage `json:"answer"`
	Sleep  float64         `json:"sleep"`
	End    *int            `json:"end"`
}

type steps map[string][]json.RawMessage

func script() steps {
	script := steps{}
	if bare {
		return script
	}
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	if err := json.Unmarshal(text, &script); err != nil {
		panic(err)
	}
	return script
}

func (s steps) next(kind string) []step {
	known, ok := s[kind]
	if !ok {
		return []step{{Answer: json.RawMessage("null")}}
	}
	if len(known) == 0 {
		return nil
	}
	text := known[0]
	if len(known) > 1 {
		s[kind] = known[1:]
	}
	var several []step
	if json.Unmarshal(text, &several) == nil {
		return several
	}
	var one step
	if err := json.Unmarshal(text, &one); err != nil {
		panic(err)
	}
	return []step{one}
}

type processor struct {
	extproc.UnimplementedExternalProcessorServer
}

func (processor) Process(stream extproc.ExternalProcessor_ProcessServer) error {
	script := script()
	for {
		request, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		kind, empty := emptyAnswer(request)
		if bare {
			if headers := request.GetRequestHeaders(); headers != nil && !isAdmin(headers) {
				empty = refusal
			}
			if err := stream.Send(empty); err != nil {
				return err
			}
			continue
		}
		own := map[string]string{}
		incoming, _ := metadata.FromIncomingContext(stream.Context())
		for name, values := range incoming {
			if strings.HasPrefix(name, "x-") {
				own[name] = values[0]
			}
		}
		note("ext_proc", request, map[string]any{"metadata": own})
		for _, step := range script.next(kind) {
			switch {
			case step.Sleep > 0:
				time.Sleep(time.Duration(step.Sleep * float64(time.Second)))
			case step.End != nil && *step.End == 0:
				return nil
			case step.End != nil:
				return status.Error(codes.Unavailable, "as the script says")
			default:
				answer := empty
				if string(step.Answer) != "null" {
					answer = &extproc.ProcessingResponse{}
					if err := protojson.Unmarshal(step.Answer, answer); err != nil {
						panic(err)
					}
				}
				if err := stream.Send(answer); err != nil {
					return err
				}
			}
		}
	}
}

var refusal = &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_ImmediateResponse{
	ImmediateResponse: &extproc.ImmediateResponse{Status: &envoytype.HttpStatus{Code: envoytype.StatusCode_Forbidden}},
}}

func isAdmin(headers *extproc.HttpHeaders) bool {
	for _, header := range headers.GetHeaders().GetHeaders() {
		if header.GetKey() == "user" {
			return string(header.GetRawValue()) == "admin"
		}
	}
	return false
}

func emptyAnswer(request *extproc.ProcessingRequest) (string, *extproc.ProcessingResponse) {
	switch request.Request.(type) {
	case *extproc.ProcessingRequest_RequestHeaders:
		return "request_headers", &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_RequestHeaders{RequestHeaders: &extproc.HeadersResponse{}}}
	case *extproc.ProcessingRequest_ResponseHeaders:
		return "response_headers", &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extproc.HeadersResponse{}}}
	case *extproc.ProcessingRequest_RequestBody:
		return "request_body", &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_RequestBody{RequestBody: &extproc.BodyResponse{}}}
	case *extproc.ProcessingRequest_ResponseBody:
		return "response_body", &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_ResponseBody{ResponseBody: &extproc.BodyResponse{}}}
	case *extproc.ProcessingRequest_RequestTrailers:
		return "request_trailers", &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_RequestTrailers{RequestTrailers: &extproc.TrailersResponse{}}}
	default:
		return "response_trailers", &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_ResponseTrailers{ResponseTrailers: &extproc.TrailersResponse{}}}
	}
}

type authorization struct {
	auth.UnimplementedAuthorizationServer
}

func (authorization) Check(_ context.Context, request *auth.CheckRequest) (*auth.CheckResponse, error) {
	note("ext_authz", request, nil)
	answer := &auth.CheckResponse{}
	for _, step := range script().next("check") {
		switch {
		case step.Sleep > 0:
			time.Sleep(time.Duration(step.Sleep * float64(time.Second)))
		case step.End != nil && *step.End != 0:
			return nil, status.Error(codes.Unavailable, "as the script says")
		case len(step.Answer) > 0 && string(step.Answer) != "null":
			if err := protojson.Unmarshal(step.Answer, answer); err != nil {
				panic(err)
			}
		}
	}
	return answer, nil
}

type accessLog struct {
	als.UnimplementedAccessLogServiceServer
}

func (accessLog) StreamAccessLogs(stream als.AccessLogService_StreamAccessLogsServer) error {
	for {
		message, err := stream.Recv()
		if err == io.EOF {
			return stream.SendAndClose(&als.StreamAccessLogsResponse{})
		}
		if err != nil {
			return err
		}
		note("als", message, nil)
	}
}

func main() {
	network, address := "tcp", "127.0.0.1:0"
	if len(os.Args) > 3 {
		// Where it listens; else the system chooses, and it says where.
		address = os.Args[3]
		if path, isUnix := strings.CutPrefix(address, "unix:"); isUnix {
			network, address = "unix", path
		}
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		panic(err)
	}
	if bound, isTCP := listener.Addr().(*net.TCPAddr); isTCP {
		fmt.Println(bound.Port)
	}
	server := grpc.NewServer()
	extproc.RegisterExternalProcessorServer(server, processor{})
	auth.RegisterAuthorizationServer(server, authorization{})
	als.RegisterAccessLogServiceServer(server, accessLog{})
	if err := server.Serve(listener); err != nil {
		panic(err)
	}
}
