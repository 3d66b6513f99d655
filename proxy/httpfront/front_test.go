package httpfront

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mcpgateway/policy"
	"mcpgateway/policy/authn"
	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/proxytest"
)

func TestMain(m *testing.M) { os.Exit(proxytest.Main(m)) }

// gateway is a front on a real listener, before real server processes.
type gateway struct {
	t      testing.TB
	url    string
	key    string // for every server
	other  string // another caller's, for "echo" only
	opener *proxytest.Opener
	policy *policy.Policy
	front  *Front
	client *http.Client
}

// newGateway starts one; change may alter its policy. At the end of the test no
// server, goroutine and descriptor may be left.
func newGateway(t testing.TB, change func(*policy.Policy)) *gateway {
	t.Helper()
	return newGatewayOn(t, func(l net.Listener) Listeners { return Listeners{HTTP: []net.Listener{l}} }, change)
}

func newGatewayOn(t testing.TB, listeners func(net.Listener) Listeners, change func(*policy.Policy)) *gateway {
	t.Helper()
	goroutines := goleak.IgnoreCurrent()
	g := &gateway{t: t, opener: &proxytest.Opener{}, client: http.DefaultClient}
	g.policy = g.newPolicy()
	if change != nil {
		change(g.policy)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	if _, measured := t.(*testing.B); measured {
		log = slog.New(slog.DiscardHandler)
	}
	instances := fleet.New(g.opener, nil, log)
	g.opener.Exited = instances.Exited
	sessions := gate.NewSessions(log)
	current := &Current{
		Policy: g.policy,
		Auth:   proxytest.Authenticator(t, g.policy.Keys),
		Gate:   gate.New(gate.Rules{Policy: g.policy}, instances, sessions),
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.url = "http://" + listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	g.front = New(func() *Current { return current }, log)
	go func() { served <- g.front.Serve(ctx, listeners(listener)) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		sessions.Close()
		instances.Close()
		g.opener.Wait()
		goleak.VerifyNone(t, goroutines)
		g.front.budgets.mu.Lock() // connections of WebSocket end by themselves
		defer g.front.budgets.mu.Unlock()
		if len(g.front.budgets.of) != 0 {
			t.Errorf("got requests counted that are over: %v", g.front.budgets.of)
		}
	})
	return g
}

func (g *gateway) newPolicy() *policy.Policy {
	g.t.Helper()
	p := &policy.Policy{
		Generation: 1, Gateway: "test",
		Limits:  policy.Limits{MaxBodyBytes: 1 << 20, MaxMessageBytes: 4 << 20, MaxSessions: 8, MaxSessionsPerCaller: 8, MaxConnections: 1024, MaxConnectionsPerCaller: 1024, MaxInstancesPerCaller: 8},
		Servers: map[string]policy.Server{},
		HTTP:    policy.HTTP{AllowedHosts: []string{"gateway.example"}, AllowedOrigins: []string{"https://app.example"}},
	}
	for _, name := range []string{"echo", "exit", "silent", "flood", "crash", "garbage", "closed", "modern", "stderr", "deaf", "mirror", "listless", "mortal"} {
		p.Servers[name] = policy.Server{Timeout: time.Minute, IdleTimeout: time.Hour}
	}
	p.Servers["crash"] = policy.Server{Timeout: time.Minute, IdleTimeout: time.Hour, OnCrash: policy.OnCrashEndSession}
	for _, holder := range []struct {
		text    *string
		servers []string
	}{{&g.key, nil}, {&g.other, []string{"echo"}}} {
		key, text, err := authn.NewAPIKey("test", holder.servers, nil, time.Time{})
		if err != nil {
			g.t.Fatal(err)
		}
		p.Keys = append(p.Keys, key)
		*holder.text = text
	}
	return p
}

// request makes a request with a key and the headers that the transport wants, to
// a server's endpoint, which is "mcp" if there is no other behind its name;
// headers are "Name: value", and "Name:" removes one.
func (g *gateway) request(method, server, body string, headers ...string) *http.Request {
	g.t.Helper()
	if !strings.Contains(server, "/") {
		server += "/mcp"
	}
	r, err := http.NewRequestWithContext(g.t.Context(), method, g.url+"/servers/"+server, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+g.key)
	r.Header.Set("Accept", "application/json, text/event-stream")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ":")
		value = strings.TrimSpace(value)
		switch {
		case name == "Host":
			r.Host = value
		case value == "":
			r.Header.Del(name)
		default:
			r.Header.Set(name, value)
		}
	}
	return r
}

