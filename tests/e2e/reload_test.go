package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sys/unix"
)

// reloads is how often the configuration changes under load.
const reloads = 100

// settings are what changes of the configuration.
type settings struct {
	env, timeout, rate int
	rules              int // changes of the policy file
	extra              bool
	broken, remark     string
}

// shared and own change all the time, steady and still never do.
func (s settings) text(g *gateway) string {
	env := fmt.Sprintf("env: {CHANGE: \"%d\"}", s.env)
	entries := []string{
		testserver("shared", "instances: shared", "strategy: round-robin", "replicas: 2", fmt.Sprintf("timeout: %ds", 20+s.timeout), env),
		testserver("own", env), testserver("steady", fmt.Sprintf("timeout: %ds", 20+s.timeout)), testserver("still", "instances: shared"),
	}
	if s.extra {
		entries = append(entries, testserver("extra", "warm: 1"))
	}
	limit := fmt.Sprintf("rate_limit: {enabled: true, requests_per_second: %d, burst: 5000, per_identity: {requests_per_second: %[1]d}}\n", 5000+s.rate)
	return g.pool() + fmt.Sprintf("%s\n%stransports: {websocket: {enabled: true}}\n%ssecurity: {authorization: {type: rbac, policy_file: %q}}\n%s",
		s.remark, s.broken, limit, s.policy(g), servers(entries...))
}

// policy is the file with the rules.
func (s settings) policy(g *gateway) string { return filepath.Join(g.dir, "policies.yaml") }

// write writes the configuration and the policy file. Both are what they will be
// before anybody is told.
func (s settings) write(t *testing.T, g *gateway) {
	t.Helper()
	rules := fmt.Sprintf("version: \"1.0\"\nroles:\n  all: {permissions: [{actions: [\"*\"]}, {effect: deny, actions: [tools/call], tools: [none_%d]}]}\nbindings: [{role: all, users: [\"*\"]}]\n", s.rules)
	if old, err := os.ReadFile(s.policy(g)); err != nil || string(old) != rules {
		next := s.policy(g) + ".next"
		if err := errors.Join(os.WriteFile(next, []byte(rules), 0o600), os.Rename(next, s.policy(g))); err != nil {
			t.Fatal(err)
		}
	}
	g.writeConfig(t, s.text(g))
}

// next is the change number i, and whether it is one for the gateway.
func (s settings) next(i int) (settings, bool) {
	s.broken, s.remark = "", fmt.Sprintf("# change %d", i)
	switch i % 10 {
	case 0, 4, 7:
		s.env++
	case 1, 6:
		s.extra = !s.extra
	case 2:
		s.timeout++
	case 3:
		broken := s
		broken.broken = fmt.Sprintf("nonsense_%d: 1\n", i)
		return broken, true
	case 5:
		s.rate++
	case 8:
		s.rules++
	case 9:
		return s, false
	}
	return s, true
}

// TestReloadsUnderLoad changes the configuration over and over while clients of every
// kind are served. No request fails, and what has not changed goes on as it is.
func TestReloadsUnderLoad(t *testing.T) {
	t.Parallel()
	var now settings
	g := startPrepared(t, func(g *gateway) { now.write(t, g) })
	l := newLoad(t, g)
	before := l.processes()
	ways := []func(*testing.T, *gateway, settings){bySignal, byCommand}
	alone := 0
	for i := 1; i <= reloads; i++ {
		next, changed := now.next(i)
		way := ways[i%2]
		if i%8 == 5 && changed {
			way = byItself
			alone++
		}
		way(t, g, next)
		if next.broken == "" {
			now = next
		}
		l.sees(now.env)
		if i%10 == 5 {
			key := g.cli(t, "key", "create", fmt.Sprintf("k%d", i))
			g.cli(t, "key", "revoke", strings.Split(key, "_")[1])
		}
	}
	l.stop()
	if after := l.processes(); !maps.Equal(after, before) {
		t.Errorf("processes of what has not changed: got %v, had %v", after, before)
	}
	eventually(t, "what has changed is gone", func() bool {
		return len(g.instances(t, "shared")) <= 2 && len(g.instances(t, "own")) == 1 && len(g.instances(t, "extra")) <= 1
	})
	started := strings.Count(g.log.String(), "server started")
	t.Logf("%d reloads, %d of them by a changed file alone, %d processes started, requests: %v", reloads, alone, started, l.counts())
	if started < 2*reloads/4 {
		t.Errorf("got %d processes, want one for every change at least", started)
	}
}

func bySignal(t *testing.T, g *gateway, s settings) {
	t.Helper()
	text := "reloaded at SIGHUP"
	if s.broken != "" {
		text = "the new configuration was refused"
	}
	s.write(t, g)
	g.logs(t, text, func() {
		if err := unix.Kill(g.daemon, unix.SIGHUP); err != nil {
			t.Fatal(err)
		}
	})
}

