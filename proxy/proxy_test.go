package proxy

import (
	"context"
	"encoding/json"
	"errors"
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
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/proxytest"
)

func TestMain(m *testing.M) { os.Exit(proxytest.Main(m)) }

type running struct {
	t     *testing.T
	proxy *Proxy
	url   string
}

func newProxy(t *testing.T) *running {
	t.Helper()
	opener := &proxytest.Opener{Fail: map[string]error{"missing": errors.New("the command is not visible")}}
	return newProxyOver(t, opener, t.Output())
}

func newProxyOver(t *testing.T, opener *proxytest.Opener, log io.Writer) *running {
	t.Helper()
	return newProxyWith(t, Options{Daemon: opener, Log: slog.New(slog.NewTextHandler(log, nil))}, opener)
}

func newProxyWith(t *testing.T, o Options, opener *proxytest.Opener) *running {
	t.Helper()
	goroutines := goleak.IgnoreCurrent()
	p := New(o)
	opener.Exited = p.Exited
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx, Listeners{HTTP: []net.Listener{listener}}) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		opener.Wait()
		goleak.VerifyNone(t, goroutines)
	})
	return &running{t, p, "http://" + listener.Addr().String()}
}

func newPolicy(t *testing.T, generation uint64, eager bool, servers ...string) (p policy.Policy, key string) {
	t.Helper()
	stored, key, err := authn.NewAPIKey("test", nil, nil, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	p = policy.Policy{
		Generation: generation, Keys: []policy.Key{stored}, Transports: []string{"http"}, Authentication: proxytest.APIKeys(), Servers: map[string]policy.Server{},
		Limits: policy.Limits{MaxBodyBytes: 1 << 20, MaxMessageBytes: 1 << 20, MaxSessions: 8, MaxSessionsPerCaller: 8, MaxConnections: 1024, MaxConnectionsPerCaller: 1024, MaxInstancesPerCaller: 8},
	}
	for _, name := range servers {
		p.Servers[name] = policy.Server{
			Eager: eager, Replicas: 1, Strategy: policy.StrategyLeastBusy, Timeout: time.Minute, MaxTimeout: time.Hour, IdleTimeout: time.Hour,
		}
	}
	return p, key
}

func (r *running) apply(p policy.Policy) error {
	r.t.Helper()
	document, err := json.Marshal(p)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.proxy.Apply(p.Generation, document)
}

func (r *running) post(server, key, session, body string) (status int, newSession, text string) {
	r.t.Helper()
	request, err := http.NewRequest("POST", r.url+"/servers/"+server+"/mcp", strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header.Set("X-API-Key", key)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "*/*")
	if session != "" {
		request.Header.Set(mcp.HeaderSession, session)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return response.StatusCode, response.Header.Get(mcp.HeaderSession), string(got)
}

const (
	initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}`
	ping       = `{"jsonrpc":"2.0","id":2,"method":"ping"}`
)

func TestNoPolicyRefusesEverything(t *testing.T) {
	r := newProxy(t)
	if status, _, text := r.post("echo", "mcpgw_a_b", "", initialize); status != http.StatusServiceUnavailable {
		t.Errorf("got %d %s, want 503", status, text)
	}
	if err := r.proxy.ready(); err == nil {
		t.Error("got ready without a policy")
	}
}

func TestGenerationsSwap(t *testing.T) {
	r := newProxy(t)
	first, key := newPolicy(t, 1, false, "echo", "crash")
	if err := r.apply(first); err != nil {
		t.Fatal(err)
	}
	_, session, _ := r.post("echo", key, "", initialize)

	// A session goes on in the next generation, with what that one allows.
	second := first
	second.Generation = 2
	second.Servers = map[string]policy.Server{"echo": first.Servers["echo"]}
	if err := r.apply(second); err != nil {
		t.Fatal(err)
	}
	if status, _, text := r.post("echo", key, session, ping); status != http.StatusOK {
		t.Errorf("session in generation 2: got %d %s, want 200", status, text)
	}
	if status, _, text := r.post("crash", key, "", initialize); status != http.StatusNotFound {
		t.Errorf("server that is gone: got %d %s, want 404", status, text)
	}
	third, other := newPolicy(t, 3, false, "echo")
	if err := r.apply(third); err != nil {
		t.Fatal(err)
	}
	if status, _, text := r.post("echo", key, session, ping); status != http.StatusUnauthorized {
		t.Errorf("revoked key: got %d %s, want 401", status, text)
	}
	if status, _, text := r.post("echo", other, session, ping); status != http.StatusNotFound {
		t.Errorf("another's session: got %d %s, want 404", status, text)
	}
}

func TestBadPolicyIsRefused(t *testing.T) {
	r := newProxy(t)
	good, key := newPolicy(t, 1, false, "echo")
	if err := r.apply(good); err != nil {
		t.Fatal(err)
	}
	server := func(change func(*policy.Server)) func(*policy.Policy) {
		return func(p *policy.Policy) {
			s := p.Servers["echo"]
			change(&s)
			p.Servers["echo"] = s
		}
	}
	tests := []struct {
		name   string
		change func(*policy.Policy)
	}{
		{"no body limit", func(p *policy.Policy) { p.Limits.MaxBodyBytes = 0 }},
		{"no message limit", func(p *policy.Policy) { p.Limits.MaxMessageBytes = 0 }},
		{"no session limit", func(p *policy.Policy) { p.Limits.MaxSessions = 0 }},
		{"no limit of instances", func(p *policy.Policy) { p.Limits.MaxInstancesPerCaller = 0 }},
		{"no limit of connections", func(p *policy.Policy) { p.Limits.MaxConnections = 0 }},
		{"no limit of a caller's connections", func(p *policy.Policy) { p.Limits.MaxConnectionsPerCaller = 0 }},
		{"no session limit of a caller", func(p *policy.Policy) { p.Limits.MaxSessionsPerCaller = 0 }},
		{"no timeout", server(func(s *policy.Server) { s.Timeout = 0 })},
		{"no idle timeout", server(func(s *policy.Server) { s.IdleTimeout = 0 })},
		{"a negative freeze", server(func(s *policy.Server) { s.FreezeAfter = -1 })},
		{"a negative reclaim", server(func(s *policy.Server) { s.ReclaimAfter = -1 })},
		{"a cap below the timeout", server(func(s *policy.Server) { s.MaxTimeout = s.Timeout - 1 })},
		{"unknown instances", server(func(s *policy.Server) { s.Instances = "per-moon" })},
		{"unknown strategy", server(func(s *policy.Server) { s.Strategy = "" })},
		{"no replica", server(func(s *policy.Server) { s.Replicas = 0 })},
		{"negative warmth", server(func(s *policy.Server) { s.Warm = -1 })},
		{"a network without limits", server(func(s *policy.Server) { s.Network = &policy.Network{Allow: []string{"a"}} })},
		{"a bad certificate", func(p *policy.Policy) { p.HTTP.TLS = &policy.TLS{} }},
		{"a bad certificate of gRPC", func(p *policy.Policy) { p.GRPC.TLS = &policy.TLS{} }},
	}
	for _, test := range tests {
		bad, _ := newPolicy(t, 2, false, "echo")
		test.change(&bad)
		if err := r.apply(bad); err == nil {
			t.Errorf("%s: got no error", test.name)
		}
	}
	if err := r.proxy.Apply(2, []byte("{")); err == nil {
		t.Error("no JSON: got no error")
	}
	if err := r.proxy.Apply(2, []byte(`{"generation":3}`)); err == nil {
		t.Error("another generation: got no error")
	}
	if status, _, text := r.post("echo", key, "", initialize); status != http.StatusOK {
		t.Errorf("the generation before: got %d %s, want 200", status, text)
	}
}

func TestStart(t *testing.T) {
	tests := []struct {
		name    string
		servers []string
		want    []string
	}{
		{"all right", []string{"echo"}, nil},
		{"each failure", []string{"echo", "exit", "missing"}, []string{
			`start server "exit": server "exit" exited with status 7`,
			`start server "missing": the command is not visible`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newProxy(t)
			rules, _ := newPolicy(t, 1, true, test.servers...)
			if err := r.apply(rules); err != nil {
				t.Fatal(err)
			}
			err := r.proxy.Start(t.Context())
			if (err == nil) != (test.want == nil) || (r.proxy.ready() == nil) != (test.want == nil) {
				t.Fatalf("got error %v, ready: %v", err, r.proxy.ready())
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got error %v, want %q in it", err, want)
				}
			}
		})
	}
	t.Run("no policy", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := newProxy(t).proxy.Start(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v, want %v", err, context.Canceled)
		}
	})
}

// A proxy whose first policy is refused does not wait for a second one: it ends, and
// says why.
func TestStartWithoutAGoodPolicy(t *testing.T) {
	r := newProxy(t)
	bad, _ := newPolicy(t, 1, false, "echo")
	bad.RBAC = &policy.RBAC{File: "policies.yaml", Roles: map[string]policy.Role{"r": {Permissions: []policy.Permission{
		{Actions: []string{"*"}, When: "1", WhenAt: policy.Text{Position: policy.Position{Line: 7, Column: 12}}},
	}}}}
	waited := make(chan error, 1)
	go func() { waited <- r.proxy.Start(t.Context()) }()
	applied := r.apply(bad)
	if err := <-waited; err == nil || !errors.Is(err, applied) || !strings.Contains(err.Error(), "policies.yaml:7:12: when: is int") {
		t.Errorf("got %v and %v, want where the policy file is wrong", applied, err)
	}
}

// TestAwait: it ends with the first policy, or with its context.
func TestAwait(t *testing.T) {
	r := newProxy(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.proxy.Await(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v without a policy, want that the context ended", err)
	}
	waited := make(chan error, 1)
	go func() { waited <- r.proxy.Await(t.Context()) }()
	first, _ := newPolicy(t, 1, false, "echo")
	if err := r.apply(first); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err != nil {
		t.Errorf("got %v with a policy", err)
	}
}
