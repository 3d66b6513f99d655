package authn_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"

	"mcpgateway/policy"
	"mcpgateway/policy/authn"
	"mcpgateway/policy/authntest"
	"mcpgateway/proxy/certs"
)

// world has a gateway's authenticator for each setup.
type world struct {
	*authntest.World
	state *authn.State
	by    map[authntest.Setup]*authn.Authenticator
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{World: authntest.New(t), state: authn.NewState(), by: make(map[authntest.Setup]*authn.Authenticator)}
	t.Cleanup(w.state.Close)
	for _, setup := range authntest.Setups() {
		a, err := authn.New(w.Authentication(setup), w.Stored(), w.state)
		if err != nil {
			t.Fatalf("%s: %v", setup, err)
		}
		w.by[setup] = a
	}
	return w
}

// ask does what a front does with a request; status 0 is a handshake that failed.
func (w *world) ask(t testing.TB, c authntest.Case) (*policy.Identity, int, error) {
	t.Helper()
	state, err := handshake(t, w.World, c)
	if err != nil {
		return nil, 0, err
	}
	id, err := w.by[c.Setup].Authenticate(t.Context(), authn.Request{Transport: "http", Header: c.Header, TLS: state})
	if err == nil {
		return id, http.StatusOK, nil
	}
	var e *authn.Error
	if !errors.As(err, &e) {
		t.Fatalf("%s: got error %T %v, want *authn.Error", c.Name, err, err)
	}
	return id, e.Kind.Status(), err
}

// handshake connects a client of the case to a listener of its setup.
func handshake(t testing.TB, w *authntest.World, c authntest.Case) (*tls.ConnectionState, error) {
	t.Helper()
	own := w.TLS(c.Setup)
	if own == nil {
		return nil, nil
	}
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	client := &tls.Config{RootCAs: w.CA.Roots(), ServerName: "localhost"}
	if c.Certificate != nil {
		// Not in Certificates: a client would leave out what the server does not ask for.
		client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.Certificate, nil }
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn := tls.Client(far, client)
		_ = conn.HandshakeContext(context.Background())
		_, _ = conn.Read(make([]byte, 1))
	}()
	conn := tls.Server(near, certs.Follow(func() *policy.TLS { return own }))
	err := conn.HandshakeContext(t.Context())
	state := conn.ConnectionState()
	near.Close()
	<-done
	return &state, err
}

// What hostile cases are refused for is what they differ in from these.
func TestGoodCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range w.Good() {
		id, status, err := w.ask(t, c)
		if status != http.StatusOK || id.Subject == "" || id.Name == "" {
			t.Errorf("%s, %s: got %d, %v and %+v, want it let in", c.Setup, c.Name, status, err, id)
		}
	}
}

func TestHostileCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cases := w.Hostile()
	if len(cases) < 150 {
		t.Fatalf("got %d cases, want all of them", len(cases))
	}
	for range 2 { // the second time with all that is remembered of the first
		for _, c := range cases {
			id, status, err := w.ask(t, c)
			if status != c.Status || id != nil {
				t.Errorf("%s, %s: got %d, %v and identity %v, want %d", c.Setup, c.Name, status, err, id, c.Status)
			}
			for _, secret := range append(c.Header["X-Api-Key"], c.Header["Authorization"]...) {
				if len(secret) > 10 && err != nil && strings.Contains(err.Error(), secret) {
					t.Errorf("%s: the error quotes the credential: %v", c.Name, err)
				}
			}
		}
	}
	if lured := w.Issuer.Lured.Load(); lured != 0 {
		t.Errorf("a token had keys fetched from where it said, %d times", lured)
	}
	if fetches := w.Issuer.Fetches.Load(); fetches > 2 {
		t.Errorf("unknown keys had the issuer asked %d times, want at most 2 in so short a time", fetches)
	}
}
