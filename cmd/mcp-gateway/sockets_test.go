package main

import (
	"strings"
	"testing"

	"mcpgateway/runtime/config"
)

// One address is told for each transport, with TLS where it has it.
func TestAddresses(t *testing.T) {
	t.Parallel()
	tls := certificate(t, func(own []byte) []byte { return own })
	tests := []struct {
		name, transports string
		want             addresses // PORT stands for any number, HTTP for that of HTTP's listener
		names            string
	}{
		{"http", "{}", addresses{HTTP: "http://127.0.0.1:HTTP"}, "http:admin"},
		{"all on http", "{grpc: {enabled: true}, websocket: {enabled: true}, sse: {enabled: true}}",
			addresses{HTTP: "http://127.0.0.1:HTTP", GRPC: "127.0.0.1:PORT", WebSocket: "ws://127.0.0.1:HTTP", SSE: "http://127.0.0.1:HTTP"}, "grpc:http:admin"},
		{"without http", "{http: {enabled: false, tls: " + tls + "}, websocket: {enabled: true, address: '::1'}, sse: {enabled: true}}",
			addresses{WebSocket: "wss://[::1]:PORT", SSE: "https://127.0.0.1:PORT"}, "sse:websocket:admin"},
		{"everywhere", "{http: {address: 0.0.0.0}}", addresses{HTTP: "http://0.0.0.0:HTTP"}, "http:admin"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg, _, err := config.Parse("t.yaml", []byte("transports: "+tt.transports), nil)
			if err != nil {
				t.Fatal(err)
			}
			var s sockets
			var got addresses
			if _, err := s.listenAll(&cfg.Transports, nil, &got); err != nil {
				t.Fatal(err)
			}
			defer s.close()
			_, port, _ := strings.Cut(strings.TrimPrefix(got.HTTP, "http://"), ":")
			for _, pair := range [][2]*string{{&got.HTTP, &tt.want.HTTP}, {&got.GRPC, &tt.want.GRPC}, {&got.WebSocket, &tt.want.WebSocket}, {&got.SSE, &tt.want.SSE}} {
				want := strings.ReplaceAll(*pair[1], "HTTP", port)
				prefix, isAny := strings.CutSuffix(want, "PORT")
				fits := *pair[0] == want || isAny && strings.HasPrefix(*pair[0], prefix) && !strings.HasSuffix(*pair[0], ":0")
				if !fits {
					t.Errorf("got %s, want %s", *pair[0], want)
				}
			}
			if want := "http://127.0.0.1:"; !strings.HasPrefix(got.Admin, want) {
				t.Errorf("admin: got %s, want %s…", got.Admin, want)
			}
			if got := strings.Join(s.names, ":"); got != tt.names || len(s.files) != len(s.names) {
				t.Errorf("listeners: got %s and %d files, want %s", got, len(s.files), tt.names)
			}
		})
	}
}
