package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"mcpgateway/proxy/grpcfront/gatewaypb"
	"mcpgateway/runtime/peer"
)

// serviced is a gateway whose daemon the test starts again, as a service manager does.
// up is halted: it would end with its daemon.
type serviced struct {
	*trail
	account string // that the proxy runs as
	process *exec.Cmd
}

func (g *serviced) startDaemon(t *testing.T) {
	t.Helper()
	g.process = exec.Command(filepath.Join(built.bin, "mcp-gatewayd"), "-config", g.config(), "-state-dir", g.state(), "-runtime-dir", g.runDir,
		"-proxy-user", g.account, "-listen", filepath.Join(g.runDir, "control.sock"))
	g.process.Stderr = &g.gateway.log
	if err := g.process.Start(); err != nil {
		t.Fatal(err)
	}
}

// accountOf is the user that a process runs as.
func accountOf(t *testing.T, pid int) string {
	t.Helper()
	var info unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d", pid), &info); err != nil {
		t.Fatal(err)
	}
	account, err := user.LookupId(strconv.Itoa(int(info.Uid)))
	if err != nil {
		t.Fatal(err)
	}
	return account.Username
}

// stopDaemon ends the daemon that runs.
func (g *serviced) stopDaemon(t *testing.T, by unix.Signal) {
	t.Helper()
	if g.process == nil { // that of up
		g.signal(t, g.cmd.Process.Pid, unix.SIGSTOP)
		g.takeNotices(t)
		g.signal(t, g.daemon, by)
		return
	}
	if g.process.ProcessState != nil {
		return // it has ended already, in a test that failed
	}
	g.signal(t, g.process.Process.Pid, by)
	if err := g.process.Wait(); err != nil && by == unix.SIGTERM {
		t.Errorf("the daemon ended with %v", err)
	}
}

// takeNotices takes what the proxy tells its service manager, which must not wait for one
// that is halted.
func (g *serviced) takeNotices(t *testing.T) {
	t.Helper()
	path := filepath.Join(g.runDir, "notify.sock")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err == nil {
		err = os.Chmod(path, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	go func() { // ends with the socket
		buffer := make([]byte, 4096)
		for {
			if _, err := socket.Read(buffer); err != nil {
				return
			}
		}
	}()
}

// over ends up, and what it has not started.
func (g *serviced) over(t *testing.T) {
	g.killed = true
	g.signal(t, g.cmd.Process.Pid, unix.SIGCONT)
	g.wait(t) // up stops the proxy first, whose last records are signed
	g.stopDaemon(t, unix.SIGTERM)
	g.startDaemon(t) // which removes the cgroup of up's, whose end up has only now seen
	eventually(t, "a daemon answers", func() bool {
		ctx, cancel := context.WithCancel(context.Background())
		client, err := peer.Dial(ctx, filepath.Join(g.runDir, "control.sock"), peer.Notices{})
		cancel()
		if err == nil {
			_ = client.Run(ctx) // which hangs up
		}
		return err == nil
	})
	g.stopDaemon(t, unix.SIGTERM)
	if err := os.RemoveAll(g.runDir); err != nil {
		t.Error(err)
	}
}

// wire is a connection that carries messages both ways.
type wire struct {
	send func(body string)
	read func() ([]byte, error)
}

// until reads up to the response with an id.
func (w *wire) until(t *testing.T, id int) []byte {
	t.Helper()
	for {
		data, err := w.read()
		if err != nil {
			t.Fatalf("the connection ended before the answer to %d: %v", id, err)
		}
		if bytes.Contains(data, fmt.Appendf(nil, `"id":%d`, id)) {
			return data
		}
	}
}

func (g *gateway) overWebSocket(t *testing.T, server string) *wire {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), restarting)
	t.Cleanup(cancel)
	conn, response, err := websocket.Dial(ctx, strings.Replace(g.addresses.HTTP, "http", "ws", 1)+"/servers/"+server+"/ws",
		&websocket.DialOptions{Subprotocols: []string{"mcp"}, HTTPHeader: http.Header{"X-Api-Key": {g.addresses.Key}}})
	if err != nil {
		t.Fatal(err)
	}
	if response.Body != nil {
		response.Body.Close()
	}
	t.Cleanup(func() { conn.CloseNow() })
	return &wire{
		func(body string) {
			if err := conn.Write(ctx, websocket.MessageText, []byte(body)); err != nil {
				t.Error(err)
			}
		},
		func() ([]byte, error) { _, data, err := conn.Read(ctx); return data, err },
	}
}

