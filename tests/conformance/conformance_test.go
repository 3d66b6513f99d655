package conformance_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// revisions are those that the suite has requirements for. A server of both eras
// speaks one of them over HTTP, by its flag, and both over stdio.
var revisions = []struct {
	name   string
	flag   string
	passed int // checks that the server itself passes
}{
	{"2025-11-25", "-stateless=false", 82},
	{"2026-07-28", "-stateless=true", 165},
}

// TestNothingIsLost has the suite check the Go SDK's own conformance server twice:
// directly, and behind the gateway, in a sandbox. Every check that passes directly
// passes behind the gateway, and so does the suite as a whole.
func TestNothingIsLost(t *testing.T) {
	gateway := start(t, entry("everything", "/srv/programs/everything-server"))
	for _, revision := range revisions {
		t.Run(revision.name, func(t *testing.T) {
			direct := runSuite(t, serve(t, revision.flag), revision.name)
			if got := direct.total(); got != revision.passed || direct.status != 0 {
				t.Fatalf("directly: got %d checks passed and status %d, want %d and 0", got, direct.status, revision.passed)
			}
			behind := runSuite(t, gateway+"/servers/everything/mcp", revision.name)
			for _, lost := range behind.lost(direct) {
				t.Errorf("lost behind the gateway: %s: %s", lost, behind.failed[lost.check])
			}
			if behind.status != 0 {
				t.Errorf("the suite's exit status behind the gateway: got %d, want 0", behind.status)
			}
		})
	}
}

// serve runs the conformance server over HTTP, without gateway and sandbox.
func serve(t *testing.T, flag string) (address string) {
	t.Helper()
	port := freePort(t)
	return listening(t, exec.Command(filepath.Join(built.programs, "everything-server"), "-http", "127.0.0.1:"+port, flag), port)
}

// serveNPM does the same with the server of the handshake era.
func serveNPM(t *testing.T) (address string) {
	t.Helper()
	port := freePort(t)
	cmd := exec.Command(filepath.Join(built.npm, nodePath), filepath.Join(built.npm, everythingPath), "streamableHttp")
	cmd.Env = append(os.Environ(), "PORT="+port)
	return listening(t, cmd, port) + "/mcp"
}

func freePort(t *testing.T) string {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	return strconv.Itoa(free.Addr().(*net.TCPAddr).Port)
}

// listening runs a server until the end of the test, and waits until it listens.
func listening(t *testing.T, cmd *exec.Cmd, port string) (address string) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); ; {
		if c, err := net.Dial("tcp", "localhost:"+port); err == nil {
			c.Close()
			return "http://localhost:" + port
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s does not listen after %s", cmd, patience)
		}
	}
}
