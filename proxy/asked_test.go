package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/audit"
	"mcpgateway/policy/chain"
	"mcpgateway/proxy/operator"
	"mcpgateway/proxy/proxytest"
	"mcpgateway/proxy/quota"
	"mcpgateway/proxy/report"
)

// operated is a proxy and what its operator asks.
type operated struct {
	*running
	opener   *proxytest.Opener
	operator http.Handler
	key      string
}

func newOperated(t *testing.T, change func(*policy.Policy), servers ...string) *operated {
	t.Helper()
	opener := &proxytest.Opener{Fail: map[string]error{"missing": errors.New("the command is not visible")}}
	r := newProxyOver(t, opener, t.Output())
	rules, key := newPolicy(t, 1, false, servers...)
	if change != nil {
		change(&rules)
	}
	if err := r.apply(rules); err != nil {
		t.Fatal(err)
	}
	return &operated{r, opener, operator.New(asked{r.proxy}, 0, slog.New(slog.NewTextHandler(t.Output(), nil))).Handler(), key}
}

// ask asks the operator's side and reads the answer into a value.
func (o *operated) ask(method, path, body string, status int, answer any) (text string) {
	o.t.Helper()
	recorder := newRecorder()
	request := httptest.NewRequestWithContext(o.t.Context(), method, path, strings.NewReader(body))
	o.operator.ServeHTTP(recorder, request)
	text = recorder.Body.String()
	if recorder.Code != status {
		o.t.Fatalf("%s %s: got %d %s, want %d", method, path, recorder.Code, text, status)
	}
	if answer != nil {
		if err := json.Unmarshal([]byte(text), answer); err != nil {
			o.t.Fatalf("%s %s: %v in %s", method, path, err, text)
		}
	}
	return text
}

// recorder is one whose deadlines can be set.
type recorder struct{ *httptest.ResponseRecorder }

func newRecorder() recorder { return recorder{httptest.NewRecorder()} }

func (recorder) SetReadDeadline(time.Time) error  { return nil }
func (recorder) SetWriteDeadline(time.Time) error { return nil }

func (o *operated) server(name string) (detail report.Detail) {
	o.t.Helper()
	o.ask("GET", "/servers/"+name, "", 200, &detail)
	return detail
}

const callEcho = `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"echo","arguments":{}}}`

func TestOperatorSeesServers(t *testing.T) {
	o := newOperated(t, nil, "echo", "crash")
	_, session, _ := o.post("echo", o.key, "", initialize)
	if status, _, text := o.post("echo", o.key, session, callEcho); status != http.StatusOK {
		t.Fatalf("got %d %s", status, text)
	}
	_, crashing, _ := o.post("crash", o.key, "", initialize)
	o.post("crash", o.key, crashing, callEcho)

	echo := o.server("echo")
	if echo.State != report.Running || echo.Instances != 1 || len(echo.Sandboxes) != 1 || echo.Since.IsZero() || echo.Load.Calls < 2 || echo.Load.Errors != 0 || echo.Load.P95 <= 0 || echo.LastError != nil {
		t.Errorf("got %+v, want a server that runs well", echo)
	}
	if echo.Settings.Timeout != time.Minute || echo.Settings.Secrets != nil {
		t.Errorf("got settings %+v", echo.Settings)
	}
	crash := o.server("crash")
	if crash.Load.Errors == 0 || crash.LastError == nil || crash.LastError.Status != "ended" || !strings.Contains(crash.LastError.Reason, "exited with status 3") {
		t.Errorf("got %+v, want a call whose server ended", crash)
	}
	var all report.Servers
	o.ask("GET", "/servers", "", 200, &all)
	if len(all.Servers) != 2 || all.Servers[0].Name != "crash" || all.Servers[1].Name != "echo" {
		t.Errorf("got %+v, want both, sorted", all)
	}
	var status report.Status
	o.ask("GET", "/status", "", 200, &status)
	if status.Ready || status.NotReady == "" || status.Generation != 1 || status.Sessions < 1 || status.Load.Calls < 4 || status.Applied.IsZero() ||
		len(status.Listeners) != 1 || status.Listeners[0].Transport != "http" || status.Servers[report.Running] < 1 {
		t.Errorf("got %+v", status)
	}
	o.proxy.Reloaded(1, false)
	if o.ask("GET", "/status", "", 200, &status); status.LastReload == nil || status.LastReload.Good {
		t.Errorf("got %+v, want a reload that was refused", status.LastReload)
	}
}

