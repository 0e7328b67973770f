// Package transom lets one write plugins for the proxy Transom: filters of HTTP streams and of connections, and certificate providers, in a
// program of their own that the proxy starts.
//
// A filter is any value with one or more of the methods of [RequestHeaders], [RequestBody], [RequestTrailers], [ResponseHeaders], [ResponseBody],
// [ResponseTrailers], [Complete] and [Reset]; what it has no method for is not sent to it. A new one is made for each stream, and its methods
// are called one at a time. They may block: see [Stream.Call], [Stream.Sleep] and [Stream.Wait].
package transom

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

// Plugin is a program that the proxy starts, and what it can be used as.
type Plugin struct {
	// Name and Version are shown in logs and by the admin API.
	Name, Version string
	// Filters sees requests and responses.
	Filters []StreamFilter
	// Network sees the bytes of connections.
	Network []NetworkFilter
	// Certificates gives certificates for TLS with clients.
	Certificates []CertificateProvider
	// AccessLogs are told of streams and connections that are over.
	AccessLogs []AccessLog
	// LogSinks are told the lines of the host's own log.
	LogSinks []LogSink
}

// What is under way when the plugin is to end may go on for so long.
const patience = 500 * time.Millisecond

// The revision of transom.plugin.v1 that this package was made with.
const revision = 1

// Messages as large as go-plugin's own clients take.
const maxMessage = 1<<31 - 1

var (
	ownCookie  = plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "TRANSOM_PLUGIN_COOKIE", MagicCookieValue: "transom.plugin.v1"}
	mosnCookie = plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "MOSN_PLUGIN", MagicCookieValue: "ON"}
)

// Serve serves the plugin until its host ends it or is gone. It is the last thing that main does.
//
// It speaks Transom's protocol or MOSN's, whichever the cookie in the environment names. Uses without a configuration of their own, and MOSN's
// calls, get the one in the file that the argument -c FILE (or --config FILE) names, as JSON.
func Serve(p Plugin) {
	if err := serve(p); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(p Plugin) error {
	if err := p.check(); err != nil {
		return err
	}
	defaults, err := configOfArguments(os.Args[1:])
	if err != nil {
		return err
	}
	s := &service{plugin: &p, defaults: defaults, uses: map[uint64]*use{}, level: levelOf(os.Getenv("TRANSOM_LOG"))}
	server := make(chan *grpc.Server, 1)
	config := &plugin.ServeConfig{
		HandshakeConfig: ownCookie,
		Plugins:         plugin.PluginSet{"transom": &grpcPlugin{register: s.register}},
		GRPCServer: func(options []grpc.ServerOption) *grpc.Server {
			made := grpc.NewServer(append(options, grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage))...)
			select {
			case server <- made:
			default: // go-plugin makes further ones for its brokered connections
			}
			return made
		},
	}
	if os.Getenv(mosnCookie.MagicCookieKey) == mosnCookie.MagicCookieValue {
		calls, err := newCalls(s)
		if err != nil {
			return err
		}
		if procs, err := strconv.Atoi(os.Getenv("MOSN_PROCS")); err == nil && procs > 0 {
			runtime.GOMAXPROCS(procs)
		}
		config.HandshakeConfig = mosnCookie
		config.Plugins = plugin.PluginSet{"MOSN_SERVICE": &grpcPlugin{register: calls.register}}
	}
	logsToHost(s.level)
	go watchParent(os.Getppid())
	go end(server)
	plugin.Serve(config)
	return nil
}

func (p *Plugin) check() error {
	names := map[string]bool{}
	for _, filter := range p.Filters {
		if filter.Parse == nil {
			return fmt.Errorf("the stream filter %q has no Parse", filter.Name)
		}
		if names["s"+filter.Name] {
			return fmt.Errorf("the stream filter %q is there twice", filter.Name)
		}
		names["s"+filter.Name] = true
	}
	for _, filter := range p.Network {
		if filter.Parse == nil {
			return fmt.Errorf("the network filter %q has no Parse", filter.Name)
		}
		if names["n"+filter.Name] {
			return fmt.Errorf("the network filter %q is there twice", filter.Name)
		}
		names["n"+filter.Name] = true
	}
	for _, provider := range p.Certificates {
		if provider.Parse == nil {
			return fmt.Errorf("the certificate provider %q has no Parse", provider.Name)
		}
	}
	for _, log := range p.AccessLogs {
		if log.Parse == nil {
			return fmt.Errorf("the access log %q has no Parse", log.Name)
		}
	}
	for _, log := range p.LogSinks {
		if log.Parse == nil {
			return fmt.Errorf("the log sink %q has no Parse", log.Name)
		}
	}
	return nil
}

// end lets what is under way end after SIGTERM, as the end that the host asks for does. go-plugin itself would be killed by it.
func end(server <-chan *grpc.Server) {
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM)
	<-terminate
	serving := <-server
	time.AfterFunc(patience, serving.Stop)
	serving.GracefulStop()
}

// watchParent ends the process when its host is gone: a plugin of a killed host would run for ever.
func watchParent(parent int) {
	for {
		time.Sleep(2 * time.Second)
		if os.Getppid() != parent {
			os.Exit(1)
		}
	}
}

// configOfArguments reads the file that -c names. Other arguments are the plugin's own.
func configOfArguments(arguments []string) ([]byte, error) {
	for i, argument := range arguments {
		file := ""
		switch {
		case argument == "-c" || argument == "--config":
			if i+1 == len(arguments) {
				return nil, fmt.Errorf("%s wants the name of a file: -c config.json", argument)
			}
			file = arguments[i+1]
		case len(argument) > 3 && argument[:3] == "-c=":
			file = argument[3:]
		case len(argument) > 9 && argument[:9] == "--config=":
			file = argument[9:]
		default:
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("cannot read the configuration: %w", err)
		}
		return text, nil
	}
	return nil, nil
}

type grpcPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	register func(*grpc.Server)
}

// GRPCServer registers the services; go-plugin calls it.
func (p *grpcPlugin) GRPCServer(_ *plugin.GRPCBroker, server *grpc.Server) error {
	p.register(server)
	return nil
}

// GRPCClient is the host's side, which this package has not.
func (p *grpcPlugin) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("this is the plugin's side")
}
