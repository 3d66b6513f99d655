package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/authn"
	"mcpgateway/proxy/proxytest"
)

// proxyVariable makes the test binary the proxy itself.
const proxyVariable = "PROXY_UNDER_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(proxyVariable) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(proxytest.Main(m))
}

// process is a running proxy.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	http   string
	admin  string
	states chan string // what it tells the service manager
	log    *logBuffer
}

// nobody is the user that the proxy runs as where the test runs as root.
const nobody = 65534

// start runs the proxy as systemd would: listeners and a notification socket are
// passed to it.
func start(t *testing.T, control string, env ...string) *process {
	t.Helper()
	p := &process{t: t, states: make(chan string, 16), log: &logBuffer{}}
	httpFile, httpURL := listen(t)
	adminFile, adminURL := listen(t)
	p.http, p.admin = httpURL, adminURL
	// LISTEN_PID must name the process itself (sd_listen_fds(3)).
	p.cmd = exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ WATCHDOG_PID=$$ exec "$0" -control "$1"`, executable(t), control)
	p.cmd.Env = append(os.Environ(), proxyVariable+"=1", "LISTEN_FDS=2", "LISTEN_FDNAMES=http:admin", "NOTIFY_SOCKET="+p.listenNotify())
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.ExtraFiles = []*os.File{httpFile, adminFile}
	p.cmd.Stderr = p.log
	if os.Getuid() == 0 {
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	httpFile.Close()
	adminFile.Close()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		p.cmd.Wait()
		t.Logf("the proxy's log:\n%s", p.log)
	})
	return p
}

// executable is a copy of the test binary that every user may run.
func executable(t *testing.T) string {
	t.Helper()
	path := filepath.Join(sharedDir(t), "proxy")
	text, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(path, text, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// sharedDir is a temporary directory that the proxy's user may enter.
func sharedDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "proxy-test-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func listen(t *testing.T) (file *os.File, url string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	file, err = listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	return file, "http://" + listener.Addr().String()
}

func (p *process) listenNotify() string {
	path := filepath.Join(sharedDir(p.t), "notify.sock")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.Chmod(path, 0o777); err != nil {
		p.t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		buffer := make([]byte, 4096)
		for {
			n, err := socket.Read(buffer)
			if err != nil {
				return
			}
			p.states <- string(buffer[:n])
		}
	})
	p.t.Cleanup(func() {
		socket.Close()
		reading.Wait()
	})
	return path
}

// await waits for a state that holds text.
func (p *process) await(text string) (state string) {
	p.t.Helper()
	for {
		select {
		case state := <-p.states:
			if strings.Contains(state, text) {
				return state
			}
		case <-time.After(time.Minute):
			p.t.Fatalf("the proxy did not say %q", text)
		}
	}
}

func (p *process) get(url string) (status int, body string) {
	p.t.Helper()
	response, err := http.Get(url)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func (p *process) initialize(server, key string) (status int, body string) {
	p.t.Helper()
	r, err := http.NewRequest("POST", p.http+"/servers/"+server+"/mcp", strings.NewReader(
		`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("X-API-Key", key)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "*/*")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// newPolicy has two servers, one of them eager, and one key.
