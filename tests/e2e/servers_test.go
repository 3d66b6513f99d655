package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// command is mcp-gateway for this gateway.
func (g *gateway) command(args ...string) *exec.Cmd {
	return exec.Command(filepath.Join(built.bin, "mcp-gateway"), append(args, "--state", g.state())...)
}

// try runs mcp-gateway and returns what it said, and its exit status.
func (g *gateway) try(t *testing.T, args ...string) (out, problems string, status int) {
	t.Helper()
	cmd := g.command(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var ended *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

// document runs mcp-gateway with -o json and reads what it says.
func (g *gateway) document(t *testing.T, into any, args ...string) {
	t.Helper()
	if err := json.Unmarshal([]byte(g.cli(t, append(args, "-o", "json")...)), into); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
}

type serverLine struct {
	Name, State string
	Instances   int
	Load        struct{ Calls, Errors int }
}

func (g *gateway) serverLine(t *testing.T, name string) serverLine {
	t.Helper()
	var list struct{ Servers []serverLine }
	g.document(t, &list, "servers")
	for _, s := range list.Servers {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("servers: got %+v, want %s among them", list, name)
	return serverLine{}
}

// An operator sees what runs, stops a server, whose clients are told so, and starts it.
func TestServersStopAndStart(t *testing.T) {
	t.Parallel()
	g := start(t, servers(testserver("one"), testserver("two")))
	if got := g.open(t, "one").ask(t, "echo", struct{}{}); got != "{}" {
		t.Fatalf("got %q", got)
	}
	if one, two := g.serverLine(t, "one"), g.serverLine(t, "two"); one.State != "running" || one.Instances != 1 || one.Load.Calls < 2 || two.State != "idle" {
		t.Errorf("got %+v and %+v", one, two)
	}
	var s struct {
		Ready     bool
		Listeners []struct{ Transport, Address string }
		Servers   map[string]int
		Sessions  int
		Load      struct{ Calls int }
	}
	g.document(t, &s, "status")
	if !s.Ready || len(s.Listeners) != 1 || s.Servers["running"] != 1 || s.Servers["idle"] != 1 || s.Sessions != 1 || s.Load.Calls < 2 {
		t.Errorf("status: got %+v", s)
	}
	if out := g.cli(t, "status"); !strings.Contains(out, "ready") || !strings.Contains(out, "http 127.0.0.1:") || strings.Contains(out, "\x1b") {
		t.Errorf("status: got %s", out)
	}

	g.cli(t, "servers", "stop", "one")
	refused := g.at("one").post(t, initialize)
	if refused.status != http.StatusServiceUnavailable || !bytes.Contains(refused.message, []byte(`server \"one\" was stopped by an operator`)) {
		t.Errorf("a server that is stopped: got %d %s", refused.status, refused.message)
	}
	eventually(t, "its instances have ended", func() bool { return len(g.instances(t, "one")) == 0 })
	if got := g.serverLine(t, "one").State; got != "stopped" {
		t.Errorf("got state %q, want stopped", got)
	}
	if got := g.cli(t, "servers", "start", "one"); !strings.HasPrefix(got, "one: running: ") {
		t.Errorf("start: got %q", got)
	}
	if got := g.open(t, "one").ask(t, "echo", struct{}{}); got != "{}" {
		t.Errorf("after the start: got %q", got)
	}
	if _, problems, status := g.try(t, "servers", "start", "three"); status != 1 || !strings.Contains(problems, `there is no enabled server "three"`) {
		t.Errorf("got %d %s", status, problems)
	}
	var all struct {
		Server struct {
			Settings struct{ Timeout time.Duration }
		}
		Sandboxes  []struct{ ID string }
		Tools      []struct{ Name string }
		Configured struct {
			Command string
			Env     []string
			Sandbox []any
		}
	}
	if err := json.Unmarshal([]byte(g.cli(t, "servers", "inspect", "one", "--config", g.config())), &all); err != nil {
		t.Fatal(err)
	}
	if all.Server.Settings.Timeout != time.Minute || len(all.Sandboxes) == 0 || len(all.Tools) == 0 || all.Configured.Command != "/srv/e2e/testserver" || len(all.Configured.Sandbox) == 0 {
		t.Errorf("inspect: got %+v", all)
	}
}

func TestStatusWithoutGateway(t *testing.T) {
	t.Parallel()
	g := &gateway{dir: folder(t)}
	if err := os.Mkdir(g.state(), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, problems, status := g.try(t, "status"); status != 3 || !strings.Contains(problems, "does not run") {
		t.Errorf("got %d %s, want status 3", status, problems)
	}
}

// A server that does not start says why, and status shows what is left alone.
func TestServersThatDoNotStart(t *testing.T) {
	t.Parallel()
	g := start(t, servers(entry("broken", "command: /bin/sh", `args: [-c, "echo no key file >&2; exit 3"]`)))
	_, problems, status := g.try(t, "servers", "start", "broken")
	if status != 1 || !strings.Contains(problems, "exited with status 3") {
		t.Errorf("got %d %s, want why", status, problems)
	}
	if got := g.cli(t, "servers", "logs", "broken"); !strings.Contains(got, "no key file") {
		t.Errorf("logs: got %q", got)
	}
}

// Clients call without a pause while the server is restarted: no call is lost.
func TestServersRestartUnderLoad(t *testing.T) {
	t.Parallel()
	g := start(t, servers(testserver("test", "instances: shared", "replicas: 2", "strategy: round-robin")))
	l := &load{t: t, g: g, client: http.DefaultClient}
	over := make(chan struct{})
	var calling sync.WaitGroup
	var mu sync.Mutex
	calls := 0
	for range 4 {
		calling.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				if err := l.echo("test"); err != nil {
					t.Errorf("a call: %v", err)
					return
				}
				mu.Lock()
				calls++
				mu.Unlock()
			}
		})
	}
	made := func() int {
		mu.Lock()
		defer mu.Unlock()
		return calls
	}
	eventually(t, "clients call", func() bool { return made() > 100 })
	before := map[int]bool{}
	for _, i := range g.instances(t, "test") {
		before[i.launcher] = true
	}
	for range 3 {
		g.cli(t, "servers", "restart", "test")
	}
	after := made()
	eventually(t, "clients call on", func() bool { return made() > after+100 })
	close(over)
	calling.Wait()
	eventually(t, "the instances before are gone", func() bool {
		for _, i := range g.instances(t, "test") {
			if before[i.launcher] {
				return false
			}
		}
		return true
	})
}

// Who follows a server's output sees what it writes from then on.
func TestServersLogsFollow(t *testing.T) {
	t.Parallel()
	g := start(t, servers(testserver("test", "env: {LINE: hello}")))
	s := g.open(t, "test")
	cmd := g.command("servers", "logs", "-f", "-n", "0", "-o", "json", "test")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cmd.Process.Signal(unix.SIGINT); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // it ends by the signal
	}()
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		select {
		case line := <-lines:
			if !strings.Contains(line, `"sandbox":"`) || !strings.Contains(line, `"text":"hello`) {
				t.Errorf("got %q, want a line that the server wrote", line)
			}
			return
		case <-tick.C: // whether it follows already nobody tells
			s.ask(t, "tell", map[string]any{"names": []string{"LINE"}, "how": "stderr"})
		case <-deadline:
			t.Fatal("got no line")
		}
	}
}

