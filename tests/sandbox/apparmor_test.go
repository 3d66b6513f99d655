package sandbox_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// restricted lets a program do everything but read one file.
const restricted = `
abi <kernel>,
profile mcp-gateway-test flags=(attach_disconnected) {
  file,
  network,
  signal,
  unix,
  deny /etc/hostname r,
}
`

// TestAppArmor: a label that the host's module knows is put on the server. Where
// the host has no AppArmor, a sandbox that asks for it does not start.
func TestAppArmor(t *testing.T) {
	s := spec(t, "/bin/sh", "-c", "cat /proc/self/attr/current; cat /etc/hostname || echo refused")
	s.AppArmor = "mcp-gateway-test"
	if enabled, err := os.ReadFile("/sys/module/apparmor/parameters/enabled"); err != nil || !strings.HasPrefix(string(enabled), "Y") {
		if _, err := tryStart(t, s); err == nil || !strings.Contains(err.Error(), "AppArmor") {
			t.Errorf("got %v on a host without AppArmor, want a refusal", err)
		}
		return
	}
	if _, err := tryStart(t, s); err == nil {
		t.Error("it started, and no such profile is loaded")
	}
	path := filepath.Join(t.TempDir(), "profile")
	if err := os.WriteFile(path, []byte(restricted), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("apparmor_parser", "--replace", "--skip-cache", path).CombinedOutput(); err != nil {
		t.Fatalf("load the profile: %v: %s", err, out)
	}
	s.ID += "-loaded"
	if got := runToEnd(t, s); got.stdout != "mcp-gateway-test (enforce)\nrefused\n" {
		t.Errorf("got %q (%s), want the label, and that it bites", got.stdout, got.stderr)
	}
}
