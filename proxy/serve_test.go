package proxy

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"testing"

	"mcpgateway/policy"
	"mcpgateway/proxy/proxytest"
)

// at is a listener by its address.
type at struct {
	net.Listener
	address net.Addr
}

func (l at) Addr() net.Addr { return l.address }

func tcp(address string) []net.Listener {
	parsed, _ := net.ResolveTCPAddr("tcp", address) // numbers only
	return []net.Listener{at{address: parsed}}
}

func TestPlainTextIsTold(t *testing.T) {
	t.Parallel()
	own := proxytest.NewAuthority(t, "test").Sign("localhost")
	unix := []net.Listener{at{address: &net.UnixAddr{Name: "/s", Net: "unix"}}}
	tests := []struct {
		name       string
		http, grpc *policy.TLS
		listeners  Listeners
		want       string // transports
	}{
		{"loopback", nil, nil, Listeners{HTTP: tcp("127.0.0.1:1"), GRPC: tcp("[::1]:2"), WebSocket: unix}, ""},
		{"everywhere", nil, nil, Listeners{HTTP: tcp("0.0.0.0:1"), GRPC: tcp("[::]:2"), WebSocket: tcp("192.0.2.1:3"), SSE: tcp("[2001:db8::1]:4")}, "http websocket sse grpc"},
		{"with TLS", own, own, Listeners{HTTP: tcp("0.0.0.0:1"), GRPC: tcp("[::]:2"), WebSocket: tcp("192.0.2.1:3"), SSE: tcp("[2001:db8::1]:4")}, ""},
		{"but for gRPC", own, nil, Listeners{HTTP: tcp("0.0.0.0:1"), GRPC: tcp("[::]:2"), WebSocket: tcp("192.0.2.1:3")}, "grpc"},
		{"but for HTTP", nil, own, Listeners{GRPC: tcp("[::]:2"), SSE: tcp("192.0.2.1:3")}, "sse"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			rules := &policy.Policy{HTTP: policy.HTTP{TLS: tt.http}, GRPC: policy.GRPC{TLS: tt.grpc}}
			warnOfPlainText(slog.New(slog.NewTextHandler(&log, nil)), rules, tt.listeners)
			var got []string
			for line := range strings.Lines(log.String()) {
				if _, of, ok := strings.Cut(line, " transport="); ok && strings.Contains(line, "without TLS") {
					name, _, _ := strings.Cut(of, " ")
					got = append(got, name)
				}
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