type reply struct {
	status int
	header http.Header
	body   string
}

func (g *gateway) do(method, server, body string, headers ...string) reply {
	g.t.Helper()
	response, err := g.client.Do(g.request(method, server, body, headers...))
	if err != nil {
		g.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, string(text)}
}

const initializeBody = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`

// session opens one and returns the header that names it.
func (g *gateway) session(server string) string {
	g.t.Helper()
	got := g.do("POST", server, initializeBody)
	if got.status != http.StatusOK || got.header.Get(mcp.HeaderSession) == "" {
		g.t.Fatalf("initialize: got %+v", got)
	}
	return mcp.HeaderSession + ": " + got.header.Get(mcp.HeaderSession)
}

func toolCall(id, tool, more string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":%q%s}}`, id, tool, more)
}

// event is one event of a stream. A priming event has no data.
type event struct{ id, name, retry, data string }

// eventsOf reads n events of a stream, or as many as there are.
func eventsOf(r io.Reader, n int) (found []event) {
	lines := buffered(r)
	var e event
	for len(found) < n {
		line, err := lines.ReadString('\n')
		if err != nil {
			return found
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "retry":
			e.retry = value
		case "data":
			e.data = value
		}
		if line == "\n" && e != (event{}) {
			found = append(found, e)
			e = event{}
		}
	}
	return found
}

// buffered keeps the buffer that a stream has already.
func buffered(r io.Reader) *bufio.Reader {
	if c, ok := r.(*following); ok {
		return c.Reader
	}
	return bufio.NewReader(r) // r itself if it is one
}

// events reads the messages of a stream, n of them.
func events(t *testing.T, r io.Reader, n int) (data []string) {
	t.Helper()
	r = buffered(r)
	for len(data) < n {
		found := eventsOf(r, 1)
		if len(found) == 0 {
			return data
		}
		if found[0].data != "" {
			data = append(data, found[0].data)
		}
	}
	return data
}

func TestSession(t *testing.T) {
	g := newGateway(t, nil)
	opened := g.do("POST", "echo", initializeBody)
	if !strings.Contains(opened.body, `"x":1e3`) || !strings.Contains(opened.body, `"big":9007199254740993`) || !strings.Contains(opened.body, `"listChanged":true`) {
		t.Errorf("got %s, want the server's answer as it is", opened.body)
	}
	session := mcp.HeaderSession + ": " + opened.header.Get(mcp.HeaderSession)
	got := g.do("POST", "echo", `{"jsonrpc":"2.0","method":"notifications/initialized"}`, session)
	if got.status != http.StatusAccepted || got.body != "" {
		t.Errorf("notification: got %+v", got)
	}
	got = g.do("POST", "echo", "{\r\n\"x-new\":1e3,\n"+toolCall(`"a\u0041"`, "again", `,"arguments":{"n":9007199254740993}`)[1:], session)
	if got.status != http.StatusOK || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("call: got %+v", got)
	}
	for _, want := range []string{`"id":"a\u0041"`, `9007199254740993`, `\"x-new\":1e3`, `"x-server":"kept"`} {
		if !strings.Contains(got.body, want) {
			t.Errorf("call: got %s, want %s in it", got.body, want)
		}
	}
	if got := g.do("DELETE", "echo", "", session); got.status != http.StatusNoContent {
		t.Errorf("delete: got %+v", got)
	}
	g.opener.Wait()
	if got := g.do("POST", "echo", toolCall("1", "x", ""), session); got.status != http.StatusNotFound {
		t.Errorf("after delete: got %+v", got)
	}
	if got := g.do("DELETE", "echo", "", session); got.status != http.StatusNotFound {
		t.Errorf("second delete: got %+v", got)
	}
}

func TestSessionsHaveInstancesOfTheirOwn(t *testing.T) {
	g := newGateway(t, nil)
	a := g.do("POST", "echo", toolCall("1", "pid", ""), g.session("echo"))
	b := g.do("POST", "echo", toolCall("1", "pid", ""), g.session("echo"))
	if a.body == b.body {
		t.Errorf("got one process for two sessions: %s", a.body)
	}
}

