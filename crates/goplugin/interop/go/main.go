// A host and a plugin on Go's own go-plugin, for the interop suite: `peer plugin` serves, `peer host SCENARIO` drives a plugin.
//
// The same source builds against several releases of go-plugin; what a release lacks is behind a build tag.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	plugin "github.com/hashicorp/go-plugin"
	grpctest "github.com/hashicorp/go-plugin/test/grpc"
	"google.golang.org/grpc"
)

var handshake = plugin.HandshakeConfig{
	ProtocolVersion:  1,
	MagicCookieKey:   "TEST_MAGIC_COOKIE",
	MagicCookieValue: "test",
}

func main() {
	if len(os.Args) >= 2 && os.Args[1] == "plugin" {
		servePlugin()
		return
	}
	if len(os.Args) >= 3 && os.Args[1] == "bench" {
		if err := bench(os.Args[2:]); err != nil {
			fmt.Fprintf(os.Stderr, "error: %v\n", err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) >= 4 && os.Args[1] == "host" {
		if err := host(os.Args[2], os.Args[3:]); err != nil {
			fmt.Printf("error: %v\n", err)
			os.Exit(1)
		}
		fmt.Println("ok")
		return
	}
	fmt.Fprintln(os.Stderr, "usage: peer plugin | peer host SCENARIO COMMAND... | peer bench ...")
	os.Exit(2)
}

// ---------------------------------------------------------------------------------------------------------------- the plugin

func servePlugin() {
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: os.Stderr, JSONFormat: true})
	set := plugin.PluginSet{"test": &testPlugin{logger: logger}}
	config := &plugin.ServeConfig{HandshakeConfig: handshake, GRPCServer: plugin.DefaultGRPCServer}
	switch versions := os.Getenv("PEER_VERSIONS"); {
	case os.Getenv("PEER_NETRPC") != "":
		config.Plugins = set
		config.GRPCServer = nil
	case versions != "":
		config.VersionedPlugins = map[int]plugin.PluginSet{}
		for _, text := range strings.Split(versions, ",") {
			version, err := strconv.Atoi(text)
			if err != nil {
				panic(err)
			}
			config.VersionedPlugins[version] = set
		}
	default:
		config.Plugins = set
	}
	plugin.Serve(config)
	if path := os.Getenv("PEER_EXIT_FILE"); path != "" {
		if err := os.WriteFile(path, []byte("bye"), 0o600); err != nil {
			panic(err)
		}
	}
	if os.Getenv("PEER_STUBBORN") != "" {
		time.Sleep(time.Minute)
	}
}

type testPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	logger hclog.Logger
}

func (p *testPlugin) GRPCServer(broker *plugin.GRPCBroker, server *grpc.Server) error {
	grpctest.RegisterTestServer(server, &testServer{broker: broker, logger: p.logger})
	return nil
}

func (p *testPlugin) GRPCClient(_ context.Context, broker *plugin.GRPCBroker, conn *grpc.ClientConn) (interface{}, error) {
	return &testClient{client: grpctest.NewTestClient(conn), broker: broker}, nil
}

type testServer struct {
	broker *plugin.GRPCBroker
	logger hclog.Logger
}

func (s *testServer) Double(_ context.Context, request *grpctest.TestRequest) (*grpctest.TestResponse, error) {
	return &grpctest.TestResponse{Output: request.Input * 2}, nil
}

func (s *testServer) PrintKV(_ context.Context, request *grpctest.PrintKVRequest) (*grpctest.PrintKVResponse, error) {
	value := request.GetValueString()
	if request.Key == "panic" {
		panic(value)
	}
	s.logger.Info("PrintKV called", request.Key, value)
	return &grpctest.PrintKVResponse{}, nil
}

func (s *testServer) Stream(stream grpctest.Test_StreamServer) error {
	for {
		request, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&grpctest.TestResponse{Output: request.Input}); err != nil {
			return err
		}
	}
}

// Bidirectional calls back into the host, then serves something for the host to call.
func (s *testServer) Bidirectional(ctx context.Context, request *grpctest.BidirectionalRequest) (*grpctest.BidirectionalResponse, error) {
	conn, err := s.broker.Dial(request.Id)
	if err != nil {
		return nil, fmt.Errorf("plugin dials the host: %v", err)
	}
	defer conn.Close()
	if err := ping(ctx, conn); err != nil {
		return nil, fmt.Errorf("plugin calls the host: %v", err)
	}
	id := s.broker.NextId()
	go s.broker.AcceptAndServe(id, pingServer)
	return &grpctest.BidirectionalResponse{Id: id}, nil
}