func TestOperatorCallsTools(t *testing.T) {
	o := newOperated(t, nil, "echo", "modern", "missing")
	tests := []struct {
		name, server, call string
		status             int
		want               string
	}{
		{"of the handshake era", "echo", `{"tool":"echo","arguments":{"a":1.0}}`, 200, `{\"a\":1.0}`},
		{"exact numbers", "echo", `{"tool":"echo"}`, 200, `"big":9007199254740993`},
		{"of the stateless era", "modern", `{"tool":"echo","arguments":{"a":2}}`, 200, `{\"a\":2}`},
		{"that asks for input", "modern", `{"tool":"input"}`, 502, `asks its client for input`},
		{"of a server that does not start", "missing", `{"tool":"echo"}`, 502, `the command is not visible`},
		{"with a member twice", "echo", `{"tool":"echo","arguments":{"a":1,"a":2}}`, 502, `duplicate`},
		{"of a server that is not there", "other", `{"tool":"echo"}`, 404, `there is no enabled server`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := o.ask("POST", "/servers/"+test.server+"/call", test.call, test.status, nil); !strings.Contains(got, test.want) {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
	if got := o.ask("POST", "/servers/echo/call?timeout=50ms", `{"tool":"wait"}`, 502, nil); !strings.Contains(got, "not done within 50ms") {
		t.Errorf("got %s, want that its time is over", got)
	}
	if got := o.server("echo").Load.Total; got != 0 {
		t.Errorf("got %d calls counted, want none: they are no client's", got)
	}
}

// signer signs nothing.
type signer struct{}

func (signer) Checkpoint(_ context.Context, head chain.Head) (chain.Head, error) { return head, nil }
func (signer) Rotate(context.Context, chain.Head) (audit.Handover, error) {
	return audit.Handover{}, errors.New("no")
}

func TestOperatorIsAudited(t *testing.T) {
	opener := &proxytest.Opener{}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	audits := audit.New(signer{}, log)
	r := newProxyWith(t, Options{Daemon: opener, Audit: audits, Log: log}, opener)
	ctx, cancel := context.WithCancel(context.Background())
	written := make(chan error, 1)
	go func() { written <- audits.Run(ctx) }()
	path := t.TempDir() + "/audit.log"
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	r.proxy.TakeAudit(audit.Handover{File: file, Number: 1, Chain: "proxy"})
	rules, key := newPolicy(t, 1, false, "echo")
	rules.Audit = &policy.Audit{OnFull: policy.OnFullBlock, Sync: policy.SyncNever, MaxSize: 1 << 20, DigestKey: bytes.Repeat([]byte("k"), 32)}
	if err := r.apply(rules); err != nil {
		t.Fatal(err)
	}
	o := &operated{r, opener, operator.New(asked{r.proxy}, 0, log).Handler(), key}
	o.ask("POST", "/servers/echo/call", `{"tool":"echo","arguments":{"a":1}}`, 200, nil)
	o.ask("POST", "/servers/echo/call?timeout=20ms", `{"tool":"wait"}`, 502, nil)
	cancel()
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"event":"operator","subject":"root","server":"echo","instance":"echo-`, `"method":"tools/call","name":"echo","decision":"allow","status":"ok"`,
		`"name":"wait","decision":"allow","status":"failed","reason":"call tool`, `"arguments_digest":"`,
	} {
		if !bytes.Contains(content, []byte(want)) {
			t.Errorf("got no %s in\n%s", want, content)
		}
	}
}

// What a server writes to its standard error is there for the operator, without its end.
func TestOperatorReadsLogs(t *testing.T) {
	o := newOperated(t, nil, "crash")
	_, session, _ := o.post("crash", o.key, "", initialize)
	o.post("crash", o.key, session, callEcho)
	reader, err := asked{o.proxy}.Follow("crash", 10)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	lines, err := reader.Next(t.Context())
	if err != nil || len(lines) != 1 || lines[0].Text != "panic: secret token hunter2" || !strings.HasPrefix(lines[0].Sandbox, "crash-") {
		t.Errorf("got %+v, %v", lines, err)
	}
	var line report.Line
	decoder := json.NewDecoder(strings.NewReader(o.ask("GET", "/servers/crash/logs", "", 200, nil)))
	if err := decoder.Decode(&line); err != nil || line.Text != lines[0].Text {
		t.Errorf("got %+v, %v", line, err)
	}
	if err := decoder.Decode(&line); !errors.Is(err, io.EOF) {
		t.Errorf("got %+v, want one line", line)
	}
}

func TestOperatorStopsAndStarts(t *testing.T) {
	o := newOperated(t, nil, "echo", "exit")
	_, session, _ := o.post("echo", o.key, "", initialize)
	var done report.Done
	o.ask("POST", "/servers/echo/stop", "", 200, &done)
	if done.State != report.Stopped || done.Ending != 1 {
		t.Errorf("stop: got %+v", done)
	}
	for _, in := range []string{session, ""} {
		if status, _, text := o.post("echo", o.key, in, initialize); status == http.StatusOK {
			t.Errorf("a call of a server that is stopped: got %d %s", status, text)
		}
	}
	status, _, text := o.post("echo", o.key, "", initialize)
	if status != http.StatusServiceUnavailable || !strings.Contains(text, "was stopped by an operator") {
		t.Errorf("got %d %s, want 503", status, text)
	}
	if s := o.server("echo"); s.State != report.Stopped || s.Since.IsZero() {
		t.Errorf("got %+v, want stopped", s.Server)
	}
	o.ask("POST", "/servers/echo/start", "", 200, &done)
	if done.State != report.Running || len(done.Sandboxes) != 1 {
		t.Errorf("start: got %+v", done)
	}
	if status, _, text := o.post("echo", o.key, "", initialize); status != http.StatusOK {
		t.Errorf("after the start: got %d %s", status, text)
	}
	opened := len(o.opener.Opened())
	o.ask("POST", "/servers/echo/start", "", 200, &done)
	if got := len(o.opener.Opened()); got != opened {
		t.Errorf("start of a server that runs: got %d instances, want %d", got, opened)
	}
	if got := o.ask("POST", "/servers/exit/start", "", 502, nil); !strings.Contains(got, "exited with status 7") {
		t.Errorf("got %s, want why it does not start", got)
	}
}

func TestOperatorLiftsCrashLoop(t *testing.T) {
	o := newOperated(t, func(p *policy.Policy) {
		server := p.Servers["exit"]
		server.Restart = policy.Restart{Backoff: time.Millisecond, MaxBackoff: time.Millisecond, Limit: 2, Reset: time.Minute}
		p.Servers["exit"] = server
	}, "exit")
	call := func() { o.ask("POST", "/servers/exit/call", `{"tool":"echo"}`, 502, nil) }
	for range 3 {
		call()
	}
	if s := o.server("exit"); s.State != report.CrashLoop || !strings.Contains(s.Reason, "exited with status 7") || len(s.Places) != 1 {
		t.Errorf("got %+v, want a crash loop", s)
	}
	opened := len(o.opener.Opened())
	call()
	if got := len(o.opener.Opened()); got != opened {
		t.Errorf("an instance was started in a crash loop")
	}
	o.ask("POST", "/servers/exit/start", "", 502, nil)
	if got := len(o.opener.Opened()); got <= opened {
		t.Error("start: no instance was started")
	}
}

// Replicas are replaced one by one, while clients call: no call fails.
func TestOperatorRestartsUnderLoad(t *testing.T) {
	o := newOperated(t, func(p *policy.Policy) {
		server := p.Servers["modern"]
		server.Instances, server.Replicas, server.Strategy = policy.InstancesShared, 2, policy.StrategyRoundRobin
		p.Servers["modern"] = server
	}, "modern")
	call := func() string {
		return o.ask("POST", "/servers/modern/call", `{"tool":"pid"}`, 200, nil)
	}
	before := map[string]bool{call(): true, call(): true}
	if len(before) != 2 {
		t.Fatalf("got %v, want two replicas", before)
	}
	over := make(chan struct{})
	var calling sync.WaitGroup
	for range 4 {
		calling.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
					recorder := newRecorder()
					o.operator.ServeHTTP(recorder, httptest.NewRequestWithContext(context.Background(), "POST", "/servers/modern/call", strings.NewReader(`{"tool":"echo"}`)))
					if recorder.Code != 200 {
						t.Errorf("a call failed: %s", recorder.Body)
						return
					}
				}
			}
		})
	}
	for range 3 {
		var done report.Done
		o.ask("POST", "/servers/modern/restart", "", 200, &done)
		if len(done.Sandboxes) != 2 || done.Ending < 2 || done.State != report.Running {
			t.Errorf("got %+v, want two replicas that were replaced", done)
		}
	}
	close(over)
	calling.Wait()
	if now := call(); before[now] {
		t.Errorf("got an answer of %s, which was to end", now)
	}
}

func TestNearlyUsedUp(t *testing.T) {
	t.Parallel()
	at := func(used float64, known bool) quota.State {
		return quota.State{Project: "p", Quota: "calls_per_day", Limit: 200, Used: used, Known: known, Until: time.Unix(0, 0)}
	}
	budgets := map[string]policy.Budget{"p": {WarnPercent: 80}}
	want := `project "p" has used 90% of calls_per_day, which is 200, until 1970-01-01T00:00:00Z`
	if got := nearlyUsedUp([]quota.State{at(100, true), at(180, false), at(180, true)}, budgets); len(got) != 1 || got[0] != want {
		t.Errorf("got %q, want %q alone", got, want)
	}
	if got := nearlyUsedUp([]quota.State{at(180, true), at(200, true)}, nil); len(got) != 1 {
		t.Errorf("without a threshold: got %q, want the one that is used up", got)
	}
}
