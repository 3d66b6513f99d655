package e2e_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"mcpgateway/proxy/mcp"
)

// maxProxyKB bounds what the proxy may hold after, and while, a client or a server
// sends what it should not.
const maxProxyKB = 200 << 10

// residentKB is a process's memory at its highest (VmHWM, proc_pid_status(5)).
func residentKB(t *testing.T, pid int) int {
	t.Helper()
	kb, err := strconv.Atoi(strings.TrimSuffix(status(pid)["VmHWM"], " kB"))
	if err != nil {
		t.Fatal(err)
	}
	return kb
}

// checkWell asserts that the gateway still serves and is no larger than it may be.
func (g *gateway) checkWell(t *testing.T) {
	t.Helper()
	if got, want := g.open(t, "good").ask(t, "echo", struct{}{}), "{}"; got != want {
		t.Errorf("the good server: got %q, want %q", got, want)
	}
	if got := residentKB(t, g.proxy); got > maxProxyKB {
		t.Errorf("the proxy took %d KiB, want at most %d", got, maxProxyKB)
	}
}

func TestBadClient(t *testing.T) {
	t.Parallel()
	g := start(t, "transports: {http: {max_body_mb: 1}}\n", servers(testserver("good")))
	tests := []struct {
		name   string
		body   string
		status int
		code   int
		text   string
	}{
		{"truncated", `{"jsonrpc":"2.0","id":1,"method":"to`, http.StatusBadRequest, mcp.CodeParse, ""},
		{"empty", ``, http.StatusBadRequest, mcp.CodeParse, ""},
		{"garbage", "\x00\xff<xml>", http.StatusBadRequest, mcp.CodeParse, ""},
		{"text after it", `{"jsonrpc":"2.0","id":1,"method":"ping"} x`, http.StatusBadRequest, mcp.CodeParse, ""},
		{"oversized", `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"` + strings.Repeat("x", 1<<20) + `"}}`, http.StatusRequestEntityTooLarge, mcp.CodeInvalidRequest, "1048576 bytes"},
		{"deep", strings.Repeat(`[`, 500_000), http.StatusBadRequest, 0, ""},
		{"twice the same member", `{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}`, http.StatusBadRequest, 0, ""},
		{"batch", `[{"jsonrpc":"2.0","id":1,"method":"ping"}]`, http.StatusBadRequest, mcp.CodeInvalidRequest, ""},
		{"no method", `{"jsonrpc":"2.0","id":1}`, http.StatusBadRequest, mcp.CodeInvalidRequest, ""},
		{"no session", `{"jsonrpc":"2.0","id":1,"method":"ping"}`, http.StatusBadRequest, mcp.CodeInvalidRequest, "initialize"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := g.at("good").post(t, tt.body)
			id := "" // the transport allows an error without one (2025-11-25, streamable HTTP)
			if strings.Contains(string(a.message), `"id":1`) {
				id = "1" // the request was whole enough to see it
			}
			code, text := a.rpcError(t, id)
			if a.status != tt.status || (tt.code != 0 && code != tt.code) || !strings.Contains(text, tt.text) {
				t.Errorf("got status %d, code %d, %q; want %d, %d, %q", a.status, code, text, tt.status, tt.code, tt.text)
			}
		})
	}
	g.checkWell(t)
}

// TestBadServer calls servers that misbehave in a call.
func TestBadServer(t *testing.T) {
	t.Parallel()
	g := start(t, servers(
		testserver("good"),
		testserver("bad", "timeout: 30s", "resources: {max_memory_mb: 256}", "circuit_breaker: {enabled: false}", "restart: {backoff: 10ms}"),
		testserver("hasty", "timeout: 1s"),
		testserver("pipes", "timeout: 30s", "stdio: pipes"),
		testserver("small", "resources: {max_memory_mb: 32}")))
	tests := []struct {
		server, tool string
		n            int
		want         string
		goes         bool // the whole server is gone
	}{
		{"bad", "endless-line", 100, `server "bad" was stopped: it sent a line of more than 50331648 bytes`, true},
		{"bad", "exit", 7, `server "bad" exited with status 7 after `, true},
		{"bad", "exit", 0, `server "bad" exited with status 0 after `, true},
		{"bad", "crash", 11, `server "bad" was ended by signal 11 (SIGSEGV) after `, true},
		{"bad", "crash", 9, `server "bad" was ended by signal 9 (SIGKILL) after `, true},
		{"pipes", "close-stdout", 0, `server "pipes" was stopped: it closed its input or output`, true},
		// Its standard input is the same socket, which is still open.
		{"hasty", "close-stdout", 1, `server "hasty" did not answer "tools/call" within 1s, its limit`, false},
		{"hasty", "hang", 0, `server "hasty" did not answer "tools/call" within 1s, its limit`, false},
		{"small", "memory", 512, `server "small" was ended: it reached its memory limit of 32 MiB`, true},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.tool, " ", tt.n), func(t *testing.T) {
			s := g.open(t, tt.server)
			i := g.only(t, tt.server)
			a := s.call(t, tt.tool, fmt.Sprintf(`{"n":%d}`, tt.n))
			code, text := a.rpcError(t, "1")
			if a.status != http.StatusOK || code != mcp.CodeInternal || !strings.HasPrefix(text, tt.want) {
				t.Errorf("got status %d, code %d, %q; want %d, %d, %q…", a.status, code, text, http.StatusOK, mcp.CodeInternal, tt.want)
			}
			if tt.goes {
				g.gone(t, i)
				if again := s.call(t, "echo", `{}`); again.status != http.StatusOK || !bytes.Contains(again.message, []byte(`"result"`)) {
					t.Errorf("in a session whose server was gone: got %d %s, want another's answer", again.status, again.message)
				}
				i = g.only(t, tt.server)
			}
			s.end(t)
			g.gone(t, i)
		})
	}
	g.checkWell(t)
}

