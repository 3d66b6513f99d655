package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mcpgateway/tests/hostids"
)

// patience is how long anything may take that has no limit of its own. It is no
// measure of speed: the host may be busy.
const patience = 60 * time.Second

// gateway is a running `mcp-gateway up`.
type gateway struct {
	dir       string // configuration, state and ready file
	runDir    string // where the gateway keeps what ends with it
	firstID   int    // of the host ids that its sandboxes get
	addresses addresses
	daemon    int // process ids
	proxy     int

	cmd   *exec.Cmd
	out   output        // what up says itself
	log   output        // of up, the daemon and the proxy
	ended chan struct{} // closed when the process has ended; then err is set
	err   error

	killed bool // by the test, which therefore expects no orderly end
}

// addresses is the ready file.
type addresses struct {
	HTTP, GRPC, WebSocket, SSE, Admin, Key string
}

// output keeps what a process writes.
type output struct {
	mu      sync.Mutex
	content bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.content.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.content.String()
}

// start runs a gateway until the end of the test and waits until it is ready. The
// sections are the configuration, without the version and the uid pool.
func start(t *testing.T, sections ...string) *gateway {
	t.Helper()
	return startPrepared(t, func(*gateway) {}, sections...)
}

// startPrepared is start for a gateway that needs more than a configuration:
// prepare may change its folder and its command.
func startPrepared(t *testing.T, prepare func(*gateway), sections ...string) *gateway {
	t.Helper()
	g := launchPrepared(t, prepare, sections...)
	t.Cleanup(func() { g.stop(t) })
	ready := filepath.Join(g.dir, "ready.json")
	eventually(t, "the gateway is ready", func() bool {
		if g.hasEnded() {
			t.Fatalf("the gateway ended (%v) before it was ready:\n%s", g.err, g.log.String())
		}
		content, err := os.ReadFile(ready)
		if errors.Is(err, os.ErrNotExist) {
			return false
		}
		if err == nil {
			err = json.Unmarshal(content, &g.addresses)
		}
		if err != nil {
			t.Fatal(err)
		}
		return true
	})
	var daemon, proxy bool
	g.daemon, daemon = childNamed(g.cmd.Process.Pid, "mcp-gatewayd")
	g.proxy, proxy = childNamed(g.cmd.Process.Pid, "mcp-gateway-proxy")
	if !daemon || !proxy {
		t.Fatalf("the gateway is ready, but its daemon (%d) or its proxy (%d) is not there", g.daemon, g.proxy)
	}
	socket, err := os.Readlink(filepath.Join(g.state(), "control.sock"))
	if err != nil {
		t.Fatal(err)
	}
	g.runDir = filepath.Dir(socket)
	return g
}

// launch starts a gateway and does not wait. Whoever calls it waits for ended.
func launch(t *testing.T, sections ...string) *gateway {
	t.Helper()
	return launchPrepared(t, func(*gateway) {}, sections...)
}

func launchPrepared(t *testing.T, prepare func(*gateway), sections ...string) *gateway {
	t.Helper()
	first, release, err := hostids.Claim()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	g := &gateway{dir: folder(t), firstID: first, ended: make(chan struct{})}
	g.writeConfig(t, g.pool()+strings.Join(sections, ""))
	g.cmd = exec.Command(filepath.Join(built.bin, "mcp-gateway"), "up", "--config", g.config(), "--state", g.state(),
		"--ready-file", filepath.Join(g.dir, "ready.json"), "--with-key")
	prepare(g)
	g.cmd.Stdout, g.cmd.Stderr = &g.out, &g.log
	// The daemon and the proxy hold the output open a little longer if up is killed.
	g.cmd.WaitDelay = patience
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		g.err = g.cmd.Wait()
		close(g.ended)
	}()
	return g
}

// pool is what each configuration begins with.
func (g *gateway) pool() string {
	return fmt.Sprintf("version: \"1.0\"\nsandbox: {uid_pool: {start: %d, count: %d}}\n", g.firstID, hostids.Ranges)
}

func (g *gateway) config() string { return filepath.Join(g.dir, "mcp-gateway.yaml") }
func (g *gateway) state() string  { return filepath.Join(g.dir, "state") }

