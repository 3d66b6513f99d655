package httpfront

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"mcpgateway/proxy/mcp"
)

// A client that does not read its stream stalls nobody, not even itself.
func TestSlowReaderStallsNobody(t *testing.T) {
	g := newGateway(t, nil)
	session := g.session("echo")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	flood := toolCall("1", "progress", `,"arguments":{"n":50000},"_meta":{"progressToken":"`+strings.Repeat("t", 200)+`"}`)
	response, err := http.DefaultClient.Do(g.request("POST", "echo", flood, session).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() // never read
	if got := g.do("POST", "echo", toolCall("2", "again", ""), session); got.status != http.StatusOK || !strings.Contains(got.body, `"id":2`) {
		t.Errorf("the same session: got %+v", got)
	}
}

func TestBigAnswer(t *testing.T) {
	g := newGateway(t, nil)
	got := g.do("POST", "echo", toolCall("1", "big", `,"arguments":{"n":4000000}`), g.session("echo"))
	if got.status != http.StatusOK || strings.Count(got.body, "x") < 4000000 {
		t.Errorf("got %d with %d bytes", got.status, len(got.body))
	}
	got = g.do("POST", "echo", toolCall("1", "big", `,"arguments":{"n":5000000}`), g.session("echo"))
	if !strings.Contains(got.body, `it sent a line of more than 4194304 bytes`) {
		t.Errorf("got %d %.200s", got.status, got.body)
	}
}

func TestPanicEndsOneRequest(t *testing.T) {
	t.Parallel()
	front := New(func() *Current { panic("a bug") }, slog.New(slog.NewTextHandler(t.Output(), nil)))
	w := httptest.NewRecorder()
	front.ServeHTTP(w, httptest.NewRequest("POST", "/servers/x/mcp", nil))
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "bug") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestServerOf(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/servers/files/mcp": "files", "/servers/a b/mcp": "a b",
		"/servers//mcp": "", "/servers/mcp": "", "/servers/a/b/mcp": "", "/servers/a/mcp/": "", "/mcp": "", "": "",
	} {
		got, ok := serverOf(path)
		if ok != (want != "") || (ok && got != want) {
			t.Errorf("%q: got %q, %v, want %q", path, got, ok, want)
		}
	}
}

// Headers come from anybody: no value may panic, and none may pass for another.
func FuzzHeaders(f *testing.F) {
	f.Add("2026-07-28", "tools/call", "=?base64?eA==?=", "localhost:80", "http://[::1]:1", "x")
	f.Fuzz(func(t *testing.T, revision, method, name, host, origin, tool string) {
		h := http.Header{mcp.HeaderRevision: {revision}, mcp.HeaderMethod: {method}, mcp.HeaderName: {name}}
		originAllowed(origin, hostname(host), nil)
		hostAllowed(&http.Request{Host: host}, []string{origin})
		body := []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":` + string(mcp.Quote(tool)) +
			`,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`)
		m, err := mcp.Parse(body)
		if err != nil {
			t.Fatal(err)
		}
		stateless, refused := era(h, m)
		if refused != nil {
			return
		}
		decoded, ok := decodeHeader(name)
		if !stateless || revision != "2026-07-28" || method != "tools/call" || !ok || decoded != strings.ToValidUTF8(tool, "\uFFFD") {
			t.Errorf("passed: revision %q, method %q, name %q for tool %q", revision, method, name, tool)
		}
	})
}
