// Package authntest makes credentials, good and hostile ones, and what a gateway must
// be told to judge them: keys, an issuer of tokens on loopback, an authority of client
// certificates. The same cases are for tests of authn alone and for tests of a whole
// gateway. It believes nothing and judges nothing.
//
// Runs in: tests.
package authntest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"sync"
	"testing"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/authn"
)

// What the tokens of a World are for, and must have.
const (
	Audience     = "mcp-gateway"
	Scope        = "mcp"
	Organization = "org_01HALPHA" // of the project "alpha"
	Project      = "alpha"
)

// Setup is one way to configure authentication.
type Setup string

// The setups.
const (
	Secret       Setup = "secret"       // jwt, jwt_key is an HMAC secret
	PublicKey    Setup = "public-key"   // jwt, jwt_key is an RSA key's PEM
	Issued       Setup = "issued"       // oidc and api-key, keys of the issuer
	Keys         Setup = "keys"         // api-key
	Certificates Setup = "certificates" // mtls, a certificate is required
	Optional     Setup = "optional"     // mtls and oidc, a certificate is optional
)

// Setups are all of them.
func Setups() []Setup { return []Setup{Secret, PublicKey, Issued, Keys, Certificates, Optional} }

// Case is one request's credential.
type Case struct {
	Name        string
	Setup       Setup
	Header      http.Header
	Certificate *tls.Certificate // that the client shows
	Status      int              // what HTTP answers; 0: the handshake of TLS fails
}

// World is what a gateway is told, and what attackers have.
type World struct {
	Issuer *Issuer
	CA     *Authority // of clients and, for tests, of the gateway's own listener

	t              testing.TB
	secret         []byte
	rsa, other     *rsa.PrivateKey
	ec             *ecdsa.PrivateKey
	ec384          *ecdsa.PrivateKey
	ed             ed25519.PrivateKey
	weak           *rsa.PrivateKey
	strangers      *Authority
	intermediate   *Authority
	good, old      string // API keys
	wrong, unknown string
	stored         []policy.Key
	revoked        *tls.Certificate
}

// New makes a World, which ends with the test.
func New(t testing.TB) *World {
	t.Helper()
	w := &World{t: t, secret: []byte("0123456789abcdef0123456789abcdef-the-secret")}
	w.rsa, w.other, w.weak = rsaKeys()[0], rsaKeys()[1], rsaKeys()[2]
	w.ec, w.ec384 = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	_, w.ed, _ = ed25519.GenerateKey(rand.Reader)
	w.Issuer = newIssuer(w)
	w.CA, w.strangers = newAuthority("clients", nil), newAuthority("strangers", nil)
	w.intermediate = newAuthority("department", w.CA)
	w.revoked = w.CA.Sign(Subject{CN: "revoked", Serial: 99})
	w.CA.Revoke(99)
	w.makeKeys()
	return w
}

// rsaKeys are made once a process: each takes a while.
var rsaKeys = sync.OnceValue(func() (keys [3]*rsa.PrivateKey) {
	for i, bits := range []int{2048, 2048, 1024} {
		keys[i] = must(rsa.GenerateKey(rand.Reader, bits))
	}
	return keys
})

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func (w *World) makeKeys() {
	key := func(name string, expires time.Time) (policy.Key, string) {
		stored, text, err := authn.NewAPIKey(name, nil, nil, expires)
		if err != nil {
			panic(err)
		}
		return stored, text
	}
	good, text := key("good", time.Now().Add(time.Hour))
	old, oldText := key("old", time.Now().Add(-time.Second))
	_, unknown := key("revoked", time.Time{}) // is not stored any more
	w.stored, w.good, w.old, w.unknown = []policy.Key{good, old}, text, oldText, unknown
	const secretLen = 43
	w.wrong = text[:len(text)-secretLen] + unknown[len(unknown)-secretLen:]
}

// Stored are the API keys that the gateway knows.
func (w *World) Stored() []policy.Key { return w.stored }

// Claims are names as a configuration has them by default.
func (w *World) rules() policy.TokenRules {
	return policy.TokenRules{
		Audiences: []string{Audience, "https://gw.example.com/mcp"},
		Claims: policy.Claims{
			User: []string{"sub"}, Name: []string{"name", "email"}, Groups: []string{"groups"}, Roles: []string{"roles"},
			Scopes: []string{"scope", "scp"}, Projects: []string{"org_id"},
		},
		Organizations: map[string]string{Organization: Project}, NeedsProjects: true,
	}
}

// Authentication is what the proxy is told in a setup.
func (w *World) Authentication(setup Setup) policy.Authentication {
	methods := map[Setup][]policy.Method{
		Secret: {policy.MethodJWT}, PublicKey: {policy.MethodJWT}, Issued: {policy.MethodOIDC, policy.MethodAPIKey},
		Keys: {policy.MethodAPIKey}, Certificates: {policy.MethodMTLS}, Optional: {policy.MethodMTLS, policy.MethodOIDC},
	}[setup]
	a := policy.Authentication{Methods: map[string][]policy.Method{"http": methods, "grpc": methods, "websocket": methods, "sse": methods}}
	if setup == Certificates || setup == Optional {
		clients := policy.Clients{CA: w.CA.PEM, Revoked: w.CA.List(time.Now().Add(time.Hour))}
		a.Clients = map[string]policy.Clients{"http": clients, "grpc": clients}
	}
	t := &policy.Tokens{
		Gateway: "mcp-gateway", Rules: w.rules(), RequiredScopes: []string{Scope}, Leeway: 30 * time.Second,
		Issuers: []policy.Issuer{{Issuer: w.Issuer.URL, Rules: w.rules()}},
	}
	switch setup {
	case Secret:
		t.Method, t.Key = policy.MethodJWT, w.secret
	case PublicKey:
		t.Method, t.Key = policy.MethodJWT, w.publicPEM()
	case Issued, Optional:
		t.Method = policy.MethodOIDC
	default:
		t = nil
	}
	a.Tokens = t
	return a
}

// TLS is the listener's own certificate, and whose certificates it takes, in a setup;
// nil for plain text.
func (w *World) TLS(setup Setup) *policy.TLS {
	if setup != Certificates && setup != Optional {
		return nil
	}
	own := w.CA.Sign(Subject{CN: "gateway", Server: true})
	certificate, key := encode(own)
	return &policy.TLS{
		Certificate: certificate, Key: key, ClientCA: w.CA.PEM, Optional: setup == Optional, Revoked: w.CA.List(time.Now().Add(time.Hour)),
	}
}

func (w *World) publicPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(&w.rsa.PublicKey))})
}