func TestSessionBelongsToItsCaller(t *testing.T) {
	g := newGateway(t, nil)
	session := g.session("echo")
	other := "Authorization: Bearer " + g.other
	for _, got := range []reply{
		g.do("POST", "echo", toolCall("1", "x", ""), session, other),
		g.do("GET", "echo", "", session, other),
		g.do("DELETE", "echo", "", session, other),
		g.do("POST", "crash", toolCall("1", "x", ""), session),
	} {
		if got.status != http.StatusNotFound || !strings.Contains(got.body, "there is no such session") {
			t.Errorf("got %+v", got)
		}
	}
	if got := g.do("POST", "echo", toolCall("1", "x", ""), session); got.status != http.StatusOK {
		t.Errorf("owner: got %+v", got)
	}
}

func TestProgressMakesAStream(t *testing.T) {
	g := newGateway(t, nil)
	got := g.do("POST", "echo", toolCall("5", "progress", `,"arguments":{"n":2},"_meta":{"progressToken":"t"}`), g.session("echo"))
	if got.header.Get("Content-Type") != "text/event-stream" || got.header.Get("X-Accel-Buffering") != "no" {
		t.Errorf("got headers %v", got.header)
	}
	data := events(t, strings.NewReader(got.body), 9)
	if len(data) != 3 || !strings.Contains(data[0], `"progressToken":"t"`) || !strings.Contains(data[2], `"id":5,"result"`) {
		t.Errorf("got events %q", data)
	}
}

func TestServerAsksTheClient(t *testing.T) {
	g := newGateway(t, nil)
	session := g.session("echo")
	response, err := http.DefaultClient.Do(g.request("POST", "echo", toolCall(`"c"`, "ask", ""), session))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	stream := bufio.NewReader(response.Body)
	if asked := events(t, stream, 1); len(asked) != 1 || !strings.Contains(asked[0], `"maxTokens":9007199254740993`) {
		t.Fatalf("got %q", asked)
	}
	got := g.do("POST", "echo", `{"jsonrpc":"2.0","id":"ask-1","result":{"n":1e3}}`, session)
	if got.status != http.StatusAccepted {
		t.Fatalf("answer: got %+v", got)
	}
	if last := events(t, stream, 1); len(last) != 1 || !strings.Contains(last[0], `\"n\":1e3`) || !strings.Contains(last[0], `"id":"c"`) {
		t.Errorf("got %q", last)
	}
}

func TestListener(t *testing.T) {
	g := newGateway(t, nil)
	session := g.session("echo")
	listening, err := http.DefaultClient.Do(g.request("GET", "echo", "", session))
	if err != nil {
		t.Fatal(err)
	}
	defer listening.Body.Close()
	if listening.StatusCode != http.StatusOK || listening.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("got %v", listening)
	}
	g.do("POST", "echo", toolCall("1", "log", ""), session)
	if got := events(t, listening.Body, 1); len(got) != 1 || !strings.Contains(got[0], "tools/list_changed") {
		t.Errorf("got %q", got)
	}
	g.do("DELETE", "echo", "", session)
	if rest, err := io.ReadAll(listening.Body); err != nil || len(rest) != 0 {
		t.Errorf("after the session: got %q, %v", rest, err)
	}
}

// In the handshake era a disconnect is no cancellation: the session goes on.
func TestDisconnectLeavesTheSession(t *testing.T) {
	g := newGateway(t, nil)
	session := g.session("echo")
	ctx, cancel := context.WithCancel(t.Context())
	response, err := http.DefaultClient.Do(g.request("POST", "echo", toolCall(`"c"`, "ask", ""), session).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	response.Body.Close()
	if got := g.do("POST", "echo", `{"jsonrpc":"2.0","id":2,"method":"ping"}`, session); got.status != http.StatusOK {
		t.Errorf("got %+v", got)
	}
}

func TestSessionLimit(t *testing.T) {
	g := newGateway(t, func(p *policy.Policy) { p.Limits.MaxSessions = 1 })
	session := g.session("echo")
	got := g.do("POST", "echo", initializeBody)
	if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
		t.Errorf("got %+v", got)
	}
	g.do("DELETE", "echo", "", session)
	g.session("echo")
}

