package sandbox_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mcpgateway/images"
	"mcpgateway/sandbox"
)

var lastID atomic.Int64

// spec is a sandbox on the host image that runs a program of it.
func spec(t *testing.T, path string, args ...string) sandbox.Spec {
	t.Helper()
	etc := t.TempDir() + "/etc"
	if err := images.WriteEtc(etc); err != nil {
		t.Fatal(err)
	}
	image, err := images.Host(etc)
	if err != nil {
		t.Fatal(err)
	}
	s := sandbox.Spec{
		ID:      fmt.Sprintf("t%d", lastID.Add(1)),
		Project: project,
		Path:    path,
		Args:    args,
		Env:     []string{"PATH=" + images.Path, "HOME=/tmp"},
		Dir:     "/tmp",
		UID:     images.UID,
		GID:     images.GID,
		Limits:  sandbox.Limits{MemoryBytes: 256 << 20, CPU: 1, PIDs: 64},
	}
	for _, b := range image.Binds {
		s.Mounts = append(s.Mounts, sandbox.Mount(b))
	}
	for _, l := range image.Links {
		s.Links = append(s.Links, sandbox.Link(l))
	}
	return s
}

// output is what a finished sandbox printed and how it ended.
type output struct {
	stdout, stderr string
	exit           sandbox.Exit
}

// runToEnd runs a sandbox to its end and returns its output. Its streams are pipes.
func runToEnd(t *testing.T, s sandbox.Spec) output {
	t.Helper()
	inR, inW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	errR, errW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	inW.Close()
	box, err := sandboxes.Start(s, sandbox.Stdio{Stdin: inR, Stdout: outW, Stderr: errW})
	for _, f := range []*os.File{inR, outW, errW} {
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	drained := make(chan struct{})
	go func() { io.Copy(&stderr, errR); close(drained) }()
	stdout, err := io.ReadAll(outR)
	if err != nil {
		t.Fatal(err)
	}
	<-drained
	select {
	case <-box.Done():
	case <-time.After(30 * time.Second):
		t.Fatal("the sandbox closed its output and did not end")
	}
	return output{string(stdout), stderr.String(), box.Exit()}
}

// shell runs a shell script in a sandbox and returns its output.
func shell(t *testing.T, script string) output {
	t.Helper()
	return runToEnd(t, spec(t, "/bin/sh", "-c", script))
}

func TestHello(t *testing.T) {
	got := shell(t, `id; cat /proc/self/status | grep -E 'Cap|NoNew|Seccomp|Uid'; ls -la / /etc /dev; ls /proc; cat /proc/self/mountinfo; exit 7`)
	t.Log(got.stdout, got.stderr)
	if got.exit.Status != 7 {
		t.Errorf("got status %d, want 7: %s", got.exit.Status, got.stderr)
	}
	_ = strings.TrimSpace
}
