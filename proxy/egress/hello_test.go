package egress

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"mcpgateway/policy"
)

// pipe is a TCP connection over loopback: the client's end and the accepted one.
func pipe(t testing.TB) (near, far *net.TCPConn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dialed, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialed.Close(); accepted.Close() })
	return dialed.(*net.TCPConn), accepted.(*net.TCPConn)
}

func TestReadHello(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]*tls.Config{
		"TLS 1.3":          {ServerName: "api.example.com", MinVersion: tls.VersionTLS13},
		"TLS 1.2":          {ServerName: "api.example.com", MaxVersion: tls.VersionTLS12},
		"many protocols":   {ServerName: "api.example.com", NextProtos: strings.Split(strings.Repeat("proto ", 3000), " ")[:3000]},
		"upper case":       {ServerName: "API.example.com"},
		"without a name":   {InsecureSkipVerify: true},
		"address as name":  {ServerName: "192.0.2.1"},
		"early data after": {ServerName: "api.example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			near, far := pipe(t)
			var sent bytes.Buffer
			ended := make(chan error, 1)
			go func() {
				ended <- tls.Client(tee{near, &sent}, config).Handshake()
			}()
			serverName, read, err := readHello(far)
			if err != nil {
				t.Fatal(err)
			}
			want := config.ServerName
			if net.ParseIP(want) != nil {
				want = ""
			}
			if serverName != want {
				t.Errorf("got %q, want %q", serverName, want)
			}
			far.Close()
			if err := <-ended; err == nil || strings.Contains(err.Error(), "remote error") {
				t.Errorf("the client got %v, and must get nothing of the reader", err)
			}
			if !bytes.Equal(read, sent.Bytes()) {
				t.Errorf("of %d bytes sent %d were kept", sent.Len(), len(read))
			}
		})
	}
}

// tee keeps what is written.
type tee struct {
	net.Conn
	kept *bytes.Buffer
}

func (t tee) Write(p []byte) (int, error) {
	t.kept.Write(p)
	return t.Conn.Write(p)
}

func TestReadHelloRefuses(t *testing.T) {
	t.Parallel()
	endless := append([]byte{22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff}, make([]byte, 2*maxHello)...)
	for name, bytes := range map[string][]byte{
		"HTTP":         []byte("GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n"),
		"SSH":          []byte("SSH-2.0-x\r\n"),
		"nothing":      {},
		"half":         {22, 3, 1, 0, 200, 1, 0},
		"no handshake": {23, 3, 3, 0, 1, 0},
		"endless":      endless,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			near, far := pipe(t)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_, _ = near.Write(bytes) // the reader may have given up
				_ = near.CloseWrite()
			}()
			_, _, err := readHello(far)
			var refused *refusal
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), "no TLS ClientHello on port 443") {
				t.Errorf("got %v", err)
			}
			far.Close()
			<-ended
		})
	}
}

// TestRecorderIsBounded: the parser may read no more than that of a server.
func TestRecorderIsBounded(t *testing.T) {
	t.Parallel()
	near, far := pipe(t)
	go func() { _, _ = io.Copy(near, zeros{}) }()
	r := &recorder{Conn: far}
	n, err := io.Copy(io.Discard, r)
	if n != maxHello || len(r.read) != maxHello || err == nil {
		t.Errorf("got %d bytes, %v", n, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestCheckServerName(t *testing.T) {
	t.Parallel()
	e := newEgress(Instance{Rules: mustRules(t, policy.Network{Allow: []string{"a.example:443", "*.b.example:443", "c.example:80", "192.0.2.1:443"}})})
	tests := []struct {
		meant, sent, reason string
	}{
		{"a.example", "a.example", ""},
		{"a.example", "A.Example", ""},
		{"a.example", "", "without a server name, want a.example"},
		{"a.example", "x.b.example", "is x.b.example, but the connection is to a.example"},
		{"a.example", "evil.example", "is evil.example, but the connection is to a.example"},
		{"a.example", "a.example.evil", "but the connection is to a.example"},
		{"", "", ""},
		{"", "a.example", ""},
		{"", "x.B.example", ""},
		{"", "c.example", "c.example is not in the profile's network.allow"},
		{"", "evil.example", "evil.example is not in the profile's network.allow"},
		{"", "x\x00.b.example", `x\x00.b.example is not in`},
	}
	for _, tt := range tests {
		err := e.checkServerName(tt.meant, tt.sent)
		if (err == nil) != (tt.reason == "") || err != nil && !strings.Contains(err.Error(), tt.reason) {
			t.Errorf("%q for %q: got %v, want %q", tt.sent, tt.meant, err, tt.reason)
		}
	}
}
