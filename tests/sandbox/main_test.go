// Package sandbox_test starts real sandboxes on this host's kernel and looks at
// them from inside and outside. It needs root.
package sandbox_test

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"mcpgateway/sandbox"
)

// sandboxes is the one Runtime of this test process; bin holds built programs.
var (
	sandboxes *sandbox.Runtime
	bin       string
)

const (
	project   = "test"
	uidRanges = 64
)

// uidStart is another one in each run, so that two at a time count no processes of
// each other.
var uidStart = 0x70000000 + os.Getpid()%256*uidRanges*65536

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Getuid() != 0 {
		fmt.Fprintln(os.Stderr, "tests/sandbox: needs root: it makes namespaces, mounts and cgroups; run it with sudo")
		return 1
	}
	// As a service may have it and them: no sandbox shall.
	signal.Ignore(syscall.SIGHUP)
	if err := syscall.Setgroups([]int{0, 4}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// Below /run, which every user may pass through, as in production.
	dir, err := os.MkdirTemp("/run", "mcp-gateway-test-")
	if err == nil {
		err = sandbox.Sweep(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	bin = filepath.Join(dir, "bin")
	launcher := filepath.Join(bin, "mcp-gateway-launch")
	for _, name := range []string{"tests/testserver", "tests/probe", "tests/attack"} {
		build := exec.Command("go", "build", "-o", bin+"/", "mcpgateway/"+name)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build %s: %v\n%s", name, err, out)
			return 1
		}
	}
	if out, err := exec.Command("../../cmd/mcp-gateway-launch/build.sh", launcher).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the launcher: %v\n%s", err, out)
		return 1
	}
	sandboxes, err = sandbox.New(sandbox.Host{
		Dir:      dir,
		Launcher: launcher,
		UIDStart: uidStart,
		UIDCount: uidRanges,
	})
	if err == nil {
		err = sandboxes.SetProject(project, sandbox.Limits{})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := sandboxes.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}
