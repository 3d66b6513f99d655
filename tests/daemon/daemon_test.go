// Package daemon_test speaks the control protocol to a real daemon that starts
// real sandboxes. It needs root.
package daemon_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mcpgateway/policy"
	"mcpgateway/runtime/control"
	"mcpgateway/runtime/daemon"
	"mcpgateway/runtime/peer"
	"mcpgateway/tests/hostids"
)

const (
	proxyUID = 1235
	otherUID = 1236

	watchEvery = 50 * time.Millisecond
)

// dir is a folder below /run that everybody may pass through.
var dir string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Getuid() != 0 {
		fmt.Fprintln(os.Stderr, "tests/daemon: needs root: it starts sandboxes; run it with sudo")
		return 1
	}
	var err error
	if dir, err = os.MkdirTemp("/run", "mcp-gateway-test-"); err == nil {
		defer os.RemoveAll(dir)
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	build := exec.Command("../../cmd/mcp-gateway-launch/build.sh", filepath.Join(dir, "mcp-gateway-launch"))
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

const servers = `version: "1.0"
gateway: {name: test, max_servers: 3}
servers:
  cat: {command: cat}
  false: {command: "false"}
  invisible: {command: /root/none/program}
  off: {command: cat, enabled: false}
`

// gateway is a running daemon.
type gateway struct {
	socket, config string
	ended          chan error
	stop           context.CancelFunc
}

func start(t testing.TB, config string) *gateway {
	t.Helper()
	return startIn(t, folder(t), config)
}

// folder is a path of a test's own.
func folder(t testing.TB) string {
	return filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "-"))
}

func startIn(t testing.TB, own, config string) *gateway {
	t.Helper()
	state := filepath.Join(own, "sandboxes")
	g := &gateway{socket: filepath.Join(own, "s"), config: filepath.Join(own, "config.yaml"), ended: make(chan error, 1)}
	if err := errors.Join(os.MkdirAll(state, 0o755), os.WriteFile(g.config, []byte(config), 0o600)); err != nil {
		t.Fatal(err)
	}
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: g.socket, Net: "unixpacket"})
	if err == nil {
		err = os.Chmod(g.socket, 0o666) // the daemon itself decides who may speak
	}
	if err != nil {
		t.Fatal(err)
	}
	d, err := daemon.New(daemon.Options{
		Config: g.config, Keys: filepath.Join(own, "keys.json"), State: own, Dir: state, Launcher: filepath.Join(dir, "mcp-gateway-launch"),
		ProxyUID: proxyUID, Listener: listener, Retirement: 100 * time.Millisecond, WatchEvery: watchEvery,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	g.stop = cancel
	go func() { g.ended <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-g.ended; err != nil {
			t.Error(err)
		}
	})
	return g
}

// proxy is a connected proxy.
type proxy struct {
	*peer.Client
	policies chan policy.Policy
	exits    chan control.Exit
	refuse   chan error
	ended    chan error
	close    context.CancelFunc
}

func (g *gateway) connect(t testing.TB, uid int) *proxy {
	t.Helper()
	p := &proxy{policies: make(chan policy.Policy, 4), exits: make(chan control.Exit, 16), refuse: make(chan error, 1), ended: make(chan error, 1)}
	notices := peer.Notices{
		Policy: func(_ uint64, document []byte) error {
			var got policy.Policy
			if err := json.Unmarshal(document, &got); err != nil {
				return err
			}
			p.policies <- got
			select {
			case err := <-p.refuse:
				return err
			default:
				return nil
			}
		},
		Exited: func(e control.Exit) { p.exits <- e },
	}
	var err error
	hostids.As(uid, func() { p.Client, err = peer.Dial(context.Background(), g.socket, notices) })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.close = cancel
	go func() { p.ended <- p.Run(ctx) }()
	t.Cleanup(cancel)
	return p
}

