package certs

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"mcpgateway/policy"
	"mcpgateway/proxy/proxytest"
)

func pair(t *testing.T, of *policy.TLS) []tls.Certificate {
	t.Helper()
	own, err := tls.X509KeyPair(of.Certificate, of.Key)
	if err != nil {
		t.Fatal(err)
	}
	return []tls.Certificate{own}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	ca := proxytest.NewAuthority(t, "clients")
	good, other := ca.Sign("server"), ca.Sign("other")
	with := func(clientCA ...[]byte) *policy.TLS {
		return &policy.TLS{Certificate: good.Certificate, Key: good.Key, ClientCA: bytes.Join(clientCA, []byte("a remark\n"))}
	}
	tests := []struct {
		name string
		of   *policy.TLS
		want string // in the error
	}{
		{"plain text", nil, ""},
		{"good", good, ""},
		{"good with clients", with(ca.PEM, proxytest.NewAuthority(t, "more").PEM), ""},
		{"empty", &policy.TLS{}, "certificate and key: "},
		{"no key", &policy.TLS{Certificate: good.Certificate}, "certificate and key: "},
		{"another's key", &policy.TLS{Certificate: good.Certificate, Key: other.Key}, "certificate and key: "},
		{"a CA without PEM", with([]byte("clients")), "client CA: there is no PEM certificate"},
		{"a key among the CAs", with(ca.PEM, good.Key), `client CA: part 2 is a "PRIVATE KEY"`},
		{"a broken CA", with(ca.PEM, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})), "client CA: part 2: "},
		{"a client for its CA", with(ca.PEM, other.Certificate), `client CA: part 2, the certificate of "CN=other", is not`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := Check(tt.of)
			if (err == nil) != (tt.want == "") || (err != nil && !strings.HasPrefix(err.Error(), tt.want)) {
				t.Errorf("got error %v, want %q", err, tt.want)
			}
			if err != nil && tt.of.Key != nil && strings.Contains(err.Error(), string(tt.of.Key)) {
				t.Error("the error holds the key")
			}
		})
	}
}

// serve echoes what clients of a listener send, who it is by the policy that the
// function stores.
func serve(t *testing.T) (address string, put func(*policy.TLS)) {
	t.Helper()
	var now atomic.Pointer[policy.TLS]
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := Listener(plain, now.Load, "h2")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(conn, conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
	return plain.Addr().String(), now.Store
}

// echo reports how a client fares: it sends a byte and waits for it.
func echo(conn net.Conn, err error) error {
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte{1}); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1)) // of TLS 1.3: only now is a client refused
	return err
}

// Each connection is served by the policy of its time, and nothing that a client
// kept from another time helps it.
func TestListenerFollowsThePolicy(t *testing.T) {
	t.Parallel()
	servers, clients, strangers := proxytest.NewAuthority(t, "servers"), proxytest.NewAuthority(t, "clients"), proxytest.NewAuthority(t, "strangers")
	address, put := serve(t)
	dial := func(config *tls.Config) error {
		config.RootCAs, config.MinVersion = servers.Roots(), tls.VersionTLS12
		conn, err := tls.Dial("tcp", address, config)
		if err == nil && conn.ConnectionState().DidResume {
			t.Error("a ticket was taken")
		}
		return echo(conn, err)
	}
	tickets := tls.NewLRUClientSessionCache(8)
	known := &tls.Config{Certificates: pair(t, clients.Sign("known")), ClientSessionCache: tickets}
	closed := func(name string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s: got an answer", name)
		}
	}
	open := func(name string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: got error %v", name, err)
		}
	}

	open("plain text, as configured", echo(net.Dial("tcp", address)))
	own := servers.Sign("gateway")
	put(own)
	open("TLS", dial(&tls.Config{}))
	open("TLS 1.2", dial(&tls.Config{MaxVersion: tls.VersionTLS12}))
	closed("a weak suite", dial(&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}))
	closed("another protocol", dial(&tls.Config{NextProtos: []string{"spdy/3"}}))
	with := *own
	with.ClientCA = clients.PEM
	put(&with)
	closed("no certificate", dial(&tls.Config{}))
	closed("no certificate, TLS 1.2", dial(&tls.Config{MaxVersion: tls.VersionTLS12}))
	closed("a stranger's", dial(&tls.Config{Certificates: pair(t, strangers.Sign("stranger"))}))
	open("a known client's", dial(known))
	open("a known client's next", dial(known))
	without := with
	without.ClientCA = strangers.PEM
	put(&without)
	closed("no longer known", dial(known))
	put(strangers.Sign("impostor"))
	closed("a new certificate", dial(&tls.Config{}))
}

// A client of the old TLS is refused before anything else.
func TestOldTLS(t *testing.T) {
	t.Parallel()
	ca := proxytest.NewAuthority(t, "servers")
	address, put := serve(t)
	put(ca.Sign("gateway"))
	conn, err := tls.Dial("tcp", address, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11, InsecureSkipVerify: true})
	if echo(conn, err) == nil {
		t.Error("got an answer")
	}
}
