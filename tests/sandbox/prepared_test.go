package sandbox_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mcpgateway/sandbox"
)

func prepare(t *testing.T, s sandbox.Spec) *sandbox.Prepared {
	t.Helper()
	p, err := sandboxes.Prepare(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPrepared: what waits runs nothing of the server's, and its time has not begun.
func TestPrepared(t *testing.T) {
	dir := directory(t, owner)
	s := spec(t, "/bin/sh", "-c", "touch began; cat")
	show(&s, dir, true)
	s.Dir = dir
	s.MaxTime = 500 * time.Millisecond
	p := prepare(t, s)
	<-time.After(2 * s.MaxTime)
	if _, err := os.Stat(dir + "/began"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the program ran before it was started: %v", err)
	}
	inR, inW := pipe(t)
	outR, outW := pipe(t)
	box, err := p.Start(sandbox.Stdio{Stdin: inR, Stdout: outW, Stderr: outW})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(box.Kill)
	inR.Close()
	outW.Close()
	fmt.Fprintln(inW, "hello")
	if got := firstLine(t, outR); got != "hello" {
		t.Errorf("got %q", got)
	}
	if time.Since(box.Started()) > s.MaxTime {
		t.Errorf("it counts as started %v ago", time.Since(box.Started()))
	}
	<-box.Done()
	if got := box.Exit(); !got.TimeLimit || got.Lived < s.MaxTime {
		t.Errorf("got %+v, want the end by the time limit, from its start on", got)
	}
}

func TestDiscard(t *testing.T) {
	s := spec(t, "/bin/true")
	prepare(t, s).Discard()
	prepare(t, s).Discard() // nothing of it is left, so the name is free
	for pid, comm := range children(t) {
		t.Errorf("left: process %d, %s", pid, comm)
	}
}

// TestPreparedEnds: one whose launcher was killed does not start, and leaves nothing.
func TestPreparedEnds(t *testing.T) {
	p := prepare(t, spec(t, "/bin/true"))
	for pid := range children(t) {
		unix.Kill(pid, unix.SIGKILL)
	}
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for len(children(t)) > 0 {
	}
	if _, err := p.Start(sandbox.Stdio{Stdin: null, Stdout: null, Stderr: null}); err == nil {
		t.Error("it started, and its launcher is gone")
	}
}

// TestWorkingDirectory: the server must be able to be there.
func TestWorkingDirectory(t *testing.T) {
	dir := directory(t, owner)
	if err := os.Chmod(dir, 0); err != nil {
		t.Fatal(err)
	}
	s := spec(t, "/bin/true")
	show(&s, dir, true)
	s.Dir = dir
	if got := runToEnd(t, s); !strings.Contains(got.stderr, "enter the working directory") || got.exit.Status != 125 {
		t.Errorf("got %+v", got)
	}
}

// BenchmarkPrepared is the start of what is ready, to the first byte.
func BenchmarkPrepared(b *testing.B) {
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	b.StopTimer()
	for i := range b.N {
		s := spec(b, "/bin/echo", "hello")
		s.ID = fmt.Sprintf("bench-%d", i)
		p, err := sandboxes.Prepare(s)
		if err != nil {
			b.Fatal(err)
		}
		r, w, err := os.Pipe()
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		box, err := p.Start(sandbox.Stdio{Stdin: null, Stdout: w, Stderr: null})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := r.Read(make([]byte, 1)); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		w.Close()
		_, err = io.Copy(io.Discard, r)
		r.Close()
		<-box.Done()
		if err != nil {
			b.Fatal(err)
		}
	}
}
