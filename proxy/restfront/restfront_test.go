package restfront

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mcpgateway/policy"
	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/httpio"
	"mcpgateway/proxy/proxytest"
)

func TestMain(m *testing.M) { os.Exit(proxytest.Main(m, servers())) }

// gateway serves this front over real HTTP, before real server processes.
type gateway struct {
	t      *testing.T
	url    string
	opener *proxytest.Opener
	caller *policy.Identity

	allowed atomic.Bool // a long answer may go on
	waits   waits
}

// newGateway starts one with servers of the given behaviours. At the end of the
// test no server and no goroutine may be left.
func newGateway(t *testing.T, change func(*policy.Policy), servers ...string) *gateway {
	t.Helper()
	goroutines := goleak.IgnoreCurrent()
	g := &gateway{t: t, opener: &proxytest.Opener{}, caller: &policy.Identity{Subject: "key:a"}}
	g.allowed.Store(true)
	p := &policy.Policy{
		Generation: 1, Gateway: "test", Servers: map[string]policy.Server{},
		Limits: policy.Limits{MaxBodyBytes: 1 << 20, MaxMessageBytes: 4 << 20, MaxSessions: 8, MaxSessionsPerCaller: 8, MaxConnections: 1024, MaxConnectionsPerCaller: 1024, MaxInstancesPerCaller: 8},
	}
	for _, name := range servers {
		p.Servers[name] = policy.Server{Project: "shop", Timeout: time.Minute, MaxTimeout: time.Hour, IdleTimeout: time.Hour}
	}
	if change != nil {
		change(p)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	pool := fleet.New(g.opener, nil, log)
	g.opener.Exited = pool.Exited
	gate := gate.New(gate.Rules{Policy: p}, pool, gate.NewSessions(log))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		Serve(httpio.NewWriter(w), r, Request{
			Caller: g.caller, Policy: p, Gate: gate,
			Body:    func() ([]byte, *Problem) { return read(r) },
			Allowed: func(policy.Scope) bool { return g.allowed.Load() },
			waits:   g.waits,
		})
	}))
	g.url = server.URL
	t.Cleanup(func() {
		server.Close()
		pool.Close()
		g.opener.Wait()
		goleak.VerifyNone(t, goroutines)
	})
	return g
}

func read(r *http.Request) ([]byte, *Problem) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, badRequest("%v", err)
	}
	return body, nil
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request; headers are "Name: value".
func (g *gateway) do(method, path, body string, headers ...string) answer {
	g.t.Helper()
	return g.under(g.t.Context(), method, path, body, headers...)
}

func (g *gateway) under(ctx context.Context, method, path, body string, headers ...string) answer {
	g.t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, g.url+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, header := range headers {
		if name, value, ok := strings.Cut(header, ": "); ok {
			r.Header.Set(name, value)
		}
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(content)}
}

// get wants status 200 and reads the answer into a value.
func (g *gateway) get(path string, into any) {
	g.t.Helper()
	a := g.do(http.MethodGet, path, "")
	if err := json.Unmarshal([]byte(a.body), into); err != nil || a.status != http.StatusOK {
		g.t.Fatalf("GET %s: got status %d, %s (%v)", path, a.status, a.body, err)
	}
}

// problem wants an answer to be a problem of a kind, and returns its detail.
func (g *gateway) problem(a answer, status int, k kind) (detail string) {
	g.t.Helper()
	var p struct {
		Type, Title, Detail, Instance string
		Status                        int
	}
	err := json.Unmarshal([]byte(a.body), &p)
	name := "about:blank"
	if k != "" {
		name = "urn:mcpgateway:problem:" + string(k)
	}
	if err != nil || a.header.Get("Content-Type") != typeProblem || a.status != status || p.Status != status ||
		p.Type != name || p.Title == "" || p.Detail == "" || !strings.HasPrefix(p.Instance, "/") {
		g.t.Errorf("got status %d, %s %s, want %d and a problem %s (%v)", a.status, a.header.Get("Content-Type"), a.body, status, name, err)
	}
	return p.Detail
}

func TestServers(t *testing.T) {
	g := newGateway(t, nil, "echo", "exit")
	var all struct {
		Servers []struct {
			Name, Project string
			Links         map[string]string
		}
	}
	for _, path := range []string{"/api/v1/servers", "/api/v1/projects/shop"} {
		g.get(path, &all)
		if len(all.Servers) != 2 || all.Servers[0].Name != "echo" || all.Servers[1].Project != "shop" {
			t.Errorf("%s: got %+v", path, all)
		}
	}
	if got := g.opener.Opened(); len(got) != 0 {
		t.Errorf("listing servers started %v", got)
	}
	for name, link := range all.Servers[0].Links {
		if a := g.do(http.MethodGet, link, ""); a.status != http.StatusOK && name != "prompts" && name != "resources" && name != "resourceTemplates" {
			t.Errorf("link %s: got status %d, %s", name, a.status, a.body)
		}
	}
	var one struct {
		Name      string
		Discovery struct{ Instructions string }
	}
	g.get("/api/v1/servers/echo", &one)
	if one.Name != "echo" || one.Discovery.Instructions != "be kind" {
		t.Errorf("got %+v", one)
	}

	g.caller = &policy.Identity{Subject: g.caller.Subject, Servers: []string{"exit"}}
	g.get("/api/v1/servers", &all)
	if len(all.Servers) != 1 || all.Servers[0].Name != "exit" {
		t.Errorf("limited caller: got %+v", all)
	}
	for _, path := range []string{"/api/v1/servers/echo", "/api/v1/servers/echo/tools", "/api/v1/openapi.json?server=echo", "/api/v1/projects/other"} {
		g.problem(g.do(http.MethodGet, path, ""), http.StatusNotFound, unknownScope)
	}
	// Before anything of the body is judged.
	g.problem(g.do(http.MethodPost, "/api/v1/servers/echo/tools/echo", "no JSON"), http.StatusNotFound, unknownScope)
}

