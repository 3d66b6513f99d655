package authn_test

import (
	"crypto/x509"
	"testing"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/authn"
	"mcpgateway/policy/authntest"
)

type certificate = x509.Certificate

func TestCertificateNames(t *testing.T) {
	t.Parallel()
	w := authntest.New(t)
	state, _ := newState(t)
	all := authntest.Subject{CN: "cn", DNS: "host.example", Email: "a@example.com", URI: "spiffe://example.org/a"}
	for _, tt := range []struct {
		name, configured string
		of               authntest.Subject
		subject, as      string // "": refused
	}{
		{"all", "", all, "mtls:spiffe://example.org/a", "spiffe://example.org/a"},
		{"email", "", authntest.Subject{CN: "cn", DNS: "host.example", Email: "a@example.com"}, "mtls:email:a@example.com", "a@example.com"},
		{"DNS", "", authntest.Subject{CN: "cn", DNS: "host.example"}, "mtls:dns:host.example", "host.example"},
		{"CN", "", authntest.Subject{CN: "a@example.com"}, "mtls:cn:a@example.com", "a@example.com"},
		{"another URI", "", authntest.Subject{CN: "cn", URI: "https://example.org/a"}, "mtls:cn:cn", "cn"},
		{"URI wanted", "uri", authntest.Subject{URI: "https://example.org/a"}, "mtls:uri:https://example.org/a", "https://example.org/a"},
		{"CN wanted", "cn", all, "mtls:cn:cn", "cn"},
		{"SPIFFE wanted, not there", "spiffe", authntest.Subject{CN: "cn", DNS: "host.example"}, "", ""},
		{"email wanted, not there", "email", authntest.Subject{CN: "a@example.com"}, "", ""},
	} {
		p := w.Authentication(authntest.Certificates)
		p.CertificateName = tt.configured
		a := newAuthenticator(t, p, nil, state)
		connection, err := handshake(t, w, authntest.Case{Setup: authntest.Certificates, Certificate: w.CA.Sign(tt.of)})
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		id, _ := ask(t, a, authn.Request{TLS: connection})
		if id.Subject != tt.subject || id.Certificate != tt.as || id.Name != tt.as {
			t.Errorf("%s: got %+v, want %q", tt.name, id, tt.subject)
		}
		if tt.subject != "" && (id.Method != policy.MethodMTLS || time.Until(id.Expires) < 59*time.Minute) {
			t.Errorf("%s: got %+v", tt.name, id)
		}
	}
}

// A connection may live long: what has ended meanwhile ends it.
func TestCertificateIsJudgedAgain(t *testing.T) {
	t.Parallel()
	w := authntest.New(t)
	state, clock := newState(t)
	p := w.Authentication(authntest.Certificates)
	a := newAuthenticator(t, p, nil, state)
	connection, err := handshake(t, w, authntest.Case{Setup: authntest.Certificates, Certificate: w.CA.Sign(authntest.Subject{CN: "alice", Serial: 7})})
	if err != nil {
		t.Fatal(err)
	}
	request := authn.Request{TLS: connection}
	if _, kind := ask(t, a, request); kind != good {
		t.Fatalf("got kind %d", kind)
	}
	with := func(ca *authntest.Authority, list []byte) *authn.Authenticator {
		clients := policy.Clients{CA: ca.PEM, Revoked: list}
		p.Clients = map[string]policy.Clients{"http": clients, "grpc": clients}
		return newAuthenticator(t, p, nil, state)
	}
	another := authntest.New(t).CA
	if _, kind := ask(t, with(another, nil), request); kind != authn.Invalid {
		t.Errorf("its authority was taken away: got kind %d, want Invalid", kind)
	}
	if _, kind := ask(t, with(w.CA, w.CA.List(time.Now().Add(-time.Minute))), request); kind != authn.Invalid {
		t.Errorf("the list has run out: got kind %d, want Invalid", kind)
	}
	w.CA.Revoke(7)
	if _, kind := ask(t, with(w.CA, w.CA.List(time.Now().Add(time.Minute))), request); kind != authn.Invalid {
		t.Errorf("it was revoked: got kind %d, want Invalid", kind)
	}
	open := with(w.CA, nil)
	if _, kind := ask(t, open, request); kind != good {
		t.Errorf("without lists: got kind %d", kind)
	}
	unverified := *connection
	unverified.VerifiedChains = nil
	if _, kind := ask(t, open, authn.Request{TLS: &unverified}); kind != authn.Invalid {
		t.Errorf("not verified: got kind %d, want Invalid", kind)
	}
	clock.advance(2 * time.Hour)
	if _, kind := ask(t, open, request); kind != authn.Expired {
		t.Errorf("it has expired: got kind %d, want Expired", kind)
	}
}
