package sandbox_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"mcpgateway/images"
	"mcpgateway/sandbox"
)

var lastID atomic.Int64

// spec is a sandbox on the host image that runs a program of it.
func spec(t testing.TB, path string, args ...string) sandbox.Spec {
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
		s.Mounts = append(s.Mounts, sandbox.Mount{Source: b.Source, Target: b.Target})
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

// running is a started sandbox and the test's ends of its streams.
type running struct {
	*sandbox.Sandbox
	stdin          *os.File
	stdout, stderr *os.File
}

// start starts a sandbox whose streams are pipes, and ends it with the test.
func start(t *testing.T, s sandbox.Spec) running {
	t.Helper()
	box, err := tryStart(t, s)
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func tryStart(t *testing.T, s sandbox.Spec) (running, error) {
	t.Helper()
	inR, inW := pipe(t)
	outR, outW := pipe(t)
	errR, errW := pipe(t)
	box, err := sandboxes.Start(s, sandbox.Stdio{Stdin: inR, Stdout: outW, Stderr: errW})
	for _, f := range []*os.File{inR, outW, errW} {
		f.Close()
	}
	if err == nil {
		t.Cleanup(box.Kill)
	}
	return running{box, inW, outR, errR}, err
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// wait waits for the end of a sandbox, whose output nobody else may be reading.
func (r running) wait(t *testing.T) output {
	t.Helper()
	var stderr bytes.Buffer
	drained := make(chan struct{})
	go func() { io.Copy(&stderr, r.stderr); close(drained) }()
	stdout, err := io.ReadAll(r.stdout)
	if err != nil {
		t.Fatal(err)
	}
	<-drained
	select {
	case <-r.Done():
	case <-time.After(30 * time.Second):
		t.Fatal("the sandbox closed its output and did not end")
	}
	return output{string(stdout), stderr.String(), r.Exit()}
}

// runToEnd runs a sandbox without input to its end.
func runToEnd(t *testing.T, s sandbox.Spec) output {
	t.Helper()
	r := start(t, s)
	r.stdin.Close()
	return r.wait(t)
}

// shell runs a shell script in a sandbox and returns its output.
func shell(t *testing.T, script string) output {
	t.Helper()
	return runToEnd(t, spec(t, "/bin/sh", "-c", script))
}