func byCommand(t *testing.T, g *gateway, s settings) {
	t.Helper()
	s.write(t, g)
	if s.broken == "" {
		g.cli(t, "reload")
		return
	}
	key, _, _ := strings.Cut(s.broken, ":")
	if got := g.refusedReload(t); !strings.Contains(got, g.config()+":4:1: "+key) {
		t.Errorf("got %q, want where the mistake is", got)
	}
}

// byItself waits until the daemon has seen that the file has changed.
func byItself(t *testing.T, g *gateway, s settings) {
	t.Helper()
	text := "msg=\"configuration loaded\""
	if s.broken != "" {
		text = "the configuration's files have changed, and the old configuration stays in force"
	}
	g.logs(t, text, func() { s.write(t, g) })
}

// logs waits until the gateway logs a text once more than before do.
func (g *gateway) logs(t *testing.T, text string, do func()) {
	t.Helper()
	before := strings.Count(g.log.String(), text)
	do()
	eventually(t, "the gateway logs "+text, func() bool { return strings.Count(g.log.String(), text) > before })
}

// load is clients of every kind, who ask without a pause.
type load struct {
	t       *testing.T
	g       *gateway
	client  *http.Client
	over    context.Context
	stop    func()
	running sync.WaitGroup
	mu      sync.Mutex
	done    map[string]int
	failed  int
}

func newLoad(t *testing.T, g *gateway) *load {
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	over, cancel := context.WithCancel(context.Background())
	l := &load{t: t, g: g, client: &http.Client{Transport: transport, Timeout: patience}, over: over, done: map[string]int{}}
	l.stop = sync.OnceFunc(func() {
		cancel()
		l.running.Wait()
		transport.CloseIdleConnections()
	})
	t.Cleanup(l.stop)
	for _, server := range []string{"shared", "own", "still"} {
		l.run("stateless "+server, func() error { return l.echo(server) })
		l.run("rest "+server, func() error { return l.rest(server) })
		l.run("websocket "+server, l.socket(server, false))
		l.run("stream "+server, func() error { return l.stream(server) })
	}
	for range 2 {
		l.run("session", l.session())
	}
	l.run("websocket session", l.socket("steady", true))
	return l
}

// run does something over and over. The first time comes before it returns.
func (l *load) run(what string, do func() error) {
	l.t.Helper()
	if err := do(); err != nil {
		l.t.Fatalf("%s: %v", what, err)
	}
	l.running.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond) // leaves room on the host for others
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-l.over.Done():
				return
			}
			err := do()
			l.mu.Lock()
			l.done[what]++
			if err != nil {
				if l.failed++; l.failed <= 10 {
					l.t.Errorf("%s, request %d: %v", what, l.done[what], err)
				}
			}
			l.mu.Unlock()
		}
	})
}

func (l *load) counts() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.done)
}

// sees checks that calls from now on are answered by the new configuration.
func (l *load) sees(env int) {
	l.t.Helper()
	want := fmt.Sprintf("CHANGE=%d", env)
	for _, server := range []string{"shared", "own"} {
		for range 3 { // replicas
			if text, err := l.tool(server, "env", "{}", ""); err != nil || !bytes.Contains(text, []byte(want)) {
				l.t.Errorf("%s after the reload: got %.300s, %v, want %s", server, text, err, want)
			}
		}
	}
}

// processes are those of the servers that never change, by sandbox, and the gateway's own.
func (l *load) processes() map[string]int {
	l.t.Helper()
	found := map[string]int{"daemon": l.g.daemon, "proxy": l.g.proxy}
	for _, server := range []string{"steady", "still"} {
		for _, i := range l.g.instances(l.t, server) {
			found[fmt.Sprintf("%s of user %d", server, i.uid)] = i.launcher
		}
	}
	if len(found) != 2+3+1 {
		l.t.Errorf("got processes %v, want three sessions, and one shared", found)
	}
	return found
}

var requests atomic.Int64

const (
	statelessMeta = `"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"e2e","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}`
	callFormat    = `{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"_meta":{%s},"name":%q,"arguments":%s}}`
)

// post sends a request and returns the body of a good answer.
func (l *load) post(url, body string, headers ...string) (http.Header, []byte, error) {
	request, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	for _, h := range append(headers, "X-API-Key: "+l.g.addresses.Key, "Content-Type: application/json") {
		name, value, _ := strings.Cut(h, ": ")
		request.Header.Set(name, value)
	}
	response, err := l.client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode/100 != 2 {
		err = fmt.Errorf("status %d: %.300s", response.StatusCode, content)
	}
	return response.Header, content, err
}

// tool calls a tool in the stateless era.
func (l *load) tool(server, tool, arguments, meta string) ([]byte, error) {
	body := fmt.Sprintf(callFormat, requests.Add(1), statelessMeta+meta, tool, arguments)
	_, answer, err := l.post(l.g.addresses.HTTP+"/servers/"+server+"/mcp", body,
		"Accept: application/json, text/event-stream", "MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call", "Mcp-Name: "+tool)
	return answer, err
}

// good checks that an answer is a result that has what was sent.
func good(answer []byte, err error, want string) error {
	if err == nil && (bytes.Contains(answer, []byte(`"isError":true`)) || !bytes.Contains(answer, []byte(want))) {
		err = fmt.Errorf("got %.300s, want %s", answer, want)
	}
	return err
}

