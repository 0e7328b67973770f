// Command cert_loader is a plugin that gives the certificate in the files of its configuration, by default those in ./certs.
package main

import (
	"fmt"
	"os"
	"time"

	transom "transom.internal/sdk/go"
)

type files struct {
	Chain string `json:"chain"`
	Key   string `json:"key"`
	CA    string `json:"ca"`
}

func main() {
	transom.Serve(transom.Plugin{Name: "cert_loader", Version: "1.0.0", Certificates: []transom.CertificateProvider{{Parse: parse}}})
}

func parse(config *transom.Config) (transom.CertificateSource, error) {
	f := files{Chain: "./certs/cert.pem", Key: "./certs/key.pem"}
	return &f, config.Decode(&f)
}

// Certificate reads the files again each time, so that a new certificate is used within a minute.
func (f *files) Certificate(string) (*transom.Certificate, error) {
	certificate := &transom.Certificate{RefreshAfter: time.Minute}
	for file, into := range map[string]*[]byte{
		f.Chain: &certificate.Chain, f.Key: &certificate.Key, f.CA: &certificate.ClientAuthorities,
	} {
		if file == "" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("cannot read the certificate: %w", err)
		}
		*into = text
	}
	return certificate, nil
}