func within[T any](t testing.TB, channel <-chan T) T {
	t.Helper()
	select {
	case value := <-channel:
		return value
	case <-time.After(30 * time.Second):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func code(err error) control.Code {
	if refusal, ok := errors.AsType[*control.Error](err); ok {
		return refusal.Code
	}
	return ""
}

func TestOpenUseAndStop(t *testing.T) {
	g := start(t, servers)
	p := g.connect(t, proxyUID)
	got := within(t, p.policies)
	if len(got.Servers) != 3 || got.Generation != 1 || got.Gateway != "test" {
		t.Errorf("got policy %+v, want the three enabled servers", got)
	}
	if document, err := json.Marshal(got); err != nil || strings.Contains(string(document), "/root/none") {
		t.Errorf("the proxy was told a command: %s, %v", document, err)
	}
	opened, err := p.Open(t.Context(), "cat", "")
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	if _, err := opened.Stdin.WriteString("through\n"); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 8)
	if _, err := io.ReadFull(opened.Stdout, line); err != nil || string(line) != "through\n" {
		t.Errorf("got %q, %v", line, err)
	}
	list, err := p.List(t.Context())
	if err != nil || len(list) != 1 || list[0].ID != opened.Sandbox || list[0].UID <= 100000 {
		t.Errorf("got list %+v, %v", list, err)
	}
	if err := p.Stop(t.Context(), opened.Sandbox); err != nil {
		t.Fatal(err)
	}
	if exit := within(t, p.exits); exit.Sandbox != opened.Sandbox || !exit.Stopped {
		t.Errorf("got exit %+v, want that of a stop", exit)
	}
	if err := p.Stop(t.Context(), opened.Sandbox); code(err) != control.CodeUnknown {
		t.Errorf("got %v for a second stop", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	g := start(t, servers)
	p := g.connect(t, proxyUID)
	for server, want := range map[string]control.Code{
		"none": control.CodeUnknownServer, "off": control.CodeUnknownServer, "": control.CodeUnknownServer,
		"../cat": control.CodeUnknownServer, "invisible": control.CodeStart,
	} {
		if _, err := p.Open(t.Context(), server, ""); code(err) != want {
			t.Errorf("%q: got %v, want code %q", server, err, want)
		}
	}
	_, err := p.Open(t.Context(), "invisible", "")
	if err == nil || !strings.Contains(err.Error(), `command "/root/none/program" is not visible in image "host"`) {
		t.Errorf("got %v, want that it is not visible", err)
	}
}

func TestLimitOfServers(t *testing.T) {
	g := start(t, servers)
	p := g.connect(t, proxyUID)
	for range 3 {
		opened, err := p.Open(t.Context(), "cat", "")
		if err != nil {
			t.Fatal(err)
		}
		defer opened.Close()
	}
	if _, err := p.Open(t.Context(), "cat", ""); code(err) != control.CodeLimit || !strings.Contains(err.Error(), "max_servers") {
		t.Errorf("got %v for the fourth, want the limit", err)
	}
}

// TestStartsAreLimited: a captured proxy can't wear out the host.
func TestStartsAreLimited(t *testing.T) {
	g := start(t, servers)
	p := g.connect(t, proxyUID)
	for i := range 1000 {
		opened, err := p.Open(t.Context(), "invisible", "")
		if err == nil {
			opened.Close()
		}
		if code(err) == control.CodeLimit {
			if i < 100 {
				t.Errorf("refused after %d starts already", i)
			}
			return
		}
	}
	t.Error("1000 starts in a row were not refused")
}

func TestExitIsTold(t *testing.T) {
	g := start(t, servers)
	p := g.connect(t, proxyUID)
	opened, err := p.Open(t.Context(), "false", "")
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	if exit := within(t, p.exits); exit.Sandbox != opened.Sandbox || exit.Server != "false" || exit.Status != 1 || exit.Stopped {
		t.Errorf("got %+v, want status 1", exit)
	}
}

// TestEndOfTheConnection: servers do not outlive the proxy that opened them.
func TestEndOfTheConnection(t *testing.T) {
	g := start(t, servers)
	p, admin := g.connect(t, proxyUID), g.connect(t, 0)
	opened, err := p.Open(t.Context(), "cat", "")
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	list, err := admin.List(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatalf("got %+v, %v", list, err)
	}
	process, err := unix.PidfdOpen(list[0].PID, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(process)
	p.close()
	poll := []unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}
	if n, err := unix.Poll(poll, 30_000); err != nil || n != 1 {
		t.Errorf("the server outlived its proxy: %d, %v", n, err)
	}
}

// TestOneProxy: a new proxy takes the place of the old one, sees nothing of its
// sandboxes, and they end.
func TestOneProxy(t *testing.T) {
	g := start(t, servers)
	first, admin := g.connect(t, proxyUID), g.connect(t, 0)
	opened, err := first.Open(t.Context(), "cat", "")
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	second := g.connect(t, proxyUID)
	if list, err := second.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("got %+v, %v, want that it sees nothing", list, err)
	}
	if err := second.Stop(t.Context(), opened.Sandbox); code(err) != control.CodeUnknown {
		t.Errorf("got %v, want that it can't", err)
	}
	if err := within(t, first.ended); code(err) != control.CodeReplaced {
		t.Errorf("got %v for the end of the old proxy's connection, want why", err)
	}
	if _, err := io.ReadAll(opened.Stdout); err != nil { // to the end of the server
		t.Error(err)
	}
	other, err := second.Open(t.Context(), "cat", "")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if list, err := admin.List(t.Context()); err != nil || len(list) == 0 {
		t.Errorf("got %+v, %v for an administrator, want the new one's", list, err)
	}
	if err := admin.Stop(t.Context(), other.Sandbox); err != nil {
		t.Errorf("an administrator could not stop it: %v", err)
	}
}

// dial connects without a client, to do what no client does.
func (g *gateway) dial(t *testing.T, uid int) *control.Conn {
	t.Helper()
	var conn *control.Conn
	var err error
	hostids.As(uid, func() { conn, err = control.Dial(g.socket) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// TestSilentProxy: a proxy that takes no generation, or does not even read, does
// not keep a revoked key in force.
func TestSilentProxy(t *testing.T) {
	for _, reads := range []bool{true, false} {
		t.Run(fmt.Sprintf("reads=%v", reads), func(t *testing.T) {
			g := start(t, servers)
			conn, admin := g.dial(t, proxyUID), g.connect(t, 0)
			if err := conn.Send(control.Message{Kind: control.KindHello, Version: control.Version}); err != nil {
				t.Fatal(err)
			}
			for _, want := range []control.Kind{control.KindHello, control.KindPolicy} {
				message, files, err := conn.Receive()
				if err != nil || message.Kind != want {
					t.Fatalf("got %+v, %v, want %q", message, err, want)
				}
				for _, f := range files {
					f.Close()
				}
			}
			for i := uint64(1); !reads && i < 100_000; i++ {
				if conn.Send(control.Message{Kind: control.KindList, ID: i}) != nil {
					break // nobody takes its answers any more
				}
			}
			g.write(t, servers+"  more: {command: cat}\n")
			if err := admin.Reload(t.Context()); err != nil {
				t.Errorf("got %v", err)
			}
			next := g.connect(t, proxyUID)
			if got := within(t, next.policies); len(got.Servers) != 4 {
				t.Errorf("got generation %d with %d servers, want the new one with 4", got.Generation, len(got.Servers))
			}
		})
	}
}

// TestIdleConnections keep nobody out.
func TestIdleConnections(t *testing.T) {
	g := start(t, servers)
	for range 200 {
		g.dial(t, proxyUID)
	}
	if _, err := g.connect(t, 0).List(t.Context()); err != nil {
		t.Errorf("an administrator got %v", err)
	}
	if _, err := g.connect(t, proxyUID).List(t.Context()); err != nil {
		t.Errorf("a proxy got %v", err)
	}
}

// TestDescriptorsInRequests: they are refused, and fill no table.
func TestDescriptorsInRequests(t *testing.T) {
	g := start(t, servers)
	path, err := os.OpenFile("/", unix.O_PATH, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer path.Close()
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd") // the daemon is in this process
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	before := count()
	for range 100 {
		var conn *control.Conn
		hostids.As(proxyUID, func() { conn, err = control.Dial(g.socket) })
		if err != nil {
			t.Fatal(err)
		}
		// Newer kernels refuse at once; older ones bring it to the daemon, which ends the connection.
		if conn.Send(control.Message{Kind: control.KindHello, Version: control.Version}, path, path, path, path) == nil {
			if message, _, err := conn.Receive(); err == nil {
				t.Fatalf("got %+v", message)
			}
		}
		conn.Close()
	}
	if _, err := g.connect(t, 0).List(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := count(); after > before+20 {
		t.Errorf("got %d open files, had %d", after, before)
	}
}

// TestNotPermitted has what ends a connection.
func TestNotPermitted(t *testing.T) {
	g := start(t, servers)
	tests := []struct {
		name     string
		uid      int
		messages []control.Message
	}{
		{"stranger", otherUID, []control.Message{{Kind: control.KindHello, Version: control.Version}}},
		{"no hello", proxyUID, []control.Message{{Kind: control.KindOpen, ID: 1, Server: "cat"}}},
		{"hello twice", proxyUID, []control.Message{{Kind: control.KindHello, Version: control.Version}, {Kind: control.KindHello, Version: control.Version}}},
		{"reload by a proxy", proxyUID, []control.Message{{Kind: control.KindHello, Version: control.Version}, {Kind: control.KindReload, ID: 1}}},
		{"open by an administrator", 0, []control.Message{{Kind: control.KindHello, Version: control.Version}, {Kind: control.KindOpen, ID: 1, Server: "cat"}}},
		{"answer as a request", proxyUID, []control.Message{{Kind: control.KindHello, Version: control.Version}, {Kind: control.KindOpened, ID: 1}}},
		{"unknown kind", proxyUID, []control.Message{{Kind: control.KindHello, Version: control.Version}, {Kind: "exec", ID: 1}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var conn *control.Conn
			var err error
			hostids.As(tt.uid, func() { conn, err = control.Dial(g.socket) })
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for _, m := range tt.messages {
				if err := conn.Send(m); err != nil {
					break // closed before we could say so much
				}
			}
			for {
				message, files, err := conn.Receive()
				for _, f := range files {
					f.Close()
				}
				if err != nil {
					return // closed, as it must be
				}
				if message.Kind != control.KindHello && message.Kind != control.KindPolicy {
					t.Fatalf("got the answer %+v", message)
				}
			}
		})
	}
}

func TestOtherVersion(t *testing.T) {
	g := start(t, servers)
	conn, err := control.Dial(g.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Send(control.Message{Kind: control.KindHello, Version: control.Version + 1}); err != nil {
		t.Fatal(err)
	}
	if got, _, err := conn.Receive(); err != nil || got.Code != control.CodeVersion {
		t.Errorf("got %+v, %v, want the code of another version", got, err)
	}
}

func TestReload(t *testing.T) {
	g := start(t, servers)
	p, admin := g.connect(t, proxyUID), g.connect(t, 0)
	within(t, p.policies)
	write := func(config string) {
		t.Helper()
		if err := os.WriteFile(g.config, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(servers + "  more: {command: cat}\n")
	if err := admin.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := within(t, p.policies); got.Generation != 2 || len(got.Servers) != 4 {
		t.Errorf("got %+v, want generation 2 with a fourth server", got)
	}
	opened, err := p.Open(t.Context(), "more", "")
	if err != nil {
		t.Fatal(err)
	}
	opened.Close()

	write(servers + "  more: {comand: cat}\n")
	if err := admin.Reload(t.Context()); code(err) != control.CodeReload || !strings.Contains(err.Error(), "config.yaml:8:") {
		t.Errorf("got %v, want the mistake and its line", err)
	}
	write(servers)
	p.refuse <- errors.New("not this one")
	if err := admin.Reload(t.Context()); code(err) != control.CodeReload || !strings.Contains(err.Error(), "not this one") {
		t.Errorf("got %v, want the proxy's reason", err)
	}
	within(t, p.policies)
	opened, err = p.Open(t.Context(), "more", "") // the second generation is still in force
	if err != nil {
		t.Fatal(err)
	}
	opened.Close()
}

// TestNewRefuses has what keeps a daemon from starting.
func TestNewRefuses(t *testing.T) {
	tests := []struct {
		name, config, want string
		uid                int
	}{
		{"proxy as root", servers, "must not run as root", 0},
		{"mistake", "version: 1.0\nservr: {}\n", "config.yaml:2:1", proxyUID},
		{"not enforced", servers + "service_discovery: {type: kubernetes}\n", "cannot enforce", proxyUID},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			own := folder(t)
			config := filepath.Join(own, "config.yaml")
			if err := errors.Join(os.MkdirAll(filepath.Join(own, "d"), 0o755), os.WriteFile(config, []byte(tt.config), 0o600)); err != nil {
				t.Fatal(err)
			}
			_, err := daemon.New(daemon.Options{Config: config, Dir: filepath.Join(own, "d"), Launcher: filepath.Join(dir, "mcp-gateway-launch"), ProxyUID: tt.uid})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