func newPolicy(t *testing.T, eager string) (p policy.Policy, key string) {
	t.Helper()
	stored, key, err := authn.NewAPIKey("test", nil, nil, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	server := policy.Server{Replicas: 1, Strategy: policy.StrategyLeastBusy, Timeout: time.Minute, MaxTimeout: time.Hour, IdleTimeout: time.Hour}
	eagerServer := server
	eagerServer.Eager = true
	return policy.Policy{
		Generation: 1, Gateway: "test",
		Servers: map[string]policy.Server{"echo": server, eager: eagerServer},
		Keys:    []policy.Key{stored}, Authentication: proxytest.APIKeys(), Transports: []string{"http"},
		Limits: policy.Limits{MaxBodyBytes: 1 << 20, MaxMessageBytes: 1 << 20, MaxSessions: 8, MaxSessionsPerCaller: 8},
	}, key
}

func TestProxyServes(t *testing.T) {
	rules, key := newPolicy(t, "echo.eager")
	d := startDaemon(t, rules)
	p := start(t, d.path)
	p.await("READY=1")
	for _, check := range []struct{ path, want string }{{"/healthz", "ok\n"}, {"/readyz", "ready\n"}} {
		if status, body := p.get(p.admin + check.path); status != http.StatusOK || body != check.want {
			t.Errorf("%s: got %d %q, want 200 %q", check.path, status, body, check.want)
		}
	}
	if status, body := p.initialize("echo", key); status != http.StatusOK || !strings.Contains(body, `"name":"echo"`) {
		t.Errorf("got %d %s", status, body)
	}
	if status, _ := p.initialize("echo", "mcpgw_wrong"); status != http.StatusUnauthorized {
		t.Errorf("wrong key: got %d, want 401", status)
	}
	p.isHarmless()
	if got := d.opener.Running(); got != 2 {
		t.Errorf("got %d servers, want 2", got)
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("the proxy ended with %v, want status 0", err)
	}
	d.opener.Wait() // it has stopped its servers
}

// isHarmless looks at the process from outside.
func (p *process) isHarmless() {
	p.t.Helper()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/status")
	if err != nil {
		p.t.Fatal(err)
	}
	for _, want := range []string{"\nNoNewPrivs:\t1\n", "\nCapEff:\t0000000000000000\n", "\nCapPrm:\t0000000000000000\n"} {
		if !bytes.Contains(status, []byte(want)) {
			p.t.Errorf("the proxy's status lacks %q", want)
		}
	}
	if bytes.Contains(status, []byte("\nUid:\t0\t")) {
		p.t.Error("the proxy runs as root")
	}
}

func TestEagerServerThatFailsIsNamed(t *testing.T) {
	rules, _ := newPolicy(t, "exit")
	p := start(t, startDaemon(t, rules).path)
	p.await(`STATUS=start server "exit": server "exit" exited with status 7`)
	if err := p.cmd.Wait(); p.cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("the proxy ended with %v, want status 1", err)
	}
}

func TestProxyEndsWithoutItsDaemon(t *testing.T) {
	rules, key := newPolicy(t, "echo.eager")
	d := startDaemon(t, rules)
	p := start(t, d.path)
	p.await("READY=1")
	p.initialize("echo", key)
	d.hangUp()
	if err := p.cmd.Wait(); p.cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("the proxy ended with %v, want status 1", err)
	}
}

func TestProxyRefusesRoot(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("needs root, to be refused: run the tests as make test does")
	}
	cmd := exec.Command(executable(t))
	cmd.Env = append(os.Environ(), proxyVariable+"=1")
	output, err := cmd.CombinedOutput()
	if err == nil || !bytes.Contains(output, []byte("must not run as root")) {
		t.Errorf("got %v %s, want a refusal", err, output)
	}
}

// TestProxyWantsListeners passes none for clients, and one of no transport.
func TestProxyWantsListeners(t *testing.T) {
	for names, want := range map[string]string{
		"":           "no listener for clients",
		"admin":      "no listener for clients",
		"http:gprc":  `a listener named \"gprc\" was passed`,
		"admin:null": `a listener named \"null\" was passed`,
	} {
		cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0"`, executable(t))
		cmd.Env = append(os.Environ(), proxyVariable+"=1")
		if names != "" {
			for range strings.Split(names, ":") {
				file, _ := listen(t)
				defer file.Close()
				cmd.ExtraFiles = append(cmd.ExtraFiles, file)
			}
			cmd.Env = append(cmd.Env, "LISTEN_FDNAMES="+names, "LISTEN_FDS="+strconv.Itoa(len(cmd.ExtraFiles)))
		}
		if os.Getuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		}
		output, err := cmd.CombinedOutput()
		if err == nil || !bytes.Contains(output, []byte(want)) {
			t.Errorf("%s: got %v %s, want a refusal with %s", names, err, output, want)
		}
	}
}