// Arguments and results are the bytes that came.
func TestCall(t *testing.T) {
	g := newGateway(t, nil, "echo")
	for _, test := range []struct{ name, path, body, want string }{
		{"exact", "echo", `{"n": 9007199254740993, "e":1e3}`, `\"name\":\"echo\",\"arguments\":{\"n\": 9007199254740993, \"e\":1e3}`},
		{"no body", "echo", "", `\"arguments\":{}`},
		{"escaped name", "a%2Fb%20%7Bc%7D%22", "{}", `\"name\":\"a/b {c}\\\"\"`},
		{"on one line", "echo", "{\n}", `\"arguments\":{ }`},
	} {
		a := g.do(http.MethodPost, "/api/v1/servers/echo/tools/"+test.path, test.body)
		if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/json" || !strings.Contains(a.body, test.want) || !strings.Contains(a.body, `"big":9007199254740993`) {
			t.Errorf("%s: got status %d, %s", test.name, a.status, a.body)
		}
	}
}

func TestRefused(t *testing.T) {
	g := newGateway(t, nil, "echo")
	const tool = "/api/v1/servers/echo/tools/echo"
	for _, test := range []struct {
		name, method, path, body string
		header                   string
		want                     int
	}{
		{"no such path", "GET", "/api/v1/nothing", "", "", 404},
		{"slash at the end", "GET", "/api/v1/servers/", "", "", 404},
		{"nothing behind it", "GET", "/api/v1/", "", "", 404},
		{"escaped slash", "GET", "/api/v1/servers/echo/resources%2Fread", "", "", 404},
		{"escaped slash and star", "POST", "/api/v1/servers/echo/tools%2F*", "", "", 404},
		{"half an escape", "GET", "/api/v1/servers/%ff", "", "", 400},
		{"no GET", "GET", tool, "", "", 405},
		{"no HEAD", "HEAD", tool, "", "", 405},
		{"no POST", "POST", "/api/v1/servers", "{}", "", 405},
		{"no PATCH", "PATCH", "/api/v1/servers", "", "", 405},
		{"unknown parameter", "GET", "/api/v1/servers?x=1", "", "", 400},
		{"parameter twice", "GET", "/api/v1/servers/echo/resources/read?uri=a&uri=b", "", "", 400},
		{"parameter that is no text", "GET", "/api/v1/servers/echo/resources/read?uri=%ff", "", "", 400},
		{"no parameter", "GET", "/api/v1/servers/echo/resources/read", "", "", 400},
		{"bad query", "GET", "/api/v1/servers?%zz", "", "", 400},
		{"no JSON accepted", "GET", "/api/v1/servers", "", "Accept: text/html", 406},
		{"no stream here", "GET", "/api/v1/servers", "", "Accept: text/event-stream", 406},
		{"no JSON", "POST", tool, "a=b", "Content-Type: application/x-www-form-urlencoded", 415},
		{"an array", "POST", tool, "[]", "", 400},
		{"two objects", "POST", tool, "{}{}", "", 400},
		{"another name", "POST", tool, `{},"name":"other"`, "", 400},
		{"a name twice", "POST", tool, `{"a":1,"a":2}`, "", 400},
	} {
		a := g.do(test.method, test.path, test.body, test.header)
		if test.method == http.MethodHead {
			if a.status != test.want || a.body != "" {
				t.Errorf("%s: got %d, %q", test.name, a.status, a.body)
			}
			continue
		}
		t.Log(test.name, g.problem(a, test.want, ""))
		if (a.header.Get("Allow") != "") != (test.want == http.StatusMethodNotAllowed) {
			t.Errorf("%s: got Allow %q", test.name, a.header.Get("Allow"))
		}
	}
	if got := g.opener.Opened(); len(got) != 0 {
		t.Errorf("got sandboxes %v, want none", got)
	}
}

func TestHead(t *testing.T) {
	g := newGateway(t, nil, "echo")
	a := g.do(http.MethodHead, "/api/v1/servers/echo/tools", "")
	if a.status != http.StatusOK || a.body != "" || a.header.Get("Content-Length") == "" {
		t.Errorf("got %+v", a)
	}
}