func (l *load) echo(server string) error {
	n := requests.Add(1)
	answer, err := l.tool(server, "echo", fmt.Sprintf(`{"n":%d}`, n), "")
	return good(answer, err, fmt.Sprintf(`"structuredContent":{"n":%d}`, n))
}

func (l *load) rest(server string) error {
	n := requests.Add(1)
	_, answer, err := l.post(l.g.addresses.HTTP+"/api/v1/servers/"+server+"/tools/echo", fmt.Sprintf(`{"n":%d}`, n))
	return good(answer, err, fmt.Sprintf(`{"n":%d}`, n))
}

// stream is a call that takes a while and tells of it.
func (l *load) stream(server string) error {
	answer, err := l.tool(server, "sleep", `{"seconds":0.2}`, `,"progressToken":"p"`)
	if notes := bytes.Count(answer, []byte("notifications/progress")); err == nil && notes != 10 {
		err = fmt.Errorf("got %d notes of progress in %.300s, want 10", notes, answer)
	}
	return good(answer, err, "slept 200ms")
}

// session is calls in a session with the server that never changes.
func (l *load) session() func() error {
	at := l.g.addresses.HTTP + "/servers/steady/mcp"
	accept := "Accept: application/json, text/event-stream"
	header, _, err := l.post(at, initialize, accept)
	if err != nil {
		l.t.Fatal(err)
	}
	in := []string{accept, "MCP-Protocol-Version: 2025-11-25", "Mcp-Session-Id: " + header.Get("Mcp-Session-Id")}
	if _, _, err := l.post(at, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, in...); err != nil {
		l.t.Fatal(err)
	}
	return func() error {
		n := requests.Add(1)
		_, answer, err := l.post(at, fmt.Sprintf(callFormat, n, "", "echo", fmt.Sprintf(`{"n":%d}`, n)), in...)
		return good(answer, err, fmt.Sprintf(`"structuredContent":{"n":%d}`, n))
	}
}

// socket is calls over one WebSocket, in a session or in the stateless era.
func (l *load) socket(server string, inSession bool) func() error {
	ctx := context.Background()
	conn, response, err := websocket.Dial(ctx, strings.Replace(l.g.addresses.HTTP, "http", "ws", 1)+"/servers/"+server+"/ws",
		&websocket.DialOptions{Subprotocols: []string{"mcp"}, HTTPHeader: http.Header{"X-Api-Key": {l.g.addresses.Key}}})
	if err != nil {
		l.t.Fatal(err)
	}
	if response.Body != nil {
		response.Body.Close()
	}
	l.t.Cleanup(func() { conn.CloseNow() })
	ask := func(body string) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		if err := conn.Write(ctx, websocket.MessageText, []byte(body)); err != nil {
			return nil, err
		}
		_, answer, err := conn.Read(ctx)
		return answer, err
	}
	meta := statelessMeta
	if inSession {
		meta = ""
		_, err := ask(initialize)
		if err = errors.Join(err, conn.Write(ctx, websocket.MessageText, []byte(`{"jsonrpc":"2.0","method":"notifications/initialized"}`))); err != nil {
			l.t.Fatal(err)
		}
	}
	return func() error {
		n := requests.Add(1)
		answer, err := ask(fmt.Sprintf(callFormat, n, meta, "echo", fmt.Sprintf(`{"n":%d}`, n)))
		return good(answer, err, fmt.Sprintf(`"structuredContent":{"n":%d}`, n))
	}
}

// TestSessionOfAChangedServer has a session whose process must go: its call in flight
// is answered by it, and the next one by another process, of the new configuration.
func TestSessionOfAChangedServer(t *testing.T) {
	t.Parallel()
	text := func(g *gateway, env string) string {
		return g.pool() + servers(testserver("test", "env: {A: "+env+"}"))
	}
	g := startPrepared(t, func(g *gateway) { g.writeConfig(t, text(g, "one")) })
	s := g.open(t, "test")
	old := g.only(t, "test")
	slow := make(chan string, 1)
	go func() { slow <- string(s.call(t, "sleep", `{"seconds":2}`).message) }()
	asked := 0
	eventually(t, "the call has begun", func() bool { asked++; return s.calls(t) > asked })
	g.writeConfig(t, text(g, "two"))
	g.cli(t, "reload")
	if got := s.ask(t, "env", struct{}{}); !strings.Contains(got, "A=two") {
		t.Errorf("after the reload: got %s", got)
	}
	if got := <-slow; !strings.Contains(got, "slept 2s") {
		t.Errorf("the call in flight: got %s", got)
	}
	g.gone(t, old)
}

// calls is how many tool calls a session's server has seen.
func (s *session) calls(t *testing.T) int {
	t.Helper()
	var m struct {
		Result struct{ StructuredContent struct{ Calls int } }
	}
	if err := json.Unmarshal(s.call(t, "counters", "{}").message, &m); err != nil {
		t.Fatal(err)
	}
	return m.Result.StructuredContent.Calls
}
