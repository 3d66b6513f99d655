package authntest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"time"
)

// Authority signs certificates, and says which it takes back.
type Authority struct {
	PEM []byte

	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	revoked     []x509.RevocationListEntry
}

func newAuthority(name string, parent *Authority) *Authority {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	signer, signerKey := template, key
	if parent != nil {
		signer, signerKey = parent.certificate, parent.key
	}
	der := must(x509.CreateCertificate(rand.Reader, template, signer, key.Public(), signerKey))
	return &Authority{
		PEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), certificate: must(x509.ParseCertificate(der)), key: key,
	}
}

// Subject says what a certificate is of.
type Subject struct {
	CN                  string
	DNS, Email, URI     string
	Serial              int64 // default 2
	NotBefore, NotAfter time.Time
	Server, NoUsage     bool // for servers only; for neither
}

// Sign makes a certificate.
func (a *Authority) Sign(s Subject) *tls.Certificate {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(max(2, s.Serial)), Subject: pkix.Name{CommonName: s.CN}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if !s.NotBefore.IsZero() {
		template.NotBefore = s.NotBefore
	}
	if !s.NotAfter.IsZero() {
		template.NotAfter = s.NotAfter
	}
	if s.Server || s.NoUsage {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		template.IPAddresses, template.DNSNames = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, []string{"localhost"}
	}
	if s.DNS != "" {
		template.DNSNames = append(template.DNSNames, s.DNS)
	}
	if s.Email != "" {
		template.EmailAddresses = []string{s.Email}
	}
	if s.URI != "" {
		template.URIs = []*url.URL{must(url.Parse(s.URI))}
	}
	der := must(x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key))
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: must(x509.ParseCertificate(der))}
}

// Revoke takes a certificate back in lists that are made from now on.
func (a *Authority) Revoke(serial int64) {
	a.revoked = append(a.revoked, x509.RevocationListEntry{SerialNumber: big.NewInt(serial), RevocationTime: time.Now()})
}

// List is the authority's revocation list, PEM, good until a time.
func (a *Authority) List(until time.Time) []byte {
	template := &x509.RevocationList{
		Number: big.NewInt(time.Now().UnixNano()), ThisUpdate: until.Add(-48 * time.Hour), NextUpdate: until, RevokedCertificateEntries: a.revoked,
	}
	der := must(x509.CreateRevocationList(rand.Reader, template, a.certificate, a.key))
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// Roots is the pool of who trusts the authority.
func (a *Authority) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// encode gives a certificate and its key as PEM.
func encode(c *tls.Certificate) (certificate, key []byte) {
	for _, der := range c.Certificate {
		certificate = append(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	secret := must(x509.MarshalPKCS8PrivateKey(c.PrivateKey))
	return certificate, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

func (w *World) certificateCases() []Case {
	now := time.Now()
	middle := w.intermediate.Sign(Subject{CN: "middle"})
	whole := &tls.Certificate{Certificate: append(middle.Certificate[:1:1], w.intermediate.certificate.Raw), PrivateKey: middle.PrivateKey}
	self := newAuthority("self", nil)
	selfSigned := &tls.Certificate{Certificate: [][]byte{self.certificate.Raw}, PrivateKey: self.key}
	cases := []Case{
		{Name: "certificate of another authority", Certificate: w.strangers.Sign(Subject{CN: "alice"})},
		{Name: "certificate of an authority of the same name", Certificate: newAuthority("clients", nil).Sign(Subject{CN: "alice"})},
		{Name: "certificate signed by itself", Certificate: selfSigned},
		{Name: "expired certificate", Certificate: w.CA.Sign(Subject{CN: "alice", NotBefore: now.Add(-time.Hour), NotAfter: now.Add(-time.Second)})},
		{Name: "certificate not valid yet", Certificate: w.CA.Sign(Subject{CN: "alice", NotBefore: now.Add(time.Hour / 2)})},
		{Name: "revoked certificate", Certificate: w.revoked},
		{Name: "certificate for servers only", Certificate: w.CA.Sign(Subject{CN: "alice", NoUsage: true})},
		{Name: "chain without its intermediate", Certificate: middle},
		// The intermediate has no revocation list here.
		{Name: "chain of an authority without a list", Certificate: whole},
		{Name: "certificate signed by a client's", Certificate: w.signedByClient()},
	}
	for i := range cases {
		cases[i].Setup = Certificates
	}
	for _, c := range cases[:] {
		c.Setup, c.Name = Optional, c.Name+", optional"
		cases = append(cases, c)
	}
	return append(cases,
		Case{Name: "no certificate", Setup: Certificates},
		Case{Name: "no certificate and no token, optional", Setup: Optional, Status: 401},
		Case{Name: "certificate without a name", Setup: Certificates, Certificate: w.CA.Sign(Subject{}), Status: 401},
		Case{Name: "certificate whose name has a line end", Setup: Certificates, Certificate: w.CA.Sign(Subject{CN: "alice\nroot"}), Status: 401},
		Case{Name: "certificate and an API key that is not taken", Setup: Certificates, Certificate: w.CA.Sign(Subject{CN: "alice"}), Header: key(w.good), Status: 401},
		Case{Name: "no certificate, but a header that a proxy would set", Setup: Optional,
			Header: map[string][]string{"X-Forwarded-Client-Cert": {"Subject=\"CN=alice\""}, "X-Ssl-Client-Cert": {string(w.CA.PEM[:10])}}, Status: 401},
	)
}

// signedByClient is a certificate that a client has made with its own key.
func (w *World) signedByClient() *tls.Certificate {
	client := w.CA.Sign(Subject{CN: "alice"})
	as := &Authority{certificate: client.Leaf, key: client.PrivateKey.(*ecdsa.PrivateKey)}
	made := as.Sign(Subject{CN: "root"})
	made.Certificate = append(made.Certificate, client.Certificate[0])
	return made
}
