package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mcpgateway/proxy/proxytest"
)

// certificate writes a certificate and its key, and returns a mapping with them.
func certificate(t *testing.T, keyOf func(own []byte) []byte) string {
	t.Helper()
	own, dir := proxytest.NewAuthority(t, "test").Sign("localhost"), t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, content := range map[string][]byte{cert: own.Certificate, key: keyOf(own.Key)} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return "{cert_file: " + cert + ", key_file: " + key + "}"
}

func TestCheckJudges(t *testing.T) {
	t.Parallel()
	good := certificate(t, func(own []byte) []byte { return own })
	bad := certificate(t, func([]byte) []byte { return proxytest.NewAuthority(t, "other").Sign("localhost").Key })
	tests := []struct {
		name, content string
		want          string // a part of what it says; "" is nothing
		loads         bool
	}{
		{"nothing", "", "", true},
		{"all of the room", "gateway: {max_servers: 9}\nservers:\n  a: {command: sh, instances: shared, replicas: 4, warm: 2}\n  b: {command: sh, warm: 2}\n  c: {command: sh, eager: true}\n  d: {enabled: false, warm: 9}\n", "", true},
		{"too many", "gateway: {max_servers: 8}\nservers:\n  a: {command: sh, instances: shared, replicas: 4, warm: 2}\n  b: {command: sh, warm: 2, eager: true}\n  c: {command: sh, eager: true}\n",
			"gateway.max_servers: is 8, but warm and eager instances and replicas are 9 together", false},
		{"no transport", "transports: {http: {enabled: false}}", "transports: none is enabled", false},
		{"certificate", "transports: {http: {address: 0.0.0.0, tls: " + good + "}, sse: {enabled: true, port: 9}}", "", true},
		{"another's key", "transports: {grpc: {enabled: true, tls: " + bad + "}}", "transports.grpc.tls: certificate and key: ", false},
		{"another's key of http", "transports: {http: {tls: " + bad + "}}", "transports.http.tls: certificate and key: ", false},
		{"plain text", "transports: {http: {address: 0.0.0.0}, sse: {enabled: true, port: 9}}", "warning: transports.http.address: 0.0.0.0 without tls", true},
		{"plain text of one", "transports: {http: {tls: " + good + "}, grpc: {enabled: true, address: '::'}}", "warning: transports.grpc.address: :: without tls", true},
		{"plain text that is off", "transports: {grpc: {address: 0.0.0.0}}", "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "mcp-gateway.yaml")
			if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			var out, problems bytes.Buffer
			err := check(&out, &problems, path, nil, &output{})
			if (err == nil) != tt.loads || (out.Len() > 0) != tt.loads {
				t.Errorf("got %v and %s, want that it loads: %v", err, out.String(), tt.loads)
			}
			if got := problems.String(); tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