func (g *gateway) overGRPC(t *testing.T, server string) *wire {
	t.Helper()
	rpc, ctx := asker{g, g.addresses.Key}.dial(t)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restarting) // it has the time of a call
	t.Cleanup(cancel)
	stream, err := rpc.Connect(metadata.AppendToOutgoingContext(ctx, "mcp-server", server), grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	return &wire{
		func(body string) {
			if err := stream.Send(&gatewaypb.Message{Json: []byte(body)}); err != nil {
				t.Error(err)
			}
		},
		func() ([]byte, error) { m, err := stream.Recv(); return m.GetJson(), err },
	}
}

func (g *gateway) overSSE(t *testing.T, server string) *wire {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.addresses.SSE+"/servers/"+server+"/sse", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Api-Key", g.addresses.Key)
	request.Header.Set("Accept", "text/event-stream")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	in := bufio.NewScanner(response.Body)
	in.Buffer(nil, 1<<20)
	next := func() ([]byte, error) {
		for in.Scan() {
			if data, ok := bytes.CutPrefix(in.Bytes(), []byte("data: ")); ok {
				return bytes.Clone(data), nil
			}
		}
		return nil, io.ErrUnexpectedEOF
	}
	endpoint, err := next()
	if err != nil {
		t.Fatal(err)
	}
	return &wire{
		func(body string) {
			s := &session{url: g.addresses.SSE + string(endpoint), key: g.addresses.Key}
			if a := s.post(t, body); a.status != http.StatusAccepted {
				t.Errorf("got status %d: %s", a.status, a.message)
			}
		}, next,
	}
}

// restarting is how long the connections of the test below have to live.
const restarting = 5 * time.Minute

// goneWithDaemon is what calls in flight are told.
const goneWithDaemon = ` has ended with the gateway's daemon, which started it; the next call starts it again`

