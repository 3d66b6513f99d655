// Package installation builds and fetches what the tests of the whole gateway run:
// its binaries, Go servers, and what others wrote for Node. Paths are relative to a
// folder of tests.
package installation

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Gateway builds the four binaries into a folder.
func Gateway(dir string) error {
	tags, err := daemonTags()
	if err != nil {
		return err
	}
	return errors.Join(
		build("CGO_ENABLED=1", dir, "-tags", tags, "mcpgateway/cmd/mcp-gatewayd"),
		Programs(dir, "mcpgateway/cmd/mcp-gateway-launch", "mcpgateway/cmd/mcp-gateway-proxy", "mcpgateway/cmd/mcp-gateway"),
	)
}

// Programs builds Go programs, static ones, into a folder. Flags may come first.
func Programs(dir string, packages ...string) error { return build("CGO_ENABLED=0", dir, packages...) }

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
	return run(cmd)
}

// NPM has npm fetch what the package-lock.json of a folder names, unless it is
// there already: these can be hundreds of megabytes.
func NPM(dir string, flags ...string) error {
	lock, err := os.ReadFile(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		return err
	}
	fetched := filepath.Join(dir, "node_modules/.fetched.json")
	if there, err := os.ReadFile(fetched); err == nil && bytes.Equal(there, lock) {
		return nil
	}
	cmd := exec.Command("npm", append([]string{"ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"}, flags...)...)
	cmd.Dir = dir
	if err := run(cmd); err != nil {
		return err
	}
	return os.WriteFile(fetched, lock, 0o644)
}

func run(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run %s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}
