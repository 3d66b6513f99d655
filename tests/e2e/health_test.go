package e2e_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// admin asks the admin listener.
func (g *gateway) admin(t *testing.T, path string) (status int, text string) {
	t.Helper()
	response, err := http.Get(g.addresses.Admin + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// TestHungServerIsReplaced: it hangs while nobody asks it anything.
func TestHungServerIsReplaced(t *testing.T) {
	t.Parallel()
	g := start(t, "health_check: {enabled: true, interval: 1s, timeout: 1s}\n", servers(testserver("deaf", "instances: shared", "freeze_after: 0s"), testserver("other")))
	s := g.open(t, "deaf")
	s.ask(t, "no-read", struct{}{})
	hung, _ := g.line(t, "deaf")
	var why string
	eventually(t, "the server is said to be unwell", func() bool {
		status, text := g.admin(t, "/readyz/deaf")
		why = text
		return status == http.StatusServiceUnavailable
	})
	if !strings.Contains(why, "none of its instances is well") || !strings.Contains(why, "did not answer") || strings.Count(why, "\n") != 1 {
		t.Errorf("got %q", why)
	}
	if status, text := g.admin(t, "/readyz/other"); status != http.StatusOK {
		t.Errorf("another server: got %d %q", status, text)
	}
	eventually(t, "another instance takes its place, without a call", func() bool {
		list := g.cli(t, "ps")
		return strings.Contains(list, "deaf-") && !strings.Contains(list, hung+" ")
	})
	eventually(t, "the server is ready", func() bool { status, _ := g.admin(t, "/readyz/deaf"); return status == http.StatusOK })
	if got := s.ask(t, "echo", struct{}{}); got != "{}" {
		t.Errorf("got %q", got)
	}
	status, text := g.admin(t, "/readyz?verbose")
	if want := "[+]gateway ok\n[+]server/deaf ok\n[+]server/other ok\nreadyz check passed\n"; status != http.StatusOK || text != want {
		t.Errorf("got %d %q", status, text)
	}
	if !strings.Contains(g.log.String(), "instance failed its health checks and is given up") {
		t.Error("the log does not say so")
	}
}

// TestDaemonTellsTheServiceManager: of every reload, whoever wants it, and that it works.
func TestDaemonTellsTheServiceManager(t *testing.T) {
	t.Parallel()
	var socket *net.UnixConn
	g := startPrepared(t, func(g *gateway) {
		path := filepath.Join(g.dir, "manager.sock")
		var err error
		if socket, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { socket.Close() })
		g.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=600000")
	}, servers(testserver("good")))
	await := func(text string) string {
		t.Helper()
		buffer := make([]byte, 4096)
		if err := socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		for {
			n, err := socket.Read(buffer)
			if err != nil {
				t.Fatalf("the daemon did not say %q: %v", text, err)
			}
			if state := string(buffer[:n]); strings.Contains(state, text) {
				return state
			}
		}
	}
	await("READY=1")
	await("WATCHDOG=1\nSTATUS=the configuration is in force: 1 servers, 0 instances")
	content, err := os.ReadFile(g.config())
	if err != nil {
		t.Fatal(err)
	}
	for name, act := range map[string]func(){
		"SIGHUP":       func() { _ = unix.Kill(g.daemon, unix.SIGHUP) },
		"a command":    func() { g.cli(t, "reload") },
		"a new server": func() { g.writeConfig(t, string(content)+testserver("second")) },
	} {
		act()
		if state := await("RELOADING=1"); !strings.Contains(state, "\nMONOTONIC_USEC=") {
			t.Errorf("%s: got %q", name, state)
		}
		if state := await("READY=1"); !strings.Contains(state, "STATUS=the configuration is in force") {
			t.Errorf("%s: got %q", name, state)
		}
	}
	g.writeConfig(t, "nonsense: [\n")
	await("STATUS=the new configuration was refused")
	await(fmt.Sprintf("WATCHDOG=1\nSTATUS=the new configuration was refused, and the old one stays in force: %d servers", 2))
	if err := unix.Kill(g.daemon, unix.SIGSTOP); err != nil { // it is stuck
		t.Fatal(err)
	}
	defer func() { _ = unix.Kill(g.daemon, unix.SIGCONT) }()
	if err := socket.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for pings, buffer := 0, make([]byte, 4096); ; pings++ {
		if _, err := socket.Read(buffer); err != nil {
			break
		}
		if pings > 3 {
			t.Fatal("a daemon that is stuck says that it works")
		}
	}
}
