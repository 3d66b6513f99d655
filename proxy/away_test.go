package proxy

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"mcpgateway/proxy/proxytest"
)

// text is what several goroutines write.
type text struct {
	mu      sync.Mutex
	content bytes.Buffer
}

func (b *text) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.content.Write(p)
}

func (b *text) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.content.String()
}

func (r *running) metrics() string {
	recorder := httptest.NewRecorder()
	r.proxy.memory.metrics.ServeHTTP(recorder, httptest.NewRequest("GET", "/metrics", nil))
	return recorder.Body.String()
}

// A proxy outlives its daemon. It says so, and with the next one it is as it was at its
// start: the eager servers run, and what was said of the daemon before is forgotten.
func TestAnotherDaemon(t *testing.T) {
	opener := &proxytest.Opener{Fail: map[string]error{"missing": errors.New("the command is not visible")}}
	log := &text{}
	r := newProxyWith(t, Options{Daemon: opener, Log: slog.New(slog.NewTextHandler(log, nil))}, opener)
	p := r.proxy
	first, _ := newPolicy(t, 7, true, "echo")
	first.Metrics.Enabled = true
	if err := r.apply(first); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	again, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.StartAgain(again) }()
	defer func() { stop(); <-ended }()
	p.Reloaded(7, false)
	p.sample(t.Context(), time.Now())
	of := asked{p}.Servers()[0]
	sandbox := `sandbox="` + p.fleet.Running()[0].Sandbox + `"`
	if err := p.ready(); err != nil || of.Instances != 1 || !strings.Contains(r.metrics(), sandbox) {
		t.Fatalf("got %v, %+v, %s", err, of, r.metrics())
	}

	opener.Leave(true)
	opener.Die()
	p.Lost(errors.New("gone"))
	if err := p.ready(); err == nil || err.Error() != "there is no daemon, which starts servers: it was told to leave" {
		t.Errorf("ready: got %v", err)
	}
	if err, known := p.readyServer("echo"); err == nil || !known {
		t.Errorf("ready to serve: got %v, %v", err, known)
	}
	if v, err := p.Alive(t.Context()); err != nil || v.NotReady == nil {
		t.Errorf("alive: got %+v, %v", v, err)
	}
	next, _ := newPolicy(t, 1, true, "echo", "missing")
	next.Metrics.Enabled = true
	next.Transports = nil
	if err := r.apply(next); err == nil || !strings.Contains(err.Error(), "transports.http is off") {
		t.Errorf("got %v for a policy that does not fit what the proxy listens on", err)
	}
	if got := (asked{p}).Status(); got.Generation != 7 || got.LastReload == nil || got.Ready {
		t.Errorf("got %+v, want what was", got)
	}
	opener.Leave(false)
	next.Transports = []string{"http"}
	if err := r.apply(next); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(20 * time.Second); p.ready() != nil || strings.Contains(r.metrics(), sandbox) || len(p.fleet.Running()) != 1; {
		if time.Now().After(until) {
			t.Fatalf("got %v, %+v, and of what was before\n%s", p.ready(), p.fleet.Running(), r.metrics())
		}
		<-time.After(time.Millisecond)
	}
	if got := (asked{p}).Status(); got.Generation != 1 || got.LastReload != nil || !got.Ready {
		t.Errorf("got %+v", got)
	}
	if m := r.metrics(); !strings.Contains(m, "\nmcp_gateway_config_last_reload_successful 1\n") || !strings.Contains(m, "\nmcp_gateway_config_generation 1\n") {
		t.Errorf("got metrics\n%s", m)
	}
	for _, want := range []string{"the daemon is gone", "there is a daemon again", `start server \"missing\": the command is not visible`} {
		if strings.Count(log.String(), want) < 1 {
			t.Errorf("got the log\n%swant %q", log, want)
		}
	}
}

// A daemon that does not answer is its own fault, but for an answer behind a policy that is
// being applied.
func TestSilentDaemon(t *testing.T) {
	opener := &proxytest.Opener{}
	r := newProxyOver(t, opener, t.Output())
	rules, _ := newPolicy(t, 1, false, "echo")
	if err := r.apply(rules); err != nil {
		t.Fatal(err)
	}
	opener.Silent.Store(true)
	late, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if v, err := r.proxy.Alive(late); err != nil || v.NotReady == nil || !strings.HasPrefix(v.NotReady.Error(), "the daemon does not answer: ") {
		t.Errorf("got %+v, %v", v, err)
	}
	r.proxy.applying.Store(true)
	if v, err := r.proxy.Alive(late); err == nil {
		t.Errorf("got %+v while a policy is being applied", v)
	}
}
