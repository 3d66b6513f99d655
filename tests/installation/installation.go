// Package installation builds and fetches what the tests of the whole gateway run:
// its binaries, Go servers, and what others wrote for Node. Paths are relative to a
// folder of tests.
package installation

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Gateway builds the gateway's binaries into a folder, as make does.
func Gateway(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	return run(exec.Command("make", "-s", "-C", "../..", "build", "BIN="+dir))
}

// Programs builds Go programs, static ones, into a folder. Flags may come first.
func Programs(dir string, packages ...string) error { return build("CGO_ENABLED=0", dir, packages...) }

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
