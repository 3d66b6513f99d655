package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// limitsText bounds one thing for each server. What comes in is too little to notice.
const limitsText = `rate_limit: {enabled: true, requests_per_second: 1000, burst: 1000, per_identity: {requests_per_second: 0.02, burst: 40}}
projects: {p: {rate_limit: {requests_per_second: 0.02, burst: 2}}}
transports: {grpc: {enabled: true}, websocket: {enabled: true}}
`

func limitedServers() string {
	return servers(
		testserver("server", "instances: shared", "rate_limit: {requests_per_second: 0.02, burst: 2}"),
		testserver("project", "instances: shared", "project: p"),
		testserver("tool", "instances: shared", "tools: {echo: {rate_limit: {requests_per_second: 0.02, burst: 2}}}"),
		testserver("free", "instances: shared"),
		testserver("capped", "max_concurrent: 1", "timeout: 30s", "tools: {hang: {timeout: 300ms}}"),
	)
}

// TestRates has callers come too often for each thing that has a limit.
func TestRates(t *testing.T) {
	t.Parallel()
	g := start(t, limitsText+limitedServers())
	const echo = `"name":"echo","arguments":{}`
	fresh := func(name string) asker { return asker{g, g.cli(t, "key", "create", name)} }
	for server, most := range map[string]int{"server": 2, "project": 2, "tool": 2, "free": 40} {
		one := fresh("of " + server)
		at := "/servers/" + server
		served := 0
		var got fate
		for got = one.http(t, at, "tools/call", echo); got.kind == "ok" && served <= most; got = one.http(t, at, "tools/call", echo) {
			served++
		}
		after, err := strconv.Atoi(got.header.Get("Retry-After"))
		if served != most || got.kind != "429" || err != nil || after < 1 || after > 51 {
			t.Errorf("%s: got %d served, then %s %s, Retry-After %d, want %d, 429 and at most 51", server, served, got.kind, got.text, after, most)
		}
		again := one.socket(t, at, "tools/call", echo)
		says := again.kind == "error" && strings.Contains(again.text, `"mcpgateway/retryAfterMs":`)
		if !says && (server != "free" || again.kind != "429") { // who may do nothing is refused as it connects
			t.Errorf("%s by websocket: got %s %s", server, again.kind, again.text)
		}
		if again := one.grpc(t, at, "tools/call", echo); again.kind != "ResourceExhausted" {
			t.Errorf("%s by grpc: got %s %s", server, again.kind, again.text)
		}
		if again := one.rest(t, at+"/tools/echo", "{}"); again.kind != "429" || again.header.Get("Retry-After") == "" {
			t.Errorf("%s by rest: got %s %s", server, again.kind, again.text)
		}
		if other := fresh("other of "+server).http(t, at, "tools/call", echo); (other.kind == "ok") != (server == "free") {
			t.Errorf("%s for another caller: got %s %s", server, other.kind, other.text)
		}
		if other := one.http(t, "/servers/tool", "tools/call", `"name":"counters","arguments":{}`); (other.kind == "ok") != (server != "free") {
			t.Errorf("%s: got %s %s of what has no limit", server, other.kind, other.text)
		}
	}
	// A reload gives nobody a fresh burst, also if it changes the limit.
	for _, burst := range []string{"burst: 2}", "burst: 3}"} {
		g.writeConfig(t, g.pool()+"# again "+burst+"\n"+limitsText+strings.ReplaceAll(limitedServers(), "burst: 2}", burst))
		g.cli(t, "reload")
		for _, server := range []string{"server", "tool"} {
			if got := fresh("after "+server+burst).http(t, "/servers/"+server, "tools/call", echo); got.kind != "429" {
				t.Errorf("%s after a reload with %s: got %s %s", server, burst, got.kind, got.text)
			}
		}
	}
	g.checkWellAt(t, fresh("well"), "free")
}