// TestDaemonRestarts kills the daemon, and restarts it, while clients are connected in every
// way. None of them loses its connection or its session, the audit log is good and has every
// call, and so has the ledger.
func TestDaemonRestarts(t *testing.T) {
	t.Parallel()
	g := &serviced{trail: startAudited(t, servers(
		testserver("files", "eager: true"), testserver("shared", "instances: shared"), testserver("final", "on_crash: end-session")))}
	g.account = accountOf(t, g.proxy)
	t.Cleanup(func() { g.over(t) })
	s, final := g.open(t, "files"), g.open(t, "final")
	final.ask(t, "echo", map[string]int{"n": 0})
	shared := func(n int) answer {
		at := &session{url: g.addresses.HTTP + "/api/v1/servers/shared/tools/echo", key: g.addresses.Key}
		return at.do(t, http.MethodPost, fmt.Sprintf(`{"n":%d}`, n), map[string]string{"Accept": "application/json"})
	}
	good := 0 // calls of echo that were answered well
	wires := map[string]*wire{"websocket": g.overWebSocket(t, "files"), "grpc": g.overGRPC(t, "files"), "sse": g.overSSE(t, "files")}
	for _, w := range wires {
		w.send(initialize)
		w.until(t, 0)
		w.send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	}
	n := 100
	everybody := func(when string) {
		t.Helper()
		n++
		began := time.Now()
		if got := s.ask(t, "echo", map[string]int{"n": n}); got != fmt.Sprintf(`{"n":%d}`, n) {
			t.Errorf("%s: the session: got %q", when, got)
		}
		if a := shared(n); a.status != http.StatusOK || !strings.Contains(string(a.message), strconv.Itoa(n)) {
			t.Errorf("%s: REST: got %d %s", when, a.status, a.message)
		}
		for name, w := range wires {
			w.send(fmt.Sprintf(callFormat, n, "", "echo", fmt.Sprintf(`{"n":%d}`, n)))
			if got := w.until(t, n); !bytes.Contains(got, fmt.Appendf(nil, `{"n":%d}`, n)) {
				t.Errorf("%s: %s: got %s", when, name, got)
			}
		}
		good += 2 + len(wires)
		t.Logf("%s: all were answered after %s", when, time.Since(began))
	}
	everybody("before")
	good++ // of final
	inFlight := func(number int) (told func()) {
		t.Helper()
		called := make(chan answer, 1)
		go func() { called <- s.call(t, "sleep", `{"seconds":60}`) }()
		for _, w := range wires {
			w.send(fmt.Sprintf(callFormat, number, "", "sleep", `{"seconds":60}`))
		}
		eventually(t, "the calls have begun", func() bool { return strings.Contains(g.cli(t, "status"), "with 4 calls in flight") })
		return func() {
			t.Helper()
			began := time.Now()
			if _, text := (<-called).rpcError(t, "1"); text != `server "files"`+goneWithDaemon {
				t.Errorf("the session's call in flight: got %q", text)
			}
			for name, w := range wires {
				if got := w.until(t, number); !bytes.Contains(got, []byte(`has ended with the gateway's daemon`)) {
					t.Errorf("%s: the call in flight: got %s", name, got)
				}
			}
			if took := time.Since(began); took > soon {
				t.Errorf("the calls in flight were answered after %s", took)
			}
		}
	}
	for i, by := range []unix.Signal{unix.SIGKILL, unix.SIGTERM, unix.SIGKILL} {
		told := inFlight(10 + i)
		before := g.sandboxed()
		g.stopDaemon(t, by)
		told()
		later := time.AfterFunc(300*time.Millisecond, func() { g.startDaemon(t) })
		everybody("after " + by.String())
		later.Stop()
		eventually(t, "the servers of before are gone", func() bool {
			for _, pid := range before {
				if unix.Kill(pid, 0) == nil {
					return false
				}
			}
			return true
		})
		if i == 0 {
			a := final.call(t, "echo", `{}`)
			if _, text := a.rpcError(t, "1"); a.status != http.StatusNotFound || text != `the session has ended: server "final"`+goneWithDaemon {
				t.Errorf("a session that must end: got %d %q", a.status, text)
			}
			final.id = ""
		}
		eventually(t, "the eager server runs, and the gateway is ready", func() bool {
			status, _ := g.ready(t)
			return status == http.StatusOK && len(g.instances(t, "files")) >= 4
		})
	}
	g.staysAway(t, wires["websocket"], shared, everybody)

	out := g.cli(t, "servers", "-o", "json")
	if strings.Contains(out, `"crash-loop"`) || strings.Contains(out, `"failing"`) || !strings.Contains(out, `"restarts": 0`) {
		t.Errorf("the daemon's restarts are no fault of the servers: got %s", out)
	}
	eventually(t, "every call is in the audit log", func() bool {
		return len(records(t, g.log, func(r record) bool { return r.Name == "echo" && r.Status == "ok" })) >= good
	})
	if all := records(t, g.log, func(r record) bool { return r.Name == "echo" && r.Status == "ok" }); len(all) != good {
		t.Errorf("got %d records of calls that were answered well, want %d", len(all), good)
	}
	if all := records(t, g.log, func(r record) bool { return r.Name == "sleep" && r.Status == "ended" }); len(all) != 12 {
		t.Errorf("got %d records of calls that ended with the daemon, want 12", len(all))
	}
	var sum usage
	for _, server := range []string{"files", "shared", "final"} {
		u := g.usageOf(t, server)
		sum.Calls, sum.Errors = sum.Calls+u.Calls, sum.Errors+u.Errors
	}
	if sum.Calls-sum.Errors != good {
		t.Errorf("the ledger has %+v, want %d good calls", sum, good)
	}
	if text := g.cli(t, "audit", "verify"); !strings.Contains(text, "are as they were written") {
		t.Errorf("got %s", text)
	}
}