type pong struct{}

func (pong) Ping(context.Context, *grpctest.PingRequest) (*grpctest.PongResponse, error) {
	return &grpctest.PongResponse{Msg: "pong"}, nil
}

func pingServer(options []grpc.ServerOption) *grpc.Server {
	server := grpc.NewServer(options...)
	grpctest.RegisterPingPongServer(server, pong{})
	return server
}

func ping(ctx context.Context, conn *grpc.ClientConn) error {
	response, err := grpctest.NewPingPongClient(conn).Ping(ctx, &grpctest.PingRequest{})
	if err != nil {
		return err
	}
	if response.Msg != "pong" {
		return fmt.Errorf("the answer to ping is %q", response.Msg)
	}
	return nil
}

// ------------------------------------------------------------------------------------------------------------------ the host

type testClient struct {
	client grpctest.TestClient
	broker *plugin.GRPCBroker
}

// What a host made of a plugin's log and output.
type recorder struct {
	sync.Mutex
	buffer bytes.Buffer
}

func (r *recorder) Write(data []byte) (int, error) {
	r.Lock()
	defer r.Unlock()
	return r.buffer.Write(data)
}

func (r *recorder) String() string {
	r.Lock()
	defer r.Unlock()
	return r.buffer.String()
}

func (r *recorder) await(what string) error {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if strings.Contains(r.String(), what) {
			return nil
		}
	}
	return fmt.Errorf("%q was not seen in: %s", what, r.String())
}

type run struct {
	config *plugin.ClientConfig
	client *plugin.Client
	log    *recorder
	raw    *recorder
}

func host(scenario string, command []string) error {
	r := &run{log: &recorder{}, raw: &recorder{}}
	cmd := exec.Command(command[0], command[1:]...)
	r.config = &plugin.ClientConfig{
		HandshakeConfig:  handshake,
		Plugins:          plugin.PluginSet{"test": &testPlugin{}},
		Cmd:              cmd,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Logger:           hclog.New(&hclog.LoggerOptions{Name: "host", Level: hclog.Trace, Output: r.log, JSONFormat: true}),
		Stderr:           r.raw,
		SyncStdout:       &recorder{},
		SyncStderr:       &recorder{},
		StartTimeout:     20 * time.Second,
	}
	options := strings.Split(scenario, "+")
	for _, option := range options[1:] {
		switch option {
		case "mtls":
			r.config.AutoMTLS = true
		case "mux":
			multiplex(r.config)
		default:
			return fmt.Errorf("unknown option %q", option)
		}
	}
	defer func() {
		if r.client != nil {
			r.client.Kill()
		}
	}()
	scenarios := map[string]func(*run) error{
		"plain":         plain,
		"bidirection":   bidirection,
		"stdio":         stdio,
		"logs":          logs,
		"panic":         panics,
		"kill":          kill,
		"graceful":      graceful,
		"version":       version,
		"negotiate":     negotiate,
		"cookie":        cookie,
		"reattach":      reattach,
		"checksum":      checksum,
		"checksum-bad":  checksumBad,
		"netrpc":        netrpc,
		"reflection":    reflect,
		"big":           big,
		"serve-forever": forever,
		"idle":          idle,
	}
	work, ok := scenarios[options[0]]
	if !ok {
		return fmt.Errorf("unknown scenario %q", options[0])
	}
	limit := 30 * time.Second
	if options[0] == "idle" {
		limit = 2 * time.Minute
	}
	done := make(chan error, 1)
	go func() { done <- work(r) }()
	select {
	case err := <-done:
		if err != nil && os.Getenv("PEER_VERBOSE") != "" {
			fmt.Fprintf(os.Stderr, "log: %s\nraw: %s\n", r.log, r.raw)
		}
		return err
	case <-time.After(limit):
		return fmt.Errorf("the scenario hangs; log: %s", r.log)
	}
}

func (r *run) start() (*testClient, error) {
	r.client = plugin.NewClient(r.config)
	return dispense(r.client)
}

func dispense(client *plugin.Client) (*testClient, error) {
	protocol, err := client.Client()
	if err != nil {
		return nil, fmt.Errorf("start: %v", err)
	}
	raw, err := protocol.Dispense("test")
	if err != nil {
		return nil, err
	}
	return raw.(*testClient), nil
}

func limited() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 10*time.Second)
}

