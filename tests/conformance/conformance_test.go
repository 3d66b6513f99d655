package conformance_test

import (
	"net"
	"os/exec"
	"path/filepath"
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
			for _, name := range behind.lost(direct) {
				t.Errorf("lost behind the gateway: %s", name)
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
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := free.Addr().String()
	_, port, _ := net.SplitHostPort(host)
	free.Close()
	cmd := exec.Command(filepath.Join(built.programs, "everything-server"), "-http", host, flag)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	deadline := time.Now().Add(patience)
	for {
		if c, err := net.Dial("tcp", host); err == nil {
			c.Close()
			return "http://localhost:" + port
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server does not listen at %s after %s", host, patience)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
