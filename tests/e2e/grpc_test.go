package e2e_test

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mcpgateway/tests/installation"
)

// grpcurl builds the client that knows of a service only what reflection tells it,
// at the version that tools/proto names.
func grpcurl(t *testing.T) (run func(stdin string, args ...string) (out string, err error)) {
	t.Helper()
	dir := t.TempDir()
	if err := installation.Programs(dir, "-modfile=../../tools/proto/go.mod", "github.com/fullstorydev/grpcurl/cmd/grpcurl"); err != nil {
		t.Fatal(err)
	}
	return func(stdin string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "grpcurl"), args...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
}

// framed puts messages into the form that grpcurl reads for Connect.
func framed(messages ...string) string {
	var all strings.Builder
	for _, m := range messages {
		fmt.Fprintf(&all, `{"json":%q}`, base64.StdEncoding.EncodeToString([]byte(m)))
	}
	return all.String()
}

// unframed gives the messages that grpcurl printed of Connect.
func unframed(t *testing.T, out string) (messages []string) {
	t.Helper()
	for d := json.NewDecoder(strings.NewReader(out)); ; {
		var m struct{ JSON []byte }
		err := d.Decode(&m)
		if err == io.EOF {
			return messages
		}
		if err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		messages = append(messages, string(m.JSON))
	}
}

// TestGrpcurl calls a server in a sandbox in every way that gRPC has, both eras,
// with a client certificate and without.
func TestGrpcurl(t *testing.T) {
	t.Parallel()
	run := grpcurl(t)
	ca, dir := newAuthority(t), folder(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(at("ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.certificate.Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	ca.write(t, at("cert.pem"), at("key.pem"))
	g := start(t, fmt.Sprintf("transports: {grpc: {enabled: true, tls: {cert_file: %q, key_file: %q, client_ca_file: %q}}}\n", at("cert.pem"), at("key.pem"), at("ca.pem")),
		servers(testserver("test")))
	ca.write(t, at("client.pem"), at("client-key.pem"))
	proof := []string{"-cacert", at("ca.pem"), "-cert", at("client.pem"), "-key", at("client-key.pem")}
	key := []string{"-H", "authorization: Bearer " + g.addresses.Key}
	call := func(stdin, target string, extra ...string) (string, error) {
		return run(stdin, append(append(append(append([]string{}, proof...), key...), extra...), "-d", "@", g.addresses.GRPC, target)...)
	}

	out, err := run("", append(append(append([]string{}, proof...), key...), g.addresses.GRPC, "list")...)
	if err != nil || !strings.Contains(out, "mcpgateway.v1.Gateway\n") || !strings.Contains(out, "grpc.health.v1.Health\n") {
		t.Errorf("list: got %s, %v", out, err)
	}
	tests := []struct {
		name, stdin, method string
		extra               []string
		want                []string
	}{
		{"discover", `{"scope":{"server":"test"}}`, "Discover", nil, []string{`"test"`, `supportedVersions`}},
		{"a tool", `{"scope":{"server":"test"},"method":"tools/call","paramsJson":"{\"name\":\"echo\",\"arguments\":{\"text\":\"hello\"}}"}`, "Call", nil, []string{"hello"}},
		{"a tool, streamed", `{"scope":{"server":"test"},"method":"tools/call","paramsJson":"{\"name\":\"echo\",\"arguments\":{\"text\":\"hello\"}}"}`, "CallStream", nil, []string{"hello"}},
	}
	for _, tt := range tests {
		out, err := call(tt.stdin, "mcpgateway.v1.Gateway/"+tt.method, tt.extra...)
		for _, want := range tt.want {
			if err != nil || !strings.Contains(out, want) {
				t.Errorf("%s: got %s, %v, want %s", tt.name, out, err, want)
			}
		}
	}
	out, err = call(`{"scope":{"server":"nobody"},"method":"tools/list"}`, "mcpgateway.v1.Gateway/Call")
	if err == nil || !strings.Contains(out, "Code: NotFound") || !strings.Contains(out, "mcpgateway.v1.Error") {
		t.Errorf("no such server: got %s, %v", out, err)
	}

	out, err = call(framed(
		`{"jsonrpc":"2.0","id":"new","method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`,
		`{"jsonrpc":"2.0","id":"old","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`,
		`{"jsonrpc":"2.0","method":"notifications/initialized"}`,
		`{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"echo","arguments":{"text":"once more"}}}`,
	), "mcpgateway.v1.Gateway/Connect", "-H", "mcp-server: test")
	if err != nil {
		t.Fatalf("connect: %v: %s", err, out)
	}
	messages := unframed(t, out)
	joined := strings.Join(messages, "\n")
	for _, want := range []string{`"id":"new"`, `"id":"old"`, `"id":9`, `"protocolVersion":"2025-11-25"`, "once more"} {
		if len(messages) != 3 || !strings.Contains(joined, want) {
			t.Errorf("connect: got %s, want %s", joined, want)
		}
	}

	for name, args := range map[string][]string{
		"no certificate": append([]string{"-cacert", at("ca.pem")}, key...),
		"no TLS":         append([]string{"-plaintext"}, key...),
		"no key":         proof,
	} {
		out, err := run("", append(append([]string{"-connect-timeout", "5"}, args...), g.addresses.GRPC, "list")...)
		if err == nil || strings.Contains(out, "Gateway\n") {
			t.Errorf("%s: got %s", name, out)
		}
	}
}
