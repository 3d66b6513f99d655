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

func TestListenersAreJudged(t *testing.T) {
	t.Parallel()
	own := proxytest.NewAuthority(t, "test").Sign("localhost")
	unix := []net.Listener{at{address: &net.UnixAddr{Name: "/s", Net: "unix"}}}
	all := []string{"http", "grpc", "websocket", "sse"}
	everywhere := Listeners{HTTP: tcp("0.0.0.0:1"), GRPC: tcp("[::]:2"), WebSocket: tcp("192.0.2.1:3"), SSE: tcp("[2001:db8::1]:4")}
	tests := []struct {
		name       string
		on         []string
		http, grpc *policy.TLS
		listeners  Listeners
		want       string // transports without TLS
		err        string
	}{
		{"loopback", all, nil, nil, Listeners{HTTP: tcp("127.0.0.1:1"), GRPC: tcp("[::1]:2"), WebSocket: unix}, "", ""},
		{"everywhere", all, nil, nil, everywhere, "http grpc websocket sse", ""},
		{"with TLS", all, own, own, everywhere, "", ""},
		{"but for gRPC", all, own, nil, everywhere, "grpc", ""},
		{"but for HTTP", all, nil, own, Listeners{GRPC: tcp("[::]:2"), SSE: tcp("192.0.2.1:3")}, "sse", ""},
		{"gRPC is off", all[:1], nil, nil, Listeners{HTTP: tcp("127.0.0.1:1"), GRPC: tcp("[::1]:2")}, "", "a listener for grpc was passed, [::1]:2, but transports.grpc is off"},
		{"HTTP is off", all[1:], nil, nil, Listeners{HTTP: tcp("127.0.0.1:1")}, "", "transports.http is off"},
		{"none passed", nil, nil, nil, Listeners{}, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			rules := &policy.Policy{HTTP: policy.HTTP{TLS: tt.http}, GRPC: policy.GRPC{TLS: tt.grpc}, Transports: tt.on}
			err := tt.listeners.judge(rules, slog.New(slog.NewTextHandler(&log, nil)))
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %v, want %q", err, tt.err)
			}
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
