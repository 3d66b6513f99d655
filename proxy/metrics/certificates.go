package metrics

import (
	"crypto/x509"
	"encoding/pem"
	"time"

	"mcpgateway/policy"
)

// certificate is when the first of a listener's certificates expires.
type certificate struct {
	listener string
	expires  time.Time
}

// certificates are those of the listeners and of the authorities of their clients.
func certificates(p *policy.Policy) (all []certificate) {
	add := func(listener string, document []byte) {
		if expires := earliest(document); !expires.IsZero() {
			all = append(all, certificate{listener, expires})
		}
	}
	for _, l := range []struct {
		name string
		tls  *policy.TLS
	}{{"http", p.HTTP.TLS}, {"grpc", p.GRPC.TLS}} {
		if l.tls != nil {
			add(l.name, l.tls.Certificate)
			add(l.name+"_client_ca", l.tls.ClientCA)
		}
	}
	return all
}

// earliest is when the first certificate of a PEM document expires; zero without any.
func earliest(document []byte) (at time.Time) {
	for {
		var block *pem.Block
		if block, document = pem.Decode(document); block == nil {
			return at
		}
		parsed, err := x509.ParseCertificate(block.Bytes)
		if err == nil && (at.IsZero() || parsed.NotAfter.Before(at)) {
			at = parsed.NotAfter
		}
	}
}