// TestSessionLimitOfOneCaller leaves room for others.
func TestSessionLimitOfOneCaller(t *testing.T) {
	g := newGateway(t, func(p *policy.Policy) { p.Limits.MaxSessionsPerCaller = 1 })
	g.session("echo")
	if got := g.do("POST", "echo", initializeBody); got.status != http.StatusServiceUnavailable {
		t.Errorf("got %+v for a second session", got)
	}
	if got := g.do("POST", "echo", initializeBody, "Authorization: Bearer "+g.other); got.status != http.StatusOK {
		t.Errorf("another caller got %+v", got)
	}
}

// TestNothingIsReadForWhoMayNot: the answer comes before the body.
func TestNothingIsReadForWhoMayNot(t *testing.T) {
	g := newGateway(t, nil)
	address := strings.TrimPrefix(g.url, "http://")
	for name, lines := range map[string]string{
		"404": "POST /servers/none/mcp HTTP/1.1\r\nAuthorization: Bearer " + g.key,
		"401": "POST /servers/echo/mcp HTTP/1.1\r\nAuthorization: Bearer no",
	} {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "%s\r\nHost: %s\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: 1000\r\n\r\n{", lines, address)
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil || !strings.Contains(line, name) {
			t.Errorf("got %q, %v, want %s", line, err, name)
		}
	}
}

// TestLargeBodiesOfOneCaller are bounded together, and nobody else's.
func TestLargeBodiesOfOneCaller(t *testing.T) {
	all := newBudgets()
	a, other, b := all.take("a", 1), all.take("a", 1), all.take("b", 1)
	if !a.hold(60, 100) || other.hold(60, 100) || !other.hold(40, 100) || !b.hold(100, 100) {
		t.Error("the limit is not that of each caller")
	}
	a.give(1, 60)
	if !other.hold(60, 100) || other.hold(1, 100) {
		t.Error("what was given back is not there")
	}
	other.give(1, 100)
	b.give(1, 100)
	if len(all.of) != 0 {
		t.Errorf("got %v after everything was given back", all.of)
	}
}

// TestPaths: only the path as it was sent counts.
func TestPaths(t *testing.T) {
	g := newGateway(t, nil)
	for path, want := range map[string]int{
		"/servers/echo/mcp": 202, "/servers%2fecho/mcp": 404, "/servers/echo%2Fmcp": 404, "/servers/echo/mcp/": 404,
		"/servers//mcp": 404, "/.well-known/oauth-protected-resource": 404,
	} {
		r := g.request("POST", "echo", `{"jsonrpc":"2.0","method":"notifications/initialized"}`, g.session("echo"))
		var err error
		if r.URL, err = r.URL.Parse(g.url + path); err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s: got %d, want %d", path, response.StatusCode, want)
		}
	}
}

func TestBadServersAnswer(t *testing.T) {
	tests := []struct{ server, want string }{
		{"exit", `server \"exit\" exited with status 7`},
		{"silent", `server \"silent\" did not answer \"initialize\" within 300ms, its limit`},
		{"deaf", `server \"deaf\" did not answer \"initialize\" within 300ms, its limit`},
		{"flood", `server \"flood\" was stopped: it sent a line of more than 4194304 bytes`},
		{"closed", `server \"closed\" was stopped: it closed its input or output`},
	}
	for _, test := range tests {
		t.Run(test.server, func(t *testing.T) {
			g := newGateway(t, func(p *policy.Policy) {
				for _, name := range []string{"silent", "deaf"} {
					p.Servers[name] = policy.Server{Timeout: 300 * time.Millisecond, IdleTimeout: time.Hour}
				}
			})
			got := g.do("POST", test.server, initializeBody)
			if got.status != http.StatusOK || got.header.Get(mcp.HeaderSession) != "" ||
				!strings.Contains(got.body, test.want) || !strings.Contains(got.body, `"id":0`) {
				t.Errorf("got %+v", got)
			}
			if got := g.do("POST", "echo", initializeBody); got.status != http.StatusOK {
				t.Errorf("another server after it: got %+v", got)
			}
		})
	}
}

