// Package conformance_test runs the official MCP conformance suite against the
// gateway as a user has it: the four binaries, and servers in real sandboxes. What
// a server passes when the suite speaks with it directly, it must pass behind the
// gateway. It needs root and npm, and fails without them.
package conformance_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"mcpgateway/tests/installation"
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
	return s, errors.Join(
		installation.Gateway(s.bin),
		installation.Programs(s.programs, "github.com/modelcontextprotocol/go-sdk/conformance/everything-server", "mcpgateway/tests/oneera"),
		installation.NPM(s.npm),
	)
}
