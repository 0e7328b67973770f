// Laid over a copy of go-plugin: its own tests then drive the Rust plugin that RUST_PLUGIN names.
package plugin

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
)

// The modes of TestHelperProcess in which the Rust plugin serves. The others are no plugins, or speak net/rpc: they stay Go's.
var rustModes = map[string]bool{
	"test-grpc":                  true,
	"test-grpc-tls":              true,
	"test-interface-logger-grpc": true,
	"test-mtls":                  true,
	"test-proto-upgraded-client": true,
	"test-proto-upgraded-plugin": true,
	"test-versioned-plugins":     true,
}

// helperCommand takes the place of helperProcess's own command: the test binary, two arguments, the mode and its arguments.
func helperCommand(arguments []string) *exec.Cmd {
	mode := arguments[2]
	if !rustModes[mode] {
		return exec.Command(os.Args[0], arguments...)
	}
	// What the suite looks at afterwards: that it was the Rust plugin which was tested.
	runs, err := os.OpenFile(os.Getenv("RUST_PLUGIN_RUNS"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer runs.Close()
	if _, err := fmt.Fprintln(runs, mode); err != nil {
		panic(err)
	}
	return exec.Command(os.Getenv("RUST_PLUGIN"), arguments[2:]...)
}

// rustPluginConn takes the place of TestPluginGRPCConn, which serves in the process of the test: the same two ends, of a process of its
// own. Whether the connection is multiplexed is an argument of newer releases.
func rustPluginConn(t *testing.T, arguments ...interface{}) (*GRPCClient, *GRPCServer) {
	config := &ClientConfig{
		HandshakeConfig:  testHandshake,
		Cmd:              helperProcess("test-grpc"),
		AllowedProtocols: []Protocol{ProtocolGRPC},
	}
	for _, argument := range arguments {
		switch argument := argument.(type) {
		case bool:
			multiplex(config, argument)
		case map[string]Plugin:
			config.Plugins = argument
		}
	}
	client := NewClient(config)
	t.Cleanup(client.Kill)
	protocol, err := client.Client()
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	process, err := os.FindProcess(client.ReattachConfig().Pid)
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(&remoteEnd{process: process, closed: make(chan struct{})})
	return protocol.(*GRPCClient), &GRPCServer{server: server}
}

// remoteEnd is a listener without connections: closing it ends the plugin, as closing the listener of a server in this process would.
type remoteEnd struct {
	process *os.Process
	once    sync.Once
	closed  chan struct{}
}

func (r *remoteEnd) Accept() (net.Conn, error) {
	<-r.closed
	return nil, io.EOF
}

func (r *remoteEnd) Close() error {
	r.once.Do(func() {
		close(r.closed)
		r.process.Kill()
		// The host sees the end of its connection a moment later.
		time.Sleep(200 * time.Millisecond)
	})
	return nil
}

func (r *remoteEnd) Addr() net.Addr { return &net.UnixAddr{Name: "plugin", Net: "unix"} }