func TestCrashEndsTheSessionIfItShall(t *testing.T) {
	g := newGateway(t, nil)
	session := g.session("crash")
	got := g.do("POST", "crash", toolCall("1", "x", ""), session)
	if got.status != http.StatusOK || !strings.Contains(got.body, `server \"crash\" exited with status 3`) || strings.Contains(got.body, "hunter2") {
		t.Errorf("got %+v", got)
	}
	got = g.do("POST", "crash", toolCall("1", "x", ""), session)
	if got.status != http.StatusNotFound || !strings.Contains(got.body, `the session has ended: server \"crash\" exited with status 3`) {
		t.Errorf("got %+v", got)
	}
	g.session("crash")
}

func TestGarbageIsSkipped(t *testing.T) {
	g := newGateway(t, nil)
	for _, server := range []string{"garbage", "stderr"} {
		if got := g.do("POST", server, toolCall("1", "again", ""), g.session(server)); !strings.Contains(got.body, `"x-server":"kept"`) {
			t.Errorf("server %s: got %+v", server, got)
		}
	}
}

func TestBadRequests(t *testing.T) {
	g := newGateway(t, nil)
	session := g.session("echo")
	tests := []struct {
		name, method, body string
		headers            []string
		status             int
		want               string
	}{
		{"truncated", "POST", `{"jsonrpc":"2.0","id":1,"met`, nil, 400, `"code":-32700`},
		{"empty", "POST", "", []string{"Content-Type: application/json"}, 400, `"code":-32700`},
		{"duplicate key", "POST", `{"jsonrpc":"2.0","id":1,"method":"ping","method":"x"}`, nil, 400, `"code":-32700`},
		{"batch", "POST", `[` + toolCall("1", "x", "") + `]`, nil, 400, `batches are of revision 2025-03-26 only`},
		{"not a request", "POST", `{"jsonrpc":"2.0","id":4}`, nil, 400, `"id":4,"error":{"code":-32600`},
		{"too large", "POST", toolCall("1", strings.Repeat("x", 1<<20), ""), nil, 413, `larger than 1048576 bytes`},
		{"content type", "POST", toolCall("1", "x", ""), []string{"Content-Type: text/plain"}, 415, `"code":-32600`},
		{"no content type", "POST", toolCall("1", "x", ""), []string{"Content-Type:"}, 415, ``},
		{"charset", "POST", toolCall("1", "x", ""), []string{"Content-Type: application/json; charset=latin1"}, 415, ``},
		{"accept json only", "POST", toolCall("1", "x", ""), []string{"Accept: application/json"}, 406, ``},
		{"accept refused by quality", "POST", toolCall("1", "x", ""), []string{"Accept: */*;q=0"}, 406, ``},
		{"accept anything", "POST", toolCall("1", "x", ""), []string{"Accept: */*"}, 200, ``},
		{"no session", "POST", toolCall("1", "x", ""), []string{mcp.HeaderSession + ":"}, 400, `send initialize first`},
		{"unknown session", "POST", toolCall("1", "x", ""), []string{mcp.HeaderSession + ": nope"}, 404, `no such session`},
		{"unknown version", "POST", toolCall("1", "x", ""), []string{"MCP-Protocol-Version: 1999-01-01"}, 400, `"supported":["2026-07-28","2025-11-25"`},
		{"known version", "POST", toolCall("1", "x", ""), []string{"MCP-Protocol-Version: 2025-06-18"}, 200, ``},
		{"listener without session", "GET", "", []string{mcp.HeaderSession + ":"}, 400, ``},
		{"listener without accept", "GET", "", []string{"Accept: application/json"}, 406, ``},
		{"delete without session", "DELETE", "", []string{mcp.HeaderSession + ":"}, 400, ``},
		{"put", "PUT", "{}", nil, 405, ``},
		{"no key", "POST", toolCall("1", "x", ""), []string{"Authorization:"}, 401, `no credential`},
		{"wrong key", "POST", toolCall("1", "x", ""), []string{"Authorization: Bearer mcpgw_x_y"}, 401, ``},
		{"foreign origin", "POST", toolCall("1", "x", ""), []string{"Origin: https://evil.example"}, 403, ``},
		{"null origin", "POST", toolCall("1", "x", ""), []string{"Origin: null"}, 403, ``},
		{"loopback-like origin", "POST", toolCall("1", "x", ""), []string{"Origin: http://localhost.evil.example"}, 403, ``},
		{"loopback origin", "POST", toolCall("1", "x", ""), []string{"Origin: http://localhost:5173"}, 200, ``},
		{"allowed origin", "POST", toolCall("1", "x", ""), []string{"Origin: https://app.example"}, 200, ``},
		{"rebound host", "POST", toolCall("1", "x", ""), []string{"Host: evil.example"}, 403, ``},
		{"rebound host with key and origin", "POST", toolCall("1", "x", ""), []string{"Host: evil.example:80", "Origin: http://evil.example:80"}, 403, ``},
		{"loopback origin, other host", "POST", toolCall("1", "x", ""), []string{"Host: gateway.example", "Origin: http://localhost"}, 403, ``},
		{"allowed host", "POST", toolCall("1", "x", ""), []string{"Host: gateway.example:8443"}, 200, ``},
		{"localhost", "POST", toolCall("1", "x", ""), []string{"Host: localhost:1"}, 200, ``},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := g.do(test.method, "echo", test.body, append([]string{session}, test.headers...)...)
			if got.status != test.status || !strings.Contains(got.body, test.want) {
				t.Errorf("got %d %s, want %d and %s", got.status, got.body, test.status, test.want)
			}
			if got.status == 401 && !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("got headers %v", got.header)
			}
			if got.status == 405 && got.header.Get("Allow") == "" {
				t.Errorf("got headers %v", got.header)
			}
			if _, err := mcp.Parse([]byte(got.body)); got.status >= 400 && err != nil {
				t.Errorf("the body is no JSON-RPC error: %v", err)
			}
		})
	}
}

