// Package containers_test makes the contents of the images without an engine and looks
// at them; and it runs them, as an engine and as Kubernetes would, with real OCI
// runtimes (TestPod…), where the host has cgroup v2: make test-vm does. It needs root.
package containers_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

var (
	binFlag = flag.String("bin", "", "the programs' `FOLDER`; default: they are built")
	without = flag.String("without", "", "take these `CAPABILITIES` from the daemon of TestPodCompose: are they needed? A,B")
)

// made is what TestMain makes: a folder, the root filesystem of each role in it, and
// where the programs are.
var made struct{ dir, bin string }

const (
	source   = "../.."
	proxyID  = 65532
	helperID = 65533
)

func roles() []string { return []string{"daemon", "proxy"} }

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(initVariable) != "":
		beInit()
	case os.Getenv(helperVariable) != "":
		fmt.Println(os.Getenv(helperVariable))
		os.Exit(0)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	flag.Parse()
	if os.Getuid() != 0 {
		fmt.Fprintln(os.Stderr, "tests/containers: needs root: run it with sudo")
		return 1
	}
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "tests/containers:", err)
		return 1
	}
	defer os.RemoveAll(made.dir)
	return m.Run()
}

func prepare() (err error) {
	// Every user may pass through it, as through where an engine keeps images.
	if made.dir, err = os.MkdirTemp("", "containers-test-"); err != nil {
		return err
	}
	if err := os.Chmod(made.dir, 0o755); err != nil {
		return err
	}
	made.bin = *binFlag
	if made.bin == "" {
		made.bin = filepath.Join(made.dir, "bin")
		build := exec.Command("make", "--no-print-directory", "build", "BIN="+made.bin)
		build.Dir = source
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build: %w\n%s", err, out)
		}
	}
	if made.bin, err = filepath.Abs(made.bin); err != nil {
		return err
	}
	for _, role := range roles() {
		if out, err := rootfs(role, filepath.Join(made.dir, role)); err != nil {
			return fmt.Errorf("rootfs.sh: %w\n%s", err, out)
		}
	}
	return nil
}

// rootfs makes the content of an image.
func rootfs(role, dir string) ([]byte, error) {
	cmd := exec.Command(filepath.Join(source, "packaging/docker/rootfs.sh"), role, dir)
	cmd.Env = append(os.Environ(), "BIN="+made.bin, "SOURCE_DATE_EPOCH=1700000000")
	return cmd.CombinedOutput()
}