// TestBadStart opens servers that are bad from the start.
func TestBadStart(t *testing.T) {
	t.Parallel()
	misbehaving := func(name, kind string, n int) string {
		return testserver(name, fmt.Sprintf(`args: [-misbehave, %s, -n, "%d"]`, kind, n), "timeout: 1s")
	}
	g := start(t, servers(
		testserver("good"),
		misbehaving("exits", "exit", 3), misbehaving("crashes", "crash", 6), misbehaving("hangs", "hang", 0),
		misbehaving("deaf", "no-read", 0), misbehaving("mute", "close-stdout", 0), misbehaving("endless", "endless-line", 100),
		entry("noise", "command: /bin/sh", "args: [-c, 'while :; do echo noise; done']", "timeout: 1s"),
		entry("away", "command: /usr/bin/no-such-program", "timeout: 1s")))
	tests := []struct {
		server string
		want   string
	}{
		{"exits", `server "exits" exited with status 3 after `},
		{"crashes", `server "crashes" was ended by signal 6 (SIGABRT) after `},
		{"hangs", `server "hangs" did not answer "initialize" within 1s, its limit`},
		{"deaf", `server "deaf" did not answer "initialize" within 1s, its limit`},
		{"mute", `server "mute" `}, // its end and the time-out race
		{"endless", `server "endless" was stopped: it sent a line of more than 50331648 bytes`},
		{"noise", `server "noise" did not answer "initialize" within 1s, its limit; it wrote `},
		{"away", `start server "away": command "/usr/bin/no-such-program" is not visible`},
	}
	for _, tt := range tests {
		t.Run(tt.server, func(t *testing.T) {
			a := g.at(tt.server).open(t)
			code, text := a.rpcError(t, "0")
			if a.status != http.StatusOK || code != mcp.CodeInternal || !strings.HasPrefix(text, tt.want) {
				t.Errorf("got status %d, code %d, %q; want %d, %d, %q…", a.status, code, text, http.StatusOK, mcp.CodeInternal, tt.want)
			}
			eventually(t, "the sandbox is gone", func() bool { return len(g.instances(t, tt.server)) == 0 })
		})
	}
	g.checkWell(t)
}

// TestNoise has a server write what it should not, and answer all the same.
func TestNoise(t *testing.T) {
	t.Parallel()
	g := start(t, servers(testserver("good"), testserver("bad")))
	s := g.open(t, "bad")
	if got, want := s.ask(t, "garbage", map[string]int{"n": 1000}), "wrote 1000 lines"; got != want {
		t.Errorf("garbage: got %q, want %q", got, want)
	}
	if got, want := s.ask(t, "flood-stderr", map[string]int{"n": 100}), "wrote 100 MiB"; got != want {
		t.Errorf("flood-stderr: got %q, want %q", got, want)
	}
	if got, want := len(g.log.String()), 1<<20; got > want {
		t.Errorf("the log: got %d bytes, want at most %d", got, want)
	}
	g.checkWell(t)
}

// TestLeftChildren ends a session whose server has started processes that ignore
// SIGTERM and have left its session and its process group.
func TestLeftChildren(t *testing.T) {
	t.Parallel()
	g := start(t, servers(testserver("good"), testserver("bad")))
	s := g.open(t, "bad")
	i := g.only(t, "bad")
	s.ask(t, "fork", map[string]int{"n": 5})
	if got, want := len(processesOf(i.uid, 1)), 12; got < want { // launcher, server, 5 children, 5 grandchildren
		t.Fatalf("processes of the sandbox: got %d, want %d", got, want)
	}
	s.end(t)
	g.gone(t, i)

	// The same when the server ends by itself.
	s = g.open(t, "bad")
	i = g.only(t, "bad")
	s.ask(t, "fork", map[string]int{"n": 5})
	s.call(t, "exit", `{"n":0}`).rpcError(t, "1")
	s.id = ""
	g.gone(t, i)
	g.checkWell(t)
}

// TestUnreadInput sends to a server that reads no more.
func TestUnreadInput(t *testing.T) {
	t.Parallel()
	g := start(t, servers(testserver("good"), testserver("bad", "timeout: 1s")))
	s := g.open(t, "bad")
	s.ask(t, "no-read", struct{}{})
	large := fmt.Sprintf(`{"s":%q}`, strings.Repeat("x", 3<<20))
	wants := []string{
		`server "bad" did not answer "tools/call" within 1s, its limit`,
		`server "bad" does not read its input: "tools/call" waited for 1s, its limit`,
	}
	for _, want := range wants {
		if _, text := s.call(t, "echo", large).rpcError(t, "1"); text != want {
			t.Errorf("got %q, want %q", text, want)
		}
	}
	s.end(t)
	g.checkWell(t)
}
