package main

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"

	plugin "github.com/hashicorp/go-plugin"
	reflection "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
)

// netrpc allows what our plugin does not speak; go-plugin itself must say so.
func netrpc(r *run) error {
	r.config.AllowedProtocols = []plugin.Protocol{plugin.ProtocolNetRPC}
	_, err := r.start()
	if err == nil {
		return errors.New("a plugin that speaks gRPC was taken for one that speaks net/rpc")
	}
	return err
}

// reflect asks for the list of services.
func reflect(r *run) error {
	if _, err := r.start(); err != nil {
		return err
	}
	protocol, err := r.client.Client()
	if err != nil {
		return err
	}
	ctx, cancel := limited()
	defer cancel()
	client := reflection.NewServerReflectionClient(protocol.(*plugin.GRPCClient).Conn)
	stream, err := client.ServerReflectionInfo(ctx)
	if err != nil {
		return err
	}
	request := &reflection.ServerReflectionRequest{MessageRequest: &reflection.ServerReflectionRequest_ListServices{}}
	if err := stream.Send(request); err != nil {
		return err
	}
	response, err := stream.Recv()
	if err != nil {
		return fmt.Errorf("reflection: %v", err)
	}
	names := map[string]bool{}
	for _, service := range response.GetListServicesResponse().GetService() {
		names[service.Name] = true
	}
	for _, name := range []string{
		"plugin.GRPCBroker", "plugin.GRPCController", "plugin.GRPCStdio", "grpc.health.v1.Health", "grpctest.Test",
	} {
		if !names[name] {
			return fmt.Errorf("%s is not in %v", name, names)
		}
	}
	return nil
}

// big sends more than gRPC's own limit of 4 MiB: to a plugin that raised it, then to one that did not. The connection outlives both.
func big(r *run) error {
	test, err := r.start()
	if err != nil {
		return err
	}
	huge := strings.Repeat("x", 6<<20)
	if err := test.printKV("some-key", huge); err != nil {
		return fmt.Errorf("6 MiB: %v", err)
	}
	if err := test.double(8, 16); err != nil {
		return err
	}
	r.client.Kill()

	r.config.Cmd = exec.Command(r.config.Cmd.Path, r.config.Cmd.Args[1:]...)
	r.config.Cmd.Env = []string{"PEER_DEFAULT_LIMIT=1"}
	if test, err = r.start(); err != nil {
		return err
	}
	if err := expect(test.printKV("some-key", huge), "4194304"); err != nil {
		return err
	}
	return test.double(9, 18)
}
