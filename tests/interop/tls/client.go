// A client of Go's: `client ADDRESS CA NAME VERSION COUNT [CERTIFICATE KEY]` does COUNT requests, each on a connection of
// its own, and prints for each whether it resumed a session, and the status. An error ends it with exit code 1.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func run(args []string) error {
	roots, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	config := &tls.Config{
		RootCAs:            x509.NewCertPool(),
		ServerName:         args[2],
		ClientSessionCache: tls.NewLRUClientSessionCache(0),
		MinVersion:         tls.VersionTLS12,
		MaxVersion:         tls.VersionTLS12,
	}
	config.RootCAs.AppendCertsFromPEM(roots)
	if args[3] == "1.3" {
		config.MinVersion, config.MaxVersion = tls.VersionTLS13, tls.VersionTLS13
	}
	count, err := strconv.Atoi(args[4])
	if err != nil {
		return err
	}
	if len(args) > 5 {
		own, err := tls.LoadX509KeyPair(args[5], args[6])
		if err != nil {
			return err
		}
		config.Certificates = []tls.Certificate{own}
	}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	client := &http.Client{Transport: transport}
	for range count {
		answer, err := client.Get("https://" + args[0] + "/")
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			return err
		}
		answer.Body.Close()
		fmt.Println(answer.TLS.DidResume, answer.StatusCode)
	}
	return nil
}