func (g *gateway) writeConfig(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(g.config(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// stop ends the gateway as Ctrl-C does and asserts that nothing of it is left.
func (g *gateway) stop(t *testing.T) {
	t.Helper()
	left := g.inspect()
	if !g.killed {
		if err := g.cmd.Process.Signal(unix.SIGINT); err != nil {
			t.Errorf("interrupt the gateway: %v", err)
		}
	}
	g.wait(t)
	if g.err != nil && !g.killed {
		t.Errorf("the gateway ended with %v, want status 0", g.err)
	}
	if g.runDir != "" {
		g.checkNothingLeft(t, left)
	}
	if t.Failed() {
		t.Logf("the gateway's log:\n%s", tail(g.log.String()))
	}
}

func (g *gateway) hasEnded() bool {
	select {
	case <-g.ended:
		return true
	default:
		return false
	}
}

// wait waits for the end of the gateway, and kills one that does not end.
func (g *gateway) wait(t *testing.T) {
	t.Helper()
	select {
	case <-g.ended:
	case <-time.After(patience):
		t.Errorf("the gateway did not end within %s", patience)
		if err := g.cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		<-g.ended
	}
}

func tail(text string) string {
	const longest = 8 << 10
	return text[max(0, len(text)-longest):]
}

// cli runs mcp-gateway on this gateway's state and returns its output.
func (g *gateway) cli(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(built.bin, "mcp-gateway"), append(args, "--state", g.state())...)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("mcp-gateway %s: %v: %s", strings.Join(args, " "), err, problems.String())
	}
	return strings.TrimSpace(string(out))
}

// refusedReload is what a reload that fails says.
func (g *gateway) refusedReload(t *testing.T) string {
	t.Helper()
	out, err := exec.Command(filepath.Join(built.bin, "mcp-gateway"), "reload", "--state", g.state()).CombinedOutput()
	if err == nil {
		t.Errorf("reload: got %s, want that it fails", out)
	}
	return string(out)
}

// instance is a line of mcp-gateway ps.
type instance struct {
	server   string
	launcher int // process id of the sandbox's first process
	uid      int // its id on the host
}

// instances are the running sandboxes of one server.
func (g *gateway) instances(t *testing.T, server string) []instance {
	t.Helper()
	var found []instance
	sandboxes, _, _ := strings.Cut(g.cli(t, "ps"), "\n\n") // breakers come behind them
	lines := strings.Split(sandboxes, "\n")
	for _, line := range lines[1:] {
		var i instance
		var id, project string
		if _, err := fmt.Sscan(line, &id, &project, &i.server, &i.launcher, &i.uid); err != nil {
			t.Fatalf("mcp-gateway ps: line %q: %v", line, err)
		}
		if i.server == server {
			found = append(found, i)
		}
	}
	return found
}

// only returns the one running sandbox of a server.
func (g *gateway) only(t *testing.T, server string) instance {
	t.Helper()
	found := g.instances(t, server)
	if len(found) != 1 {
		t.Fatalf("sandboxes of %q: got %v, want one", server, found)
	}
	return found[0]
}

// gone waits until no process of a sandbox is left, and then until the gateway has
// done with it: it is listed until its cgroup and its mounts are removed.
func (g *gateway) gone(t *testing.T, i instance) {
	t.Helper()
	eventually(t, "every process of the sandbox is gone", func() bool { return len(processesOf(i.uid, 1)) == 0 })
	eventually(t, "the sandbox is listed no more", func() bool { return !slices.Contains(g.instances(t, i.server), i) })
}

// folder makes a folder of the test's that the gateway's users can pass through.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(built.top, "test-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// owned makes a folder, with a file in it, that belongs to a user.
func owned(t *testing.T, uid int, name, content string) string {
	t.Helper()
	dir := folder(t)
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{dir, path} {
		if err := os.Chown(p, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// eventually waits until done. It asks over and over: nothing tells when the
// kernel or another process has got that far.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("after %s still not so: %s", patience, what)
		}
	}
}

// servers is the section of that name.
func servers(entries ...string) string { return "servers:\n" + strings.Join(entries, "") }

// testserver is an entry for the test server; lines are further settings.
func testserver(name string, lines ...string) string {
	return entry(name, append([]string{"command: /srv/e2e/testserver", fmt.Sprintf("mounts: [%q]", built.programs+":/srv/e2e")}, lines...)...)
}

// entry is an entry of the section servers.
func entry(name string, lines ...string) string {
	return "  " + name + ":\n    " + strings.Join(lines, "\n    ") + "\n"
}
