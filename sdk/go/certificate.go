package transom

import "time"

// CertificateProvider is a source of certificates that the plugin has.
type CertificateProvider struct {
	// Name is what `extension:` of a use says; empty for the only one.
	Name string
	// Schema is the JSON schema of the configuration; empty for none.
	Schema string
	// Parse reads a configuration. It touches nothing outside.
	Parse func(*Config) (CertificateSource, error)
}

// CertificateSource is a configuration of a certificate provider that was read.
type CertificateSource interface {
	// Certificate is asked for the name that a client wants (SNI); empty for the certificate of those that want none, which it is asked for
	// first: then it must have one. Nil: it has none for this name.
	Certificate(serverName string) (*Certificate, error)
}

// Certificate is a certificate with its key, as PEM.
type Certificate struct {
	// Chain is the certificate, then those between it and its authority.
	Chain []byte
	Key   []byte
	// ClientAuthorities are authorities of clients' certificates; nil if clients need none.
	ClientAuthorities []byte
	// RefreshAfter is when to ask again; 0: when it ends.
	RefreshAfter time.Duration
}