func (t *testClient) double(input, output int32) error {
	ctx, cancel := limited()
	defer cancel()
	response, err := t.client.Double(ctx, &grpctest.TestRequest{Input: input})
	if err != nil {
		return fmt.Errorf("double: %v", err)
	}
	if response.Output != output {
		return fmt.Errorf("the double of %d is %d", input, response.Output)
	}
	return nil
}

func plain(r *run) error {
	test, err := r.start()
	if err != nil {
		return err
	}
	protocol, err := r.client.Client()
	if err != nil {
		return err
	}
	if err := test.double(21, 42); err != nil {
		return err
	}
	if err := protocol.Ping(); err != nil {
		return fmt.Errorf("ping: %v", err)
	}
	ctx, cancel := limited()
	defer cancel()
	stream, err := test.client.Stream(ctx)
	if err != nil {
		return err
	}
	for number := int32(0); number < 100; number++ {
		if err := stream.Send(&grpctest.TestRequest{Input: number}); err != nil {
			return err
		}
		response, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("stream: %v", err)
		}
		if response.Output != number {
			return fmt.Errorf("the stream answers %d to %d", response.Output, number)
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	if _, err := stream.Recv(); err != io.EOF {
		return fmt.Errorf("the stream ends with %v", err)
	}
	return nil
}

func bidirection(r *run) error {
	test, err := r.start()
	if err != nil {
		return err
	}
	for round := 0; round < 3; round++ {
		if err := test.bidirection(); err != nil {
			return err
		}
	}
	return nil
}

func (t *testClient) bidirection() error {
	id := t.broker.NextId()
	go t.broker.AcceptAndServe(id, pingServer)
	ctx, cancel := limited()
	defer cancel()
	// A multiplexed listener must exist before the plugin knocks; Accept has no sign of its own.
	time.Sleep(50 * time.Millisecond)
	response, err := t.client.Bidirectional(ctx, &grpctest.BidirectionalRequest{Id: id})
	if err != nil {
		return fmt.Errorf("bidirectional: %v", err)
	}
	conn, err := t.broker.Dial(response.Id)
	if err != nil {
		return fmt.Errorf("host dials the plugin: %v", err)
	}
	defer conn.Close()
	if err := ping(ctx, conn); err != nil {
		return fmt.Errorf("host calls the plugin: %v", err)
	}
	return nil
}

func (t *testClient) printKV(key, value string) error {
	ctx, cancel := limited()
	defer cancel()
	_, err := t.client.PrintKV(ctx, &grpctest.PrintKVRequest{
		Key:   key,
		Value: &grpctest.PrintKVRequest_ValueString{ValueString: value},
	})
	return err
}

func logs(r *run) error {
	test, err := r.start()
	if err != nil {
		return err
	}
	if err := test.printKV("some-key", "some-value"); err != nil {
		return err
	}
	if err := r.log.await(`"some-key":"some-value"`); err != nil {
		return err
	}
	for _, line := range strings.Split(r.log.String(), "\n") {
		if strings.Contains(line, `"some-key":"some-value"`) {
			if !strings.Contains(line, `"@level":"info"`) || !strings.Contains(line, `"@message":"PrintKV called"`) {
				return fmt.Errorf("level or message are not what was logged: %s", line)
			}
		}
	}
	return nil
}

func panics(r *run) error {
	test, err := r.start()
	if err != nil {
		return err
	}
	if err := test.printKV("panic", "boom"); err == nil {
		return errors.New("the call of a panicking method succeeds")
	}
	if err := r.log.await("panic: boom"); err != nil {
		return err
	}
	level := os.Getenv("PEER_PANIC_LEVEL")
	for _, line := range strings.Split(r.log.String(), "\n") {
		if strings.Contains(line, "panic: boom") && !strings.Contains(line, `"@level":"`+level+`"`) {
			return fmt.Errorf("the panic is not at %s: %s", level, line)
		}
	}
	// A panic has at least its message, its thread and some frames.
	time.Sleep(200 * time.Millisecond)
	if count := strings.Count(r.log.String(), `"@level":"`+level+`"`); count < 10 {
		return fmt.Errorf("only %d lines at %s: %s", count, level, r.log.String())
	}
	return nil
}

func kill(r *run) error {
	r.config.Cmd.Env = append(r.config.Cmd.Env, "PEER_STUBBORN=1")
	if _, err := r.start(); err != nil {
		return err
	}
	begin := time.Now()
	r.client.Kill()
	took := time.Since(begin)
	if took < 1900*time.Millisecond || took > 4*time.Second {
		return fmt.Errorf("a stubborn plugin is killed after %v, not 2 s", took)
	}
	if !r.client.Exited() {
		return errors.New("the plugin has not exited")
	}
	return nil
}

func graceful(r *run) error {
	dir, err := os.MkdirTemp("", "peer")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := dir + "/exit"
	r.config.Cmd.Env = append(r.config.Cmd.Env, "PEER_EXIT_FILE="+file)
	test, err := r.start()
	if err != nil {
		return err
	}
	if err := test.double(1, 2); err != nil {
		return err
	}
	socket := r.client.ReattachConfig().Addr.String()
	begin := time.Now()
	r.client.Kill()
	if took := time.Since(begin); took > 1900*time.Millisecond {
		return fmt.Errorf("stopping takes %v", took)
	}
	if strings.Contains(r.log.String(), "failed to exit gracefully") {
		return errors.New("the plugin was killed")
	}
	if _, err := os.Stat(file); err != nil {
		return fmt.Errorf("the plugin did not run to its end: %v", err)
	}
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		return fmt.Errorf("the socket %s is still there", socket)
	}
	return nil
}