func TestToolsCall(t *testing.T) {
	t.Parallel()
	g := startPrepared(t, func(g *gateway) {
		g.writeConfig(t, g.pool()+audited(g.dir)+servers(testserver("test")))
	})
	if got := g.cli(t, "tools", "call", "test", "echo", "text=a b", "n:=1.0"); !strings.Contains(got, `"n":1.0`) || !strings.Contains(got, `"text":"a b"`) {
		t.Errorf("got %s", got)
	}
	var result struct{ StructuredContent json.RawMessage }
	g.document(t, &result, "tools", "call", "test", "echo", "--args", `{"n":9007199254740993}`)
	if !bytes.Contains(result.StructuredContent, []byte("9007199254740993")) {
		t.Errorf("got %s", result.StructuredContent)
	}
	if _, _, status := g.try(t, "tools", "call", "test", "read_file", "path=/not/there"); status != 1 {
		t.Errorf("a tool that fails: got status %d, want 1", status)
	}
	if _, problems, status := g.try(t, "tools", "call", "test", "echo", "--args", "[]"); status != 2 || !strings.Contains(problems, "no JSON object") {
		t.Errorf("got %d %s", status, problems)
	}
	if got := g.serverLine(t, "test").Load.Calls; got != 0 {
		t.Errorf("got %d calls of clients, want none", got)
	}
	eventually(t, "the calls are in the audit log", func() bool {
		return bytes.Count(mustRead(t, filepath.Join(g.dir, "audit.log")), []byte(`"event":"operator","subject":"root"`)) == 3
	})
}

func TestTopOnce(t *testing.T) {
	t.Parallel()
	g := start(t, servers(testserver("test")))
	s := g.open(t, "test")
	s.ask(t, "echo", struct{}{})
	var top struct {
		Gateway struct{ Sandboxes int }
		Rows    []struct {
			Server, Sandbox, State string
			Memory                 int64 `json:"memory_bytes"`
			PIDs                   int64
		}
	}
	g.document(t, &top, "top", "--once")
	if top.Gateway.Sandboxes != 1 || len(top.Rows) != 1 || top.Rows[0].Server != "test" || top.Rows[0].State != "running" || top.Rows[0].Memory <= 0 || top.Rows[0].PIDs <= 0 {
		t.Errorf("got %+v", top)
	}
	if out := g.cli(t, "top", "-n", "1"); !strings.Contains(out, "SANDBOX") || !strings.Contains(out, "test-") || strings.Contains(out, "\x1b") {
		t.Errorf("got %s", out)
	}
}
