// Package secrets_test looks for the secrets of servers in all that a gateway shows,
// writes and holds: the whole gateway runs, with secrets from everywhere that they
// can come from and a server that tells them in every way. It needs root.
package secrets_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mcpgateway/tests/installation"
)

// patience is how long anything may take.
const patience = 60 * time.Second

// top is a folder of this run that everybody may pass through.
var top string

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == searchCommand {
		os.Exit(searchProcesses(os.Stdin, os.Stdout))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Getuid() != 0 {
		fmt.Fprintln(os.Stderr, "tests/secrets: needs root: it starts sandboxes and reads the memory of processes; run it with sudo")
		return 1
	}
	var err error
	if top, err = os.MkdirTemp("/tmp", "mcp-gateway-secrets-"); err == nil {
		defer os.RemoveAll(top)
		err = errors.Join(os.Chmod(top, 0o755), installation.Gateway(top+"/bin"),
			installation.Programs(top+"/bin", "mcpgateway/cmd/mcp-gateway-vault"), installation.Programs(top+"/programs", "mcpgateway/tests/testserver"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tests/secrets:", err)
		return 1
	}
	return m.Run()
}

// folder is one of a test's own that everybody may pass through.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(top, "test-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// gateway is a running `mcp-gateway up`.
type gateway struct {
	dir, state string
	addresses  struct{ HTTP, GRPC, WebSocket, SSE, Key string }
	cmd        *exec.Cmd
	log        output
}

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

// start runs a gateway until the end of the test.
func start(t *testing.T, dir, config string, env ...string) *gateway {
	t.Helper()
	g := &gateway{dir: dir, state: filepath.Join(dir, "state")}
	file, ready := filepath.Join(dir, "c.yaml"), filepath.Join(dir, "ready.json")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	g.cmd = exec.Command(top+"/bin/mcp-gateway", "up", "--config", file, "--state", g.state, "--ready-file", ready, "--with-key", "--proxy-user", "nobody")
	g.cmd.Env = append(os.Environ(), env...)
	g.cmd.Stdout, g.cmd.Stderr = &g.log, &g.log
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- g.cmd.Wait() }()
	t.Cleanup(func() {
		_ = g.cmd.Process.Signal(syscall.SIGINT)
		select {
		case <-ended:
		case <-time.After(patience):
			_ = g.cmd.Process.Kill()
			t.Error("the gateway did not end")
		}
		if t.Failed() {
			log := g.log.String()
			t.Logf("the log:\n%s", log[max(0, len(log)-12<<10):])
		}
	})
	eventually(t, "the gateway is ready", func() bool {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the gateway ended with %v:\n%s", err, g.log.String())
		default:
		}
		content, err := os.ReadFile(ready)
		return err == nil && json.Unmarshal(content, &g.addresses) == nil
	})
	return g
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; <-time.After(50 * time.Millisecond) {
		if is() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not so within %s: %s", patience, what)
		}
	}
}

// cli is what a command says, and it may fail.
func (g *gateway) cli(args ...string) string {
	out, err := exec.Command(top+"/bin/mcp-gateway", append(args, "--state", g.state)...).CombinedOutput()
	return fmt.Sprintf("%s %v", out, err)
}

// pid is the process id of the gateway's child whose command line has a name.
func (g *gateway) pid(t *testing.T, name string) int {
	t.Helper()
	out, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", g.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var tasks []string
	if all, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", g.cmd.Process.Pid)); err == nil {
		tasks = all
	}
	children := string(out)
	for _, path := range tasks {
		if more, err := os.ReadFile(path); err == nil {
			children += " " + string(more)
		}
	}
	for field := range strings.FieldsSeq(children) {
		line, _ := os.ReadFile("/proc/" + field + "/cmdline")
		if strings.HasPrefix(filepath.Base(string(line[:max(0, bytes.IndexByte(line, 0))])), name) {
			var pid int
			_, _ = fmt.Sscan(field, &pid)
			return pid
		}
	}
	t.Fatalf("no child is called %s: %s", name, children)
	return 0
}
