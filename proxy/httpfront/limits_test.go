package httpfront

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"mcpgateway/policy"
	"mcpgateway/policy/authn"
	"mcpgateway/proxy/arrivals"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/proxytest"
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

// What a call says while its client is away is bounded; its response is kept.
func TestUnreadCallIsBounded(t *testing.T) {
	g := newGateway(t, nil)
	session := g.session("echo")
	const said = 20 * link.MaxQueue
	stream := g.open("POST", "echo", toolCall("1", "progress", fmt.Sprintf(`,"arguments":{"n":%d},"_meta":{"progressToken":1}`, said)), session)
	first := eventsOf(stream, 2)
	stream.cut()
	g.do("POST", "echo", toolCall("2", "again", ""), session) // answered when all was said
	rest := events(t, g.open("GET", "echo", "", session, "Last-Event-ID: "+first[1].id), said+1)
	if n := len(rest); n == 0 || n > said/2 || !strings.Contains(rest[n-1], `"id":1,"result"`) {
		t.Errorf("got %d events of %d, and the response among them: %v", n, said, n > 0 && strings.Contains(rest[n-1], `"result"`))
	}
}

// Who shows a valid key is no stranger any more, and makes room for one.
func TestKeyMakesKnown(t *testing.T) {
	g := newGateway(t, nil)
	for key, want := range map[string]bool{"mcpgw_x_y": false, g.key: true} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		limited := arrivals.New(arrivals.Fixed(8), 1).Limit(l)
		dial := func() net.Conn {
			conn, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			return conn
		}
		dial()
		first, err := limited.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer first.Close()
		r := httptest.NewRequest("GET", "http://localhost/servers/echo/mcp", nil)
		r.Header.Set("X-API-Key", key)
		g.front.ServeHTTP(httptest.NewRecorder(), r.WithContext(context.WithValue(r.Context(), connectionKey{}, newConnection(first, doorHTTP))))
		accepted := make(chan bool, 1)
		go func() {
			second, err := limited.Accept()
			if accepted <- err == nil; err == nil {
				second.Close()
			}
		}()
		_, _ = dial().Read(make([]byte, 1)) // its end: at once, or when it was accepted
		l.Close()
		if got := <-accepted; got != want {
			t.Errorf("key %.5s: got a second connection accepted: %v, want %v", key, got, want)
		}
	}
}

// A stream of HTTP+SSE that is not read stalls no other, and takes no more memory
// than its queues.
func TestSlowReaderOfSSEStallsNobody(t *testing.T) {
	g := newGateway(t, withSSE)
	_, unread := g.overSSE("echo")
	g.at("POST", unread, initializeBody)
	flood := toolCall("1", "big", `,"arguments":{"n":1000000}`)
	for range 50 {
		if got := g.at("POST", unread, flood); got.status != http.StatusAccepted && got.status != http.StatusServiceUnavailable {
			t.Fatalf("got %+v", got)
		}
	}
	stream, messages := g.overSSE("echo")
	g.at("POST", messages, initializeBody)
	if got := events(t, stream, 1); len(got) != 1 || !strings.Contains(got[0], "serverInfo") {
		t.Errorf("got %q", got)
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

func TestRoute(t *testing.T) {
	t.Parallel()
	one, project := policy.Scope{Server: "a b"}, policy.Scope{Project: "p"}
	for path, want := range map[string]address{
		"/servers/a b/mcp": {mcpPoint, one, ""}, "/servers/a b/sse": {ssePoint, one, ""}, "/servers/a b/sse/X": {ssePoint, one, "X"},
		"/servers/a b/ws": {wsPoint, one, ""}, "/projects/p/mcp": {mcpPoint, project, ""}, "/projects/p/ws": {wsPoint, project, ""},
		"/projects/p/sse/X": {ssePoint, project, "X"}, "/mcp": {endpoint: mcpPoint}, "/sse": {endpoint: ssePoint},
		"/sse/X": {endpoint: ssePoint, message: "X"}, "/ws": {endpoint: wsPoint}, "/servers/mcp/mcp": {endpoint: mcpPoint, scope: policy.Scope{Server: "mcp"}},
		"/api/v1/": {endpoint: restAPI}, "/api/v1/servers/a/tools": {endpoint: restAPI},
	} {
		if got := route(path); got != want {
			t.Errorf("%q: got %+v, want %+v", path, got, want)
		}
	}
	for _, path := range []string{
		"", "/", "/servers//mcp", "/servers/mcp", "/servers/a/b/mcp", "/servers/a/mcp/", "/servers/a/", "/projects//mcp", "/sse/", "/sse/a/b",
		"/mcp/x", "//mcp", "mcp/", "/api/v2", "/api/v1x", "/api/v1", "/servers/a/projects/b/mcp",
	} {
		if got := route(path); got.endpoint != nothing {
			t.Errorf("%q: got %+v, want nothing", path, got)
		}
	}
}

// A path comes from anybody: it leads to one place, which no other path of
// another length does.
func FuzzRoute(f *testing.F) {
	for _, path := range []string{"/servers/a/mcp", "/projects/b/sse/c", "/ws", "/api/v1/x", "/servers//mcp"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		a := route(path)
		if a.scope.Server != "" && a.scope.Project != "" || a.endpoint == nothing && a.message != "" {
			t.Fatalf("%q: got %+v", path, a)
		}
		last := map[endpoint]string{mcpPoint: "mcp", ssePoint: "sse", wsPoint: "ws"}[a.endpoint]
		if last == "" {
			return
		}
		built := "/"
		switch {
		case a.scope.Server != "":
			built += "servers/" + a.scope.Server + "/"
		case a.scope.Project != "":
			built += "projects/" + a.scope.Project + "/"
		}
		if built += last; a.message != "" {
			built += "/" + a.message
		}
		if built != path && built != "/"+path {
			t.Errorf("%q: got %+v, which is %q", path, a, built)
		}
	})
}

// Headers come from anybody: no value may panic.
func FuzzGuard(f *testing.F) {
	f.Add("localhost:80", "http://[::1]:1", "mcp-param-a, x")
	f.Fuzz(func(t *testing.T, host, origin, asked string) {
		originAllowed(origin, hostname(host), nil)
		(&place{host: host, name: hostname(host), ours: isOurs(hostname(host), nil)}).hostAllowed([]string{origin})
		for _, name := range parameterHeaders(http.Header{"Access-Control-Request-Headers": {asked}}) {
			if strings.ContainsAny(name, ", \r\n") {
				t.Errorf("%q: got %q", asked, name)
			}
		}
	})
}

// Nobody has more requests under way than may be, and others do not feel it.
func TestRequestsOfACallerAreBounded(t *testing.T) {
	g := newGateway(t, nil)
	r := g.request("POST", "echo", "")
	caller, err := proxytest.Authenticator(t, g.policy.Keys).Authenticate(t.Context(), authn.Request{Transport: "http", Header: r.Header})
	if err != nil {
		t.Fatal(err)
	}
	others := g.front.budgets.take(caller.Subject, requestsPerCaller)
	if got := g.do("POST", "echo", initializeBody); got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
		t.Errorf("got %+v, want that there are too many", got)
	}
	if got := g.do("POST", "echo", initializeBody, "Authorization: Bearer "+g.other); got.status != http.StatusOK {
		t.Errorf("another caller got %+v", got)
	}
	others.give(requestsPerCaller, 0)
	if got := g.do("POST", "echo", initializeBody); got.status != http.StatusOK {
		t.Errorf("got %+v, want that there is room again", got)
	}
}
