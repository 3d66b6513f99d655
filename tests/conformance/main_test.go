// Package conformance_test runs the official MCP conformance suite against the
// gateway as a user has it: the four binaries, and servers in real sandboxes. What
// a server passes when the suite speaks with it directly, it must pass behind the
// gateway. It needs root and npm, and fails without them.
package conformance_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// suite is what all tests share, below /tmp because the proxy's user must be able
// to pass through.
type suite struct {
	top      string // removed at the end
	bin      string // the four binaries
	programs string // the servers, as a sandbox sees them at /srv/programs
	npm      string // the suite, the Node that it needs and a server; a sandbox sees it at /srv/npm
}

// built is set by TestMain, before any test.
var built suite

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) (status int) {
	var err error
	built, err = prepare()
	defer os.RemoveAll(built.top)
	if err != nil {
		fmt.Fprintln(os.Stderr, "tests/conformance:", err)
		return 1
	}
	return m.Run()
}

// prepare builds and installs everything. What it made is to be removed even if it
// fails.
func prepare() (s suite, err error) {
	if os.Getuid() != 0 {
		return s, errors.New("these tests run servers in sandboxes: run them as root")
	}
	if s.top, err = os.MkdirTemp("/tmp", "mcp-gateway-conformance-"); err != nil {
		return s, err
	}
	s.bin, s.programs = filepath.Join(s.top, "bin"), filepath.Join(s.top, "programs")
	if s.npm, err = filepath.Abs("."); err != nil {
		return s, err
	}
	if err := os.Chmod(s.top, 0o755); err != nil {
		return s, err
	}
	tags, err := daemonTags()
	if err != nil {
		return s, err
	}
	return s, errors.Join(
		build("CGO_ENABLED=1", s.bin, "-tags", tags, "mcpgateway/cmd/mcp-gatewayd"),
		build("CGO_ENABLED=0", s.bin, "mcpgateway/cmd/mcp-gateway-launch", "mcpgateway/cmd/mcp-gateway-proxy", "mcpgateway/cmd/mcp-gateway"),
		build("CGO_ENABLED=0", s.programs, "github.com/modelcontextprotocol/go-sdk/conformance/everything-server", "mcpgateway/tests/oneera"),
		fetch(s.npm),
	)
}

// daemonTags reads the build tags from where they are said once.
func daemonTags() (string, error) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		return "", err
	}
	found := regexp.MustCompile(`(?m)^DAEMON_TAGS := (\S+)$`).FindSubmatch(makefile)
	if found == nil {
		return "", errors.New("the Makefile has no line DAEMON_TAGS := …")
	}
	return string(found[1]), nil
}

func build(cgo, dir string, args ...string) error {
	cmd := exec.Command("go", append([]string{"build", "-trimpath", "-ldflags", "-s -w", "-o", dir + "/"}, args...)...)
	cmd.Env = append(os.Environ(), cgo)
	return complete(cmd)
}

// fetch has npm fetch what package-lock.json names into this folder, unless it is
// there already: these are hundreds of megabytes. The suite asks for a newer Node
// than the host's; it runs on the one fetched.
func fetch(dir string) error {
	lock, err := os.ReadFile(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		return err
	}
	fetched := filepath.Join(dir, "node_modules/.fetched.json")
	if there, err := os.ReadFile(fetched); err == nil && bytes.Equal(there, lock) {
		return nil
	}
	cmd := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
	cmd.Dir = dir
	if err := complete(cmd); err != nil {
		return err
	}
	return os.WriteFile(fetched, lock, 0o644)
}

func complete(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run %s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}
