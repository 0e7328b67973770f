package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	plugin "github.com/hashicorp/go-plugin"
	kv "github.com/hashicorp/go-plugin/examples/grpc/proto"
	"google.golang.org/grpc"
)

var benchHandshake = plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "BASIC_PLUGIN", MagicCookieValue: "hello"}

type fixed struct{}

func (fixed) Get(context.Context, *kv.GetRequest) (*kv.GetResponse, error) {
	value := make([]byte, 256)
	for at := range value {
		value[at] = 'v'
	}
	return &kv.GetResponse{Value: value}, nil
}

func (fixed) Put(context.Context, *kv.PutRequest) (*kv.Empty, error) {
	return &kv.Empty{}, nil
}

type benchPlugin struct {
	plugin.NetRPCUnsupportedPlugin
}

func (benchPlugin) GRPCServer(_ *plugin.GRPCBroker, server *grpc.Server) error {
	kv.RegisterKVServer(server, fixed{})
	return nil
}

func (benchPlugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (interface{}, error) {
	return kv.NewKVClient(conn), nil
}

// bench is `peer bench plugin`, `peer bench calls SECONDS COMMAND...` or `peer bench start TIMES COMMAND...`.
func bench(arguments []string) error {
	if arguments[0] == "plugin" {
		plugin.Serve(&plugin.ServeConfig{
			HandshakeConfig: benchHandshake,
			Plugins:         plugin.PluginSet{"kv": benchPlugin{}},
			GRPCServer:      plugin.DefaultGRPCServer,
			Logger:          hclog.NewNullLogger(),
		})
		return nil
	}
	number, err := strconv.ParseFloat(arguments[1], 64)
	if err != nil {
		return err
	}
	switch arguments[0] {
	case "calls":
		return benchCalls(time.Duration(number*float64(time.Second)), arguments[2:])
	case "start":
		return benchStart(int(number), arguments[2:])
	}
	return fmt.Errorf("unknown measurement %q", arguments[0])
}

func benchOpen(command []string, mtls bool) (*plugin.Client, kv.KVClient, error) {
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  benchHandshake,
		Plugins:          plugin.PluginSet{"kv": benchPlugin{}},
		Cmd:              exec.Command(command[0], command[1:]...),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Logger:           hclog.NewNullLogger(),
		AutoMTLS:         mtls,
	})
	protocol, err := client.Client()
	if err != nil {
		return nil, nil, err
	}
	raw, err := protocol.Dispense("kv")
	if err != nil {
		return nil, nil, err
	}
	return client, raw.(kv.KVClient), nil
}

var benchKey = strings.Repeat("k", 256)

func benchGet(client kv.KVClient) error {
	answer, err := client.Get(context.Background(), &kv.GetRequest{Key: benchKey})
	if err != nil {
		return err
	}
	if len(answer.Value) != 256 {
		return fmt.Errorf("%d bytes", len(answer.Value))
	}
	return nil
}

type benchRow struct {
	InFlight int     `json:"in_flight"`
	Calls    float64 `json:"calls_per_second"`
	P50      float64 `json:"p50_us"`
	P99      float64 `json:"p99_us"`
}

func benchCalls(length time.Duration, command []string) error {
	client, service, err := benchOpen(command, false)
	if err != nil {
		return err
	}
	defer client.Kill()
	var rows []benchRow
	for _, inFlight := range []int{1, 8, 64} {
		if _, err := benchWork(service, length/5, inFlight); err != nil {
			return err
		}
		begin := time.Now()
		taken, err := benchWork(service, length, inFlight)
		if err != nil {
			return err
		}
		elapsed := time.Since(begin)
		sort.Slice(taken, func(a, b int) bool { return taken[a] < taken[b] })
		at := func(part float64) float64 {
			return float64(taken[int(float64(len(taken)-1)*part)].Nanoseconds()) / 1e3
		}
		rows = append(rows, benchRow{inFlight, float64(len(taken)) / elapsed.Seconds(), at(0.5), at(0.99)})
	}
	time.Sleep(time.Second)
	memory, err := benchMemory(client)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]interface{}{"rows": rows, "after_load_kib": memory})
}

func benchWork(service kv.KVClient, length time.Duration, inFlight int) ([]time.Duration, error) {
	end := time.Now().Add(length)
	all := make([][]time.Duration, inFlight)
	failures := make([]error, inFlight)
	var group sync.WaitGroup
	for worker := 0; worker < inFlight; worker++ {
		group.Add(1)
		go func(worker int) {
			defer group.Done()
			before := time.Now()
			for before.Before(end) {
				if err := benchGet(service); err != nil {
					failures[worker] = err
					return
				}
				now := time.Now()
				all[worker] = append(all[worker], now.Sub(before))
				before = now
			}
		}(worker)
	}
	group.Wait()
	var taken []time.Duration
	for worker := range all {
		if failures[worker] != nil {
			return nil, failures[worker]
		}
		taken = append(taken, all[worker]...)
	}
	return taken, nil
}

// benchMemory is the resident memory of the plugin, in KiB.
func benchMemory(client *plugin.Client) (int, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", client.ReattachConfig().Pid))
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(status), "\n") {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmRSS:" {
			return strconv.Atoi(fields[1])
		}
	}
	return 0, fmt.Errorf("no VmRSS")
}

func benchStart(times int, command []string) error {
	result := map[string]interface{}{}
	for _, mtls := range []bool{false, true} {
		var taken []time.Duration
		idle := 0
		for round := 0; round < times; round++ {
			begin := time.Now()
			client, service, err := benchOpen(command, mtls)
			if err != nil {
				return err
			}
			if err := benchGet(service); err != nil {
				return err
			}
			taken = append(taken, time.Since(begin))
			if round == 0 {
				time.Sleep(time.Second)
				if idle, err = benchMemory(client); err != nil {
					return err
				}
			}
			client.Kill()
		}
		sort.Slice(taken, func(a, b int) bool { return taken[a] < taken[b] })
		name := "plain"
		if mtls {
			name = "mtls"
		}
		result[name] = map[string]interface{}{
			"first_answer_ms": float64(taken[len(taken)/2].Nanoseconds()) / 1e6,
			"idle_kib":        idle,
		}
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}
