package conformance_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long anything may take that has no limit of its own.
const patience = 60 * time.Second

// uidPool is of these tests alone: other gateways on this host have the default
// pool, and tests/e2e has its own.
const uidPool = 0x50000000

// start runs a gateway until the end of the test and returns the address of a
// forwarder before it. The suite can't send an Authorization header, so that the
// forwarder adds it, and changes nothing else. Its tests of DNS rebinding need the
// address to say localhost.
func start(t *testing.T, servers ...string) (address string) {
	t.Helper()
	dir, err := os.MkdirTemp(built.top, "gateway-")
	if err != nil {
		t.Fatal(err)
	}
	config, ready := filepath.Join(dir, "mcp-gateway.yaml"), filepath.Join(dir, "ready.json")
	text := fmt.Sprintf("version: \"1.0\"\nsandbox: {uid_pool: {start: %d, count: 64}}\nservers:\n%s", uidPool, strings.Join(servers, ""))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(built.bin, "mcp-gateway"), "up", "--config", config, "--state", filepath.Join(dir, "state"), "--ready-file", ready, "--with-key")
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGINT) // it may have ended
		if err := <-ended; err != nil {
			t.Errorf("the gateway ended with %v", err)
		}
		if t.Failed() {
			t.Logf("the gateway's log:\n%s", log.Bytes()[max(0, log.Len()-8<<10):])
		}
	})
	var addresses struct{ HTTP, Key string }
	deadline := time.After(patience)
	for tick := time.NewTicker(20 * time.Millisecond); addresses.HTTP == ""; {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the gateway ended (%v) before it was ready", err)
		case <-deadline:
			t.Fatalf("the gateway is not ready after %s", patience)
		case <-tick.C:
			if content, err := os.ReadFile(ready); err == nil {
				if err := json.Unmarshal(content, &addresses); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return forward(t, addresses.HTTP, addresses.Key)
}

// forward adds the key to every request and passes on all else as it is.
func forward(t *testing.T, to, key string) (address string) {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
			r.Out.Header.Set("Authorization", "Bearer "+key)
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			t.Logf("forward %s %s: %v", r.Method, r.URL.Path, err)
			w.WriteHeader(http.StatusBadGateway)
		},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// An answer that comes while the body is being read ends the reading, and with
		// it the connection to the gateway.
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Logf("forward %s %s: %v", r.Method, r.URL.Path, err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
}

// entry is a server of the configuration.
func entry(name, command string, args ...string) string {
	return fmt.Sprintf("  %s:\n    command: %s\n    args: [%s]\n    mounts: [%q, %q]\n", name, command, strings.Join(args, ", "),
		built.programs+":/srv/programs", built.npm+":/srv/npm")
}
