package main

import (
	"bufio"
	"bytes"
	"fmt"
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
	"mcpgateway/runtime/control"
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
		Limits: policy.Limits{MaxBodyBytes: 1 << 20, MaxMessageBytes: 1 << 20, MaxSessions: 8, MaxSessionsPerCaller: 8, MaxConnections: 1024, MaxConnectionsPerCaller: 1024, MaxInstancesPerCaller: 8},
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

// TestProxyOutlivesItsDaemon has the daemon be gone for a while. The proxy says so, looks for
// another now and then, and goes on with it.
func TestProxyOutlivesItsDaemon(t *testing.T) {
	rules, key := newPolicy(t, "echo.eager")
	rules.Metrics.Enabled = true
	d := startDaemon(t, rules)
	p := start(t, d.path, "WATCHDOG_USEC=400000")
	p.await("READY=1")
	if status, body := p.initialize("echo", key); status != http.StatusOK {
		t.Fatalf("got %d %s", status, body)
	}
	before := d.dials.Load()
	d.failing.Store(true)
	d.die()
	p.await("STATUS=waiting for the daemon: control connection: ")
	if status, body := p.get(p.admin + "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "there is no daemon, which starts servers: ") {
		t.Errorf("ready: got %d %q", status, body)
	}
	if status, _ := p.get(p.admin + "/healthz"); status != http.StatusOK {
		t.Errorf("alive: got %d", status)
	}
	if _, body := p.get(p.admin + "/metrics"); !strings.Contains(body, "\nmcp_gateway_daemon_connected 0\n") {
		t.Errorf("got metrics\n%s", body)
	}
	for range 3 { // which is to be told that the proxy works, for it does
		p.await("WATCHDOG=1\nSTATUS=not ready: there is no daemon")
	}
	if dials := d.dials.Load() - before; dials < 2 || dials > 14 {
		t.Errorf("it looked for a daemon %d times, want now and then", dials)
	}
	answered := make(chan int, 1)
	go func() {
		status, _ := p.initialize("echo", key)
		answered <- status
	}()
	select {
	case status := <-answered:
		t.Errorf("got status %d before there was a daemon", status)
	case <-time.After(300 * time.Millisecond):
	}
	d.failing.Store(false)
	p.await("READY=1\nSTATUS=ready")
	if status := <-answered; status != http.StatusOK {
		t.Errorf("who waited: got status %d", status)
	}
	p.await("STATUS=ready: 2 servers, 2 instances, 2 sessions") // one is eager
	if _, body := p.get(p.admin + "/readyz"); body != "ready\n" {
		t.Errorf("got %q", body)
	}
	if _, body := p.get(p.admin + "/metrics"); !strings.Contains(body, "\nmcp_gateway_daemon_connected 1\n") {
		t.Error("it is not connected, by its metrics")
	}
	if log := p.log.String(); strings.Count(log, "the daemon is gone") != 1 || strings.Count(log, "there is a daemon again") != 1 {
		t.Errorf("got the log\n%s", log)
	}
}

// TestProxyWaitsForItsDaemon starts it before there is one, as in containers.
func TestProxyWaitsForItsDaemon(t *testing.T) {
	rules, _ := newPolicy(t, "echo.eager")
	d := startDaemon(t, rules)
	hidden := d.path + ".later"
	if err := os.Rename(d.path, hidden); err != nil {
		t.Fatal(err)
	}
	p := start(t, d.path)
	p.await("STATUS=waiting for the daemon: connect to the daemon at " + d.path)
	if status, body := p.get(p.admin + "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "no policy yet") {
		t.Errorf("ready: got %d %q", status, body)
	}
	if err := os.Rename(hidden, d.path); err != nil {
		t.Fatal(err)
	}
	p.await("READY=1")
	if log := p.log.String(); strings.Count(log, "waiting for the daemon") != 1 || strings.Contains(log, "there is a daemon again") {
		t.Errorf("got the log\n%s", log)
	}
}

// TestProxyEnds is about daemons that don't want this proxy any more.
// TestStopAnswersCalls: a call that goes on when the proxy is stopped is told why it ends,
// and one that was connected and had asked for nothing yet is served.
func TestStopAnswersCalls(t *testing.T) {
	rules, key := newPolicy(t, "echo.eager")
	rules.Servers["silent"] = rules.Servers["echo"]
	p := start(t, startDaemon(t, rules).path)
	p.await("READY=1")
	quiet, err := net.Dial("tcp", strings.TrimPrefix(p.http, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer quiet.Close()
	answers := make(chan string, 1)
	go func() {
		status, body := p.initialize("silent", key)
		answers <- fmt.Sprint(status, " ", body)
	}()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(p.log.String(), "silent") { // until its instance starts
		<-tick.C
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.await("STOPPING=1")
	fmt.Fprintf(quiet, "GET /servers/echo/mcp HTTP/1.1\r\nHost: %s\r\n\r\n", strings.TrimPrefix(p.http, "http://"))
	if line, err := bufio.NewReader(quiet).ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 401 ") {
		t.Errorf("who was connected got %q, %v, want an answer", line, err)
	}
	if got := <-answers; !strings.Contains(got, "shutting down") {
		t.Errorf("the call in flight got %s, want to be told why", got)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("the proxy ended with %v, want status 0", err)
	}
}

func TestProxyEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		does func(*testDaemon)
		want string
	}{
		"replaced": {func(d *testDaemon) {
			d.send(control.Message{Kind: control.KindError, Code: control.CodeReplaced, Text: "another proxy"})
		}, "another proxy"},
		"another policy": {func(d *testDaemon) {
			d.policy = []byte(`{"Generation":1,"news":true}`)
			d.die()
		}, "install the same of both"},
	} {
		rules, _ := newPolicy(t, "echo.eager")
		d := startDaemon(t, rules)
		p := start(t, d.path)
		p.await("READY=1")
		tt.does(d)
		if err := p.cmd.Wait(); p.cmd.ProcessState.ExitCode() != 1 || !strings.Contains(p.log.String(), tt.want) {
			t.Errorf("%s: the proxy ended with %v, want status 1, and %q in its log", name, err, tt.want)
		}
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
			for range strings.SplitSeq(names, ":") {
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
