// Command handshakes is the load generator for connections over TLS that carry one request each.
//
// As many clients as told each connect, shake hands, ask, read the answer to its end and begin anew. A client that waits costs
// nothing (wrk asks the socket again and again while a handshake is under way, so that its core is busy with waiting), and a whole
// handshake costs it less than a server that signs with RSA.
//
// It prints the line that wrk-report.lua prints, and ends in order on SIGINT.
package main

import (
	"bufio"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"sync"
	"time"
)

func main() {
	address := flag.String("address", "", "whom to connect to, HOST:PORT")
	connections := flag.Int("connections", 64, "clients at the same time")
	duration := flag.Duration("duration", 4*time.Second, "how long")
	timeout := flag.Duration("timeout", 5*time.Second, "of one connection, all in all")
	header := flag.String("header", "", "a line of the request's head, `NAME: VALUE`")
	resume := flag.Bool("resume", false, "resume sessions where the server gives tickets")
	flag.Parse()
	if *address == "" || flag.NArg() > 0 || *connections < 1 {
		flag.Usage()
		os.Exit(2)
	}

	config := &tls.Config{
		InsecureSkipVerify: true,
		ServerName:         "bench.test",
		MinVersion:         tls.VersionTLS13,
		// What every server has; else one would do post-quantum key agreement and another not.
		CurvePreferences: []tls.CurveID{tls.X25519},
	}
	if *resume {
		config.ClientSessionCache = tls.NewLRUClientSessionCache(*connections)
	}
	request := "GET / HTTP/1.1\r\nHost: bench.test\r\nConnection: close\r\n"
	if *header != "" {
		request += *header + "\r\n"
	}
	request += "\r\n"

	stop := make(chan struct{})
	go func() {
		interrupted := make(chan os.Signal, 1)
		signal.Notify(interrupted, os.Interrupt)
		select {
		case <-interrupted:
		case <-time.After(*duration):
		}
		close(stop)
	}()

	clients := make([]client, *connections)
	begun := time.Now()
	var running sync.WaitGroup
	for i := range clients {
		running.Go(func() { clients[i].run(*address, request, config, *timeout, stop) })
	}
	running.Wait()
	report(clients, time.Since(begun))
}

// client is one after another's connections, and what they took.
type client struct {
	latencies []time.Duration
	resumed   int
	errors    int
	last      error
}

func (c *client) run(address, request string, config *tls.Config, timeout time.Duration, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		begun := time.Now()
		resumed, err := ask(address, request, config, begun.Add(timeout))
		if err != nil {
			c.errors++
			c.last = err
			continue
		}
		if resumed {
			c.resumed++
		}
		c.latencies = append(c.latencies, time.Since(begun))
	}
}

// ask makes one connection, asks, and reads the answer and the end of the connection.
func ask(address, request string, config *tls.Config, deadline time.Time) (resumed bool, err error) {
	socket, err := net.DialTimeout("tcp", address, time.Until(deadline))
	if err != nil {
		return false, err
	}
	defer socket.Close()
	if err := socket.SetDeadline(deadline); err != nil {
		return false, err
	}
	connection := tls.Client(socket, config)
	if _, err := io.WriteString(connection, request); err != nil {
		return false, err
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		return false, err
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return false, err
	}
	if response.StatusCode != http.StatusOK {
		return false, fmt.Errorf("status %s", response.Status)
	}
	return connection.ConnectionState().DidResume, nil
}

func report(clients []client, elapsed time.Duration) {
	var latencies []time.Duration
	errors, resumed := 0, 0
	for _, client := range clients {
		latencies = append(latencies, client.latencies...)
		errors += client.errors
		resumed += client.resumed
		if client.last != nil {
			fmt.Println(client.last)
		}
	}
	slices.Sort(latencies)
	percentile := func(part float64) int64 {
		if len(latencies) == 0 {
			return 0
		}
		return latencies[int(part*float64(len(latencies)-1))].Microseconds()
	}
	fmt.Printf("report {\"requests\": %d, \"microseconds\": %d, \"p50_us\": %d, \"p99_us\": %d, \"errors\": %d, \"resumed\": %d}\n",
		len(latencies), elapsed.Microseconds(), percentile(0.50), percentile(0.99), errors, resumed)
}