func version(r *run) error {
	r.config.HandshakeConfig.ProtocolVersion = 9
	_, err := r.start()
	return expect(err, "Plugin version: 1")
}

func negotiate(r *run) error {
	r.config.Cmd.Env = append(r.config.Cmd.Env, "PEER_VERSIONS=2,3,7")
	set := plugin.PluginSet{"test": &testPlugin{}}
	r.config.Plugins = nil
	r.config.VersionedPlugins = map[int]plugin.PluginSet{2: set, 3: set, 5: set}
	test, err := r.start()
	if err != nil {
		return err
	}
	if got := r.client.NegotiatedVersion(); got != 3 {
		return fmt.Errorf("version %d was negotiated", got)
	}
	return test.double(3, 6)
}

func cookie(r *run) error {
	r.config.HandshakeConfig.MagicCookieValue = "wrong"
	_, err := r.start()
	if err == nil {
		return errors.New("a plugin starts with the wrong cookie")
	}
	return r.raw.await("This binary is a plugin. These are not meant to be executed directly.")
}

func reattach(r *run) error {
	first, err := r.start()
	if err != nil {
		return err
	}
	if err := first.double(1, 2); err != nil {
		return err
	}
	second := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  handshake,
		Plugins:          r.config.Plugins,
		Reattach:         r.client.ReattachConfig(),
		AllowedProtocols: r.config.AllowedProtocols,
		Logger:           r.config.Logger,
	})
	test, err := dispense(second)
	if err != nil {
		return err
	}
	if err := test.double(2, 4); err != nil {
		return err
	}
	second.Kill()
	for end := time.Now().Add(5 * time.Second); !r.client.Exited(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return errors.New("the plugin lives on after the second host killed it")
		}
	}
	return nil
}

func checksum(r *run) error {
	content, err := os.ReadFile(r.config.Cmd.Path)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	r.config.SecureConfig = &plugin.SecureConfig{Checksum: sum[:], Hash: sha256.New()}
	test, err := r.start()
	if err != nil {
		return err
	}
	return test.double(4, 8)
}

func checksumBad(r *run) error {
	r.config.SecureConfig = &plugin.SecureConfig{Checksum: make([]byte, sha256.Size), Hash: sha256.New()}
	_, err := r.start()
	return expect(err, "checksums did not match")
}

// idle says nothing for longer than the 30 s after which yamux asks whether the other side lives, then calls.
func idle(r *run) error {
	test, err := r.start()
	if err != nil {
		return err
	}
	if err := test.double(1, 2); err != nil {
		return err
	}
	time.Sleep(75 * time.Second)
	return test.double(2, 4)
}

// forever keeps a plugin until the host is killed.
func forever(r *run) error {
	test, err := r.start()
	if err != nil {
		return err
	}
	if err := test.double(1, 2); err != nil {
		return err
	}
	fmt.Printf("pid %d\n", r.client.ReattachConfig().Pid)
	time.Sleep(25 * time.Second)
	return nil
}

func expect(err error, text string) error {
	if err == nil {
		return fmt.Errorf("no error; expected %q", text)
	}
	if !strings.Contains(err.Error(), text) {
		return fmt.Errorf("expected %q, got: %v", text, err)
	}
	return nil
}
