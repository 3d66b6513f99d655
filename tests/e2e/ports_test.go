package e2e_test

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// upAgain starts a gateway with another one's state folder.
func upAgain(t *testing.T, state string, sections ...string) *gateway {
	t.Helper()
	return startPrepared(t, func(g *gateway) {
		if err := os.Symlink(state, g.state()); err != nil {
			t.Fatal(err)
		}
	}, sections...)
}

// end ends a gateway before its test does.
func (g *gateway) end(t *testing.T) {
	t.Helper()
	g.stop(t)
	g.killed = true
}

// portOf is the port of a URL, or of host and port.
func portOf(t *testing.T, address string) string {
	t.Helper()
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		return u.Port()
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// freeRun finds so many free ports in a row.
func freeRun(t *testing.T, n int) (first int) {
	t.Helper()
	for first = 12000 + os.Getpid()%4000; first < 30000; first += n {
		free := true
		for port := first; port < first+n && free; port++ {
			l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
			if free = err == nil; free {
				l.Close()
			}
		}
		if free {
			return first
		}
	}
	t.Fatal("no free ports")
	return 0
}

// TestPortsAreRemembered has a gateway end and start again: its ports are the same, unless
// another process has taken one, and people are told of them.
func TestPortsAreRemembered(t *testing.T) {
	t.Parallel()
	first := freeRun(t, 8)
	transports := fmt.Sprintf("transports: {port_range: %d-%d, reserved_ports: [%d], grpc: {enabled: true, port: 0}, http: {enabled: true, port: 0}}\n", first, first+7, first+1)
	sections := transports + servers(testserver("test"))
	port := func(n int) string { return fmt.Sprint(first + n) }

	g := start(t, sections)
	if got := portOf(t, g.addresses.GRPC) + " " + portOf(t, g.addresses.HTTP); got != port(0)+" "+port(2) {
		t.Fatalf("got %s, want the lowest ports that are not reserved, of %d and up", got, first)
	}
	var status struct {
		Listeners []struct {
			Transport, Address string
			Assigned           bool
		}
	}
	g.document(t, &status, "status")
	if got, want := fmt.Sprint(status.Listeners), fmt.Sprintf("[{http 127.0.0.1:%s true} {grpc 127.0.0.1:%s true}]", port(2), port(0)); got != want {
		t.Errorf("status: got %s, want %s", got, want)
	}
	if got, want := g.cli(t, "status"), "http 127.0.0.1:"+port(2)+" (assigned)"; !strings.Contains(got, want) {
		t.Errorf("status: got %s, want %s in it", got, want)
	}
	if got, want := g.cli(t, "export", "--client", "claude-code", "--config", g.config()), "http://127.0.0.1:"+port(2)+"/"; !strings.Contains(got, want) {
		t.Errorf("export: got %s, want %s in it", got, want)
	}
	doctor := func() string {
		out, _, _ := g.try(t, "doctor", "--config", g.config()) // this host may lack something
		return out
	}
	if got, want := doctor(), "2 listeners can be where "+g.config()+" says"; !strings.Contains(got, want) {
		t.Errorf("doctor: got %s, want %s in it", got, want)
	}
	state, admin := g.state(), g.addresses.Admin
	g.end(t)

	_, text, exit := g.try(t, "status")
	if want := "listened  http 127.0.0.1:" + port(2) + " (assigned)"; exit != 3 || !strings.Contains(text, want) {
		t.Errorf("status of one that is down: got %d and %s, want %s in it", exit, text, want)
	}

	g = upAgain(t, state, sections)
	if got := portOf(t, g.addresses.GRPC) + " " + portOf(t, g.addresses.HTTP); got != port(0)+" "+port(2) || g.addresses.Admin != admin {
		t.Errorf("after a restart: got %s and admin %s, want the same as before, %s", got, g.addresses.Admin, admin)
	}
	g.end(t)

	taken, err := net.Listen("tcp4", "127.0.0.1:"+port(2))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	g = upAgain(t, state, sections)
	if got := portOf(t, g.addresses.GRPC) + " " + portOf(t, g.addresses.HTTP); got != port(0)+" "+port(3) {
		t.Errorf("with its port taken: got %s, want the next one", got)
	}
	content, err := os.ReadFile(filepath.Join(state, "ports.json"))
	if err != nil || !strings.Contains(string(content), `"port": `+port(3)) {
		t.Errorf("ports.json: got %s and %v, want the new port", content, err)
	}
	g.writeConfig(t, g.pool()+strings.Replace(sections, "http: {enabled: true, port: 0}", "http: {enabled: true, port: "+port(2)+"}", 1))
	if got, want := doctor(), fmt.Sprintf(`open transports.http: 127.0.0.1:%s is held by "e2e.test" (pid %d, user root)`, port(2), os.Getpid()); !strings.Contains(got, want) {
		t.Errorf("doctor: got %s, want %s in it", got, want)
	}
}
