package authn

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"time"
	"unicode"

	"mcpgateway/policy"
)

// maxName bounds the names that identities are known by.
const maxName = 1024

func hasCertificate(state *tls.ConnectionState) bool {
	return state != nil && len(state.PeerCertificates) > 0
}

// certificate judges a client certificate again, whose signatures the handshake has
// verified: long after that it may have ended, or been revoked.
func (a *Authenticator) certificate(r Request) (*policy.Identity, error) {
	anchors := a.anchors[r.Transport]
	if anchors == nil || !r.TLS.HandshakeComplete {
		return nil, invalid("the client certificate was not verified")
	}
	if err := anchors.Check(r.TLS.VerifiedChains, a.now()); err != nil {
		kind := Invalid
		if a.now().After(r.TLS.PeerCertificates[0].NotAfter) {
			kind = Expired
		}
		return nil, &Error{Kind: kind, Text: "client certificate: " + err.Error()}
	}
	leaf := r.TLS.VerifiedChains[0][0]
	kind, name := certificateName(leaf, a.policy.CertificateName)
	if !printable(name) {
		return nil, invalid("client certificate: it has no name that says who its holder is")
	}
	subject := "mtls:" + kind + ":" + name
	if kind == "spiffe" {
		subject = "mtls:" + name
	}
	return &policy.Identity{
		Subject: subject, Name: name, Method: policy.MethodMTLS, Certificate: name, Expires: earliest(r.TLS.VerifiedChains[0]),
	}, nil
}

// certificateName gives the name of one kind, or of the first kind of which there is
// one; "" for none.
func certificateName(c *x509.Certificate, kind string) (found, name string) {
	if kind != "" {
		return kind, nameOf(c, kind)
	}
	for _, kind := range []string{"spiffe", "email", "dns", "cn"} {
		if name := nameOf(c, kind); name != "" {
			return kind, name
		}
	}
	return "", ""
}

func nameOf(c *x509.Certificate, kind string) string {
	switch kind {
	case "spiffe":
		// A certificate with more than one URI has no SPIFFE id (X.509-SVID, section 2).
		if len(c.URIs) == 1 && strings.HasPrefix(c.URIs[0].String(), "spiffe://") && c.URIs[0].Host != "" {
			return c.URIs[0].String()
		}
	case "uri":
		if len(c.URIs) > 0 {
			return c.URIs[0].String()
		}
	case "email":
		if len(c.EmailAddresses) > 0 {
			return c.EmailAddresses[0]
		}
	case "dns":
		if len(c.DNSNames) > 0 {
			return c.DNSNames[0]
		}
	case "cn":
		return c.Subject.CommonName
	}
	return ""
}

func earliest(chain []*x509.Certificate) time.Time {
	end := chain[0].NotAfter
	for _, c := range chain {
		if c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	return end
}

// printable reports whether a name may become part of records and rules.
func printable(name string) bool {
	return name != "" && len(name) <= maxName && strings.IndexFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}