func (g *gateway) checkWellAt(t *testing.T, one asker, server string) {
	t.Helper()
	if got := one.http(t, "/servers/"+server, "tools/call", `"name":"echo","arguments":{}`); got.kind != "ok" {
		t.Errorf("got %s %s, want another server to serve", got.kind, got.text)
	}
}

// TestCaps has calls end in every way, after each of which there must be room for one.
func TestCaps(t *testing.T) {
	t.Parallel()
	g := start(t, "max_concurrent: {per_identity: 2}\nprojects: {p: {}}\ntransports: {grpc: {enabled: true}, websocket: {enabled: true}}\n"+limitedServers())
	one := asker{g, g.addresses.Key}
	const at = "/servers/capped"
	room := func(after string) {
		t.Helper()
		var got fate
		eventually(t, "there is room after "+after, func() bool {
			got = one.http(t, at, "tools/call", `"name":"echo","arguments":{}`)
			return got.kind != "429"
		})
		if got.kind != "ok" {
			t.Errorf("after %s: got %s %s", after, got.kind, got.text)
		}
	}
	// begin has a call by REST that tells of itself before it is answered.
	begin := func(seconds string) (leave func()) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, g.addresses.HTTP+"/api/v1"+at+"/tools/sleep", strings.NewReader(`{"seconds":`+seconds+`}`))
		if err != nil {
			t.Fatal(err)
		}
		request.Header = http.Header{"X-Api-Key": {one.key}, "Content-Type": {"application/json"}, "Accept": {"text/event-stream"}}
		response, err := http.DefaultClient.Do(request) //nolint:bodyclose // closed by leave
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("got %v, %v", response, err)
		}
		return func() { cancel(); response.Body.Close() }
	}
	room("nothing")
	leave := begin("20")
	got := one.http(t, at, "tools/call", `"name":"echo","arguments":{}`)
	if got.kind != "429" || got.header.Get("Retry-After") == "" || !strings.Contains(got.text, `server \"capped\" may have 1 requests in flight`) {
		t.Errorf("beside a call: got %s %s", got.kind, got.text)
	}
	if got := one.grpc(t, at, "tools/call", `"name":"echo","arguments":{}`); got.kind != "ResourceExhausted" {
		t.Errorf("beside a call, by grpc: got %s %s", got.kind, got.text)
	}
	leave()
	room("the client went")
	for _, call := range []string{`"name":"hang","arguments":{}`, `"name":"exit","arguments":{}`, `"name":"none","arguments":{}`, `"name":"read_file","arguments":{"path":"/none"}`} {
		for name, ask := range one.ways() {
			if name != "session" || !strings.Contains(call, "exit") { // its session ends with it
				ask(t, at, "tools/call", call)
				room(fmt.Sprintf("%s by %s", call, name))
			}
		}
	}
	s := &session{url: g.addresses.HTTP + at + "/mcp", key: one.key}
	s.open(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for refused := true; refused && t.Context().Err() == nil; { // while it is asked below
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url, strings.NewReader(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"sleep","arguments":{"seconds":20}}}`))
			if err != nil {
				t.Error(err)
				return
			}
			request.Header = http.Header{"X-Api-Key": {s.key}, "Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}, "Mcp-Session-Id": {s.id}, "Mcp-Protocol-Version": {"2025-11-25"}}
			refused = false
			if response, err := http.DefaultClient.Do(request); err == nil {
				response.Body.Close()
				refused = response.StatusCode == http.StatusTooManyRequests
			}
		}
	}()
	eventually(t, "the call has begun", func() bool {
		return one.http(t, at, "tools/call", `"name":"echo","arguments":{}`).kind == "429"
	})
	// What cancels a call is not held up by it.
	if a := s.post(t, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`); a.status != http.StatusAccepted {
		t.Errorf("cancel: got %d %s", a.status, a.message)
	}
	room("a cancelled call")
	<-done
	s.end(t)
	room("a session ended")
}