// What a caller may not use looks like what is not there.
func TestForbiddenLooksLikeAbsent(t *testing.T) {
	g := newGateway(t, nil)
	other := "Authorization: Bearer " + g.other
	forbidden := g.do("POST", "crash", initializeBody, other)
	absent := g.do("POST", "crash2", initializeBody, other)
	if forbidden.status != http.StatusNotFound || strings.ReplaceAll(absent.body, "crash2", "crash") != forbidden.body {
		t.Errorf("got %+v and %+v", forbidden, absent)
	}
	if got := g.opener.Opened(); len(got) != 0 {
		t.Errorf("got sandboxes %v started", got)
	}
}

func TestPreflight(t *testing.T) {
	g := newGateway(t, nil)
	got := g.do("OPTIONS", "echo", "", "Authorization:", "Origin: https://app.example", "Access-Control-Request-Method: POST")
	if got.status != http.StatusNoContent || got.header.Get("Access-Control-Allow-Origin") != "https://app.example" {
		t.Errorf("got %+v", got)
	}
	got = g.do("OPTIONS", "echo", "", "Authorization:", "Origin: https://app.example",
		"Access-Control-Request-Headers: mcp-param-region, x-other,mcp-param-n, mcp-param-")
	if allowed := got.header.Get("Access-Control-Allow-Headers"); !strings.HasPrefix(allowed, "mcp-param-region, mcp-param-n, Authorization,") ||
		strings.Contains(allowed, "x-other") || !strings.Contains(strings.Join(got.header["Vary"], ","), "Access-Control-Request-Headers") {
		t.Errorf("got %v", got.header)
	}
	got = g.do("OPTIONS", "echo", "", "Authorization:", "Origin: https://evil.example")
	if got.status != http.StatusForbidden || got.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("got %+v", got)
	}
}

// A body that is announced and does not come must not hold the gateway; one that
// ends early is a parse error.
func TestShortBody(t *testing.T) {
	g := newGateway(t, nil)
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /servers/echo/mcp HTTP/1.1\r\nHost: localhost\r\nX-API-Key: %s\r\nContent-Type: application/json\r\nAccept: */*\r\nContent-Length: 100\r\n\r\n{", g.key)
	conn.(*net.TCPConn).CloseWrite()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusBadRequest || !bytes.Contains(body, []byte("shorter than announced")) {
		t.Errorf("got %d %s", response.StatusCode, body)
	}
}
