// Command host starts a plugin as MOSN does, by HashiCorp's library and with AutoMTLS, and asks it once: what works here works with every host in Go.
//
//	host COMMAND [ARGUMENT…]
//
// It prints what the plugin answered. Exit code 1: the plugin cannot be had, or lets others than its host in.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"transom.internal/sdk/go/internal/pb/mosn"
)

func main() {
	answer, err := ask(exec.Command(os.Args[1], os.Args[2:]...))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("status", answer.GetStatus())
}

// caller is what MOSN dispenses.
type caller struct{ plugin.NetRPCUnsupportedPlugin }

func (caller) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("this is a host")
}

func (caller) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, connection *grpc.ClientConn) (any, error) {
	return mosn.NewPluginClient(connection), nil
}

func ask(command *exec.Cmd) (*mosn.Response, error) {
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "MOSN_PLUGIN", MagicCookieValue: "ON"},
		Plugins:          plugin.PluginSet{"MOSN_SERVICE": caller{}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Cmd:              command,
		AutoMTLS:         true,
		StartTimeout:     30 * time.Second,
		Logger:           hclog.NewNullLogger(),
	})
	defer client.Kill()
	protocol, err := client.Client()
	if err != nil {
		return nil, err
	}
	if err := protocol.Ping(); err != nil {
		return nil, fmt.Errorf("health: %w", err)
	}
	service, err := protocol.Dispense("MOSN_SERVICE")
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	answer, err := service.(mosn.PluginClient).Call(limited, &mosn.Request{Header: map[string]string{"User": "admin"}})
	if err != nil {
		return nil, err
	}
	config := client.ReattachConfig()
	if config == nil {
		return nil, errors.New("the plugin's address is not known")
	}
	return answer, refuses(config.Addr.Network(), config.Addr.String())
}

// refuses sees that the plugin serves nobody who has another certificate, or none.
func refuses(network, address string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	stranger, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		return err
	}
	for who, certificates := range map[string][]tls.Certificate{
		"a stranger's certificate": {{Certificate: [][]byte{stranger}, PrivateKey: key}},
		"no certificate":           nil,
	} {
		// Its own certificate is not what is looked at here.
		config := tls.Config{Certificates: certificates, InsecureSkipVerify: true, NextProtos: []string{"h2"}}
		connection, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, network, address, &config)
		if err != nil {
			continue
		}
		defer connection.Close()
		// In TLS 1.3 the server says only after the client's handshake what it thinks of it.
		_ = connection.SetDeadline(time.Now().Add(10 * time.Second))
		if count, err := connection.Read(make([]byte, 64)); err == nil {
			return fmt.Errorf("the plugin lets in who has %s, and sends %d bytes", who, count)
		} else if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("the plugin does not say no to who has %s", who)
		}
	}
	return nil
}