// ready asks whether the gateway is.
func (g *gateway) ready(t *testing.T) (status int, text string) {
	t.Helper()
	a := (&session{url: g.addresses.Admin + "/readyz"}).do(t, http.MethodGet, "", nil)
	return a.status, string(a.message)
}

// staysAway has there be no daemon for longer than calls wait.
func (g *serviced) staysAway(t *testing.T, socket *wire, shared func(int) answer, everybody func(string)) {
	t.Helper()
	g.stopDaemon(t, unix.SIGTERM)
	away := time.Now()
	eventually(t, "the gateway is not ready", func() bool { status, _ := g.ready(t); return status != http.StatusOK })
	if status, text := g.ready(t); status != http.StatusServiceUnavailable || !strings.Contains(text, "there is no daemon, which starts servers: ") {
		t.Errorf("ready: got %d %q", status, text)
	}
	if a := (&session{url: g.addresses.Admin + "/healthz"}).do(t, http.MethodGet, "", nil); a.status != http.StatusOK {
		t.Errorf("healthz: got %d", a.status)
	}
	text, err := exec.Command(filepath.Join(built.bin, "mcp-gateway"), "status", "--state", g.state()).Output()
	if err == nil || !strings.Contains(string(text), "not ready: there is no daemon") {
		t.Errorf("status: got %s, %v, want a failure", text, err)
	}
	const refusal = "the gateway can start no server at the moment, try again in a little while"
	first := shared(1) // waits, and in vain
	if took := time.Since(away); first.status != http.StatusServiceUnavailable || took < 8*time.Second || took > 20*time.Second || first.header.Get("Retry-After") == "" {
		t.Errorf("the first call: got %d %s after %s", first.status, first.message, took)
	}
	spent := cpuOf(t, g.proxy)
	began := time.Now()
	if a := g.at("files").open(t); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") != "5" || !strings.Contains(string(a.message), refusal) {
		t.Errorf("a new session: got %d %v %s", a.status, a.header, a.message)
	}
	if f := (asker{g.gateway, g.addresses.Key}).grpc(t, "/servers/shared", "tools/call", `"name":"echo","arguments":{}`); f.kind != "Unavailable" || !strings.Contains(f.text, refusal) {
		t.Errorf("gRPC: got %+v", f)
	}
	socket.send(fmt.Sprintf(callFormat, 77, "", "echo", `{}`))
	if got := socket.until(t, 77); !bytes.Contains(got, []byte(refusal)) || !bytes.Contains(got, []byte("mcpgateway/retryAfterMs")) {
		t.Errorf("websocket: got %s", got)
	}
	if took := time.Since(began); took > soon {
		t.Errorf("who comes late was told so after %s", took)
	}
	<-time.After(3 * time.Second)
	if used := cpuOf(t, g.proxy) - spent; used > time.Second {
		t.Errorf("the proxy used %s of CPU while there was nothing to do", used)
	}
	g.startDaemon(t)
	eventually(t, "the gateway is ready again", func() bool { status, _ := g.ready(t); return status == http.StatusOK })
	everybody("after it had stayed away")
}

// cpuOf is what CPU time a process has used.
func cpuOf(t *testing.T, pid int) time.Duration {
	t.Helper()
	_, rest, _ := strings.Cut(procFile(pid, "stat"), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		t.Fatalf("got %q", rest)
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}
