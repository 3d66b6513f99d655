package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ending waits for the process and returns how it ended.
func (p *peer) ending() syscall.WaitStatus {
	p.t.Helper()
	if rest, err := io.ReadAll(p.stdout); err != nil || len(rest) > 0 {
		p.t.Errorf("got output %q, %v, want none", rest, err)
	}
	var ended *exec.ExitError
	if err := p.cmd.Wait(); !errors.As(err, &ended) {
		p.t.Fatalf("got %v, want a bad ending", err)
	}
	return ended.Sys().(syscall.WaitStatus)
}

func TestEndings(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, kind string
		n          int // 0: the default
		want       string
	}{
		{"exit", "exit", 0, "status 1"},
		{"exit with status", "exit", 42, "status 42"},
		{"crash", "crash", 0, "signal 11"},
		{"crash by abort", "crash", 6, "signal 6"},
		{"crash by kill", "crash", 9, "signal 9"},
	}
	for _, tt := range tests {
		describe := func(w syscall.WaitStatus) string {
			if w.Signaled() {
				return fmt.Sprintf("signal %d", w.Signal())
			}
			return fmt.Sprintf("status %d", w.ExitStatus())
		}
		t.Run(tt.name+", tool", func(t *testing.T) {
			t.Parallel()
			p := ready(t)
			arguments := `{}`
			if tt.n != 0 {
				arguments = fmt.Sprintf(`{"n":%d}`, tt.n)
			}
			p.sendCall("1", tt.kind, arguments)
			if got := describe(p.ending()); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
		t.Run(tt.name+", flag", func(t *testing.T) {
			t.Parallel()
			p := start(t, "-misbehave", tt.kind, "-n", strconv.Itoa(tt.n))
			if got := describe(p.ending()); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestUnknownMisbehaviourIsRefused(t *testing.T) {
	t.Parallel()
	p := start(t, "-misbehave", "no such")
	if got := p.ending().ExitStatus(); got != 1 || !strings.Contains(p.stderr.String(), `unknown kind "no such"`) {
		t.Errorf("got status %d and %q, want 1 and the kind", got, p.stderr)
	}
}

func TestHang(t *testing.T) {
	t.Parallel()
	t.Run("tool", func(t *testing.T) {
		t.Parallel()
		p := ready(t)
		p.sendCall(`"hung"`, "hang", `{}`)
		p.sendCall(`"next"`, "echo", `{}`)
		if got := string(p.answer().ID); got != `"next"` {
			t.Errorf("got answer to %s, want only to the next call", got)
		}
	})
	t.Run("flag", func(t *testing.T) {
		t.Parallel()
		p := start(t, "-misbehave", "hang")
		p.send(`{"jsonrpc":"2.0","id":1,"method":"ping"}`)
		p.stdin.Close()
		if got, err := io.ReadAll(p.stdout); err != nil || len(got) > 0 {
			t.Errorf("got %q, %v, want no answer", got, err)
		}
	})
}

func TestCloseStdout(t *testing.T) {
	t.Parallel()
	check := func(t *testing.T, p *peer) {
		if got, err := io.ReadAll(p.stdout); err != nil || len(got) > 0 {
			t.Errorf("got %q, %v, want the end of the stream", got, err)
		}
		if err := p.cmd.Process.Signal(syscall.Signal(0)); err != nil {
			t.Errorf("got %v, want a process that is still there", err)
		}
	}
	t.Run("tool", func(t *testing.T) {
		t.Parallel()
		p := ready(t)
		p.sendCall("1", "close-stdout", `{}`)
		check(t, p)
	})
	t.Run("flag", func(t *testing.T) {
		t.Parallel()
		check(t, start(t, "-misbehave", "close-stdout"))
	})
}

func TestGarbage(t *testing.T) {
	t.Parallel()
	check := func(t *testing.T, p *peer, lines int) {
		for i := range lines {
			if got, want := p.receive(), fmt.Sprintf("line %d is {not JSON", i+1); got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
	}
	t.Run("tool", func(t *testing.T) {
		t.Parallel()
		p := ready(t)
		p.sendCall("1", "garbage", `{"n":2}`)
		check(t, p, 2)
		if got := p.answer().Result.Content[0].Text; got != "wrote 2 lines" {
			t.Errorf("got %q, want wrote 2 lines", got)
		}
	})
	t.Run("flag", func(t *testing.T) {
		t.Parallel()
		p := start(t, "-misbehave", "garbage")
		check(t, p, 10)
		p.handshake(`{}`)
	})
}

func TestEndlessLine(t *testing.T) {
	t.Parallel()
	p := ready(t)
	p.sendCall("1", "endless-line", `{"n":3}`)
	p.stdin.Close() // so that the stream has an end to compare with
	got, err := io.ReadAll(p.stdout)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != strings.Repeat("x", 3*mebibyte) {
		t.Errorf("got %d bytes, want %d of x and nothing else", len(got), 3*mebibyte)
	}
}

func TestFloodStderr(t *testing.T) {
	t.Parallel()
	p := ready(t)
	if text, failed := p.call("flood-stderr", `{"n":2}`); text != "wrote 2 MiB" || failed {
		t.Errorf("got %q, %v, want wrote 2 MiB", text, failed)
	}
	p.stdin.Close()
	if err := p.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := p.stderr.Len(); got != 2*mebibyte {
		t.Errorf("got %d bytes of standard error, want %d", got, 2*mebibyte)
	}
}

func TestMemoryIsTaken(t *testing.T) {
	t.Parallel()
	p := ready(t)
	if text, failed := p.call("memory", `{"n":40}`); text != "took 40 MiB" || failed {
		t.Fatalf("got %q, %v, want took 40 MiB", text, failed)
	}
	if got := resident(t, p); got < 40*1024 {
		t.Errorf("got %d KiB resident, want at least 40 MiB", got)
	}
}

// resident is the server's VmRSS in KiB; proc(5).
func resident(t *testing.T, p *peer) int {
	t.Helper()
	text, _ := p.call("status", `{}`)
	_, rest, _ := strings.Cut(text, "VmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		t.Fatalf("no VmRSS in %q", text)
	}
	kib, err := strconv.Atoi(fields[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib
}

func TestCPUBurns(t *testing.T) {
	t.Parallel()
	p := ready(t)
	if text, failed := p.call("cpu", `{"n":1}`); text != "burned for 1 seconds" || failed {
		t.Errorf("got %q, %v, want burned for 1 seconds", text, failed)
	}
	p.stdin.Close()
	if err := p.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if got, want := p.cmd.ProcessState.UserTime(), 50*time.Millisecond; got < want {
		t.Errorf("got %s of processor time, want more than a start costs, %s", got, want)
	}
}

func TestNoRead(t *testing.T) {
	t.Parallel()
	// A server that reads takes all of it. The deadline can only end the wait for
	// one that does not.
	check := func(t *testing.T, p *peer) {
		pipe := p.stdin.(interface{ SetWriteDeadline(time.Time) error })
		if err := pipe.SetWriteDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		line := append(bytes.Repeat([]byte(" "), mebibyte), '\n')
		if n, err := p.stdin.Write(line); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %d bytes written, %v, want a pipe that stays full", n, err)
		}
	}
	t.Run("tool", func(t *testing.T) {
		t.Parallel()
		p := ready(t)
		if text, failed := p.call("no-read", `{}`); text != "no longer reading" || failed {
			t.Fatalf("got %q, %v, want no longer reading", text, failed)
		}
		check(t, p)
	})
	t.Run("flag", func(t *testing.T) {
		t.Parallel()
		check(t, start(t, "-misbehave", "no-read"))
	})
}

func TestForkLeavesProcesses(t *testing.T) {
	t.Parallel()
	p := ready(t)
	text, failed := p.call("fork", `{"n":2}`)
	if failed {
		t.Fatal(text)
	}
	ids := processIDs(t, text)
	if len(ids) != 4 {
		t.Fatalf("got %d processes, want 2 children and 2 grandchildren: %q", len(ids), text)
	}
	var own, detached int
	for _, id := range ids {
		defer syscall.Kill(id, syscall.SIGKILL)
		if err := syscall.Kill(id, syscall.SIGTERM); err != nil {
			t.Errorf("process %d: %v", id, err)
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", id))
		if err != nil {
			t.Fatal(err)
		}
		// After the name in parentheses: state, parent, group, session; proc(5).
		fields := strings.Fields(string(stat[strings.LastIndex(string(stat), ")")+1:]))
		switch parent, session := fields[1], fields[3]; {
		case parent == strconv.Itoa(p.cmd.Process.Pid):
			own++
		case session == strconv.Itoa(id):
			detached++
		}
	}
	if own != 2 || detached != 2 {
		t.Errorf("got %d children and %d detached grandchildren, want 2 and 2", own, detached)
	}
	// They hold standard output open: the server's end is not the stream's end.
	p.stdin.Close()
	state, err := p.cmd.Process.Wait()
	if err != nil || !state.Success() {
		t.Fatalf("got %v, %v, want the server to end well", state, err)
	}
	for _, id := range ids {
		if target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/1", id)); err != nil || !strings.HasPrefix(target, "pipe:") {
			t.Errorf("process %d after the server and SIGTERM: got %q, %v, want it alive with the pipe", id, target, err)
		}
	}
}

func processIDs(t *testing.T, text string) (ids []int) {
	t.Helper()
	for field := range strings.FieldsSeq(text) {
		id, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

func TestForkbombIsBounded(t *testing.T) {
	t.Parallel()
	p := ready(t)
	text, failed := p.call("forkbomb", `{"n":3}`)
	ids := children(t, p.cmd.Process.Pid)
	for _, id := range ids {
		defer syscall.Kill(id, syscall.SIGKILL)
	}
	if text != "started 3 processes" || failed || len(ids) != 3 {
		t.Errorf("got %q, %v and %d children, want 3", text, failed, len(ids))
	}
}

// children are the processes whose parent is pid.
func children(t *testing.T, pid int) (ids []int) {
	t.Helper()
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks { // a child belongs to the thread that made it
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, processIDs(t, string(text))...)
	}
	return ids
}

func TestRugPull(t *testing.T) {
	t.Parallel()
	const note = `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`
	list := func(t *testing.T, p *peer, changed bool) {
		t.Helper()
		p.send(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
		if got := strings.Contains(p.receive(), pulled); got != changed {
			t.Errorf("got the other description: %v, want %v", got, changed)
		}
	}
	t.Run("flag", func(t *testing.T) {
		t.Parallel()
		p := ready(t, "-misbehave", "rug-pull", "-n", "2")
		list(t, p, false)
		list(t, p, false)
		if got := p.receive(); got != note {
			t.Errorf("got %s, want %s", got, note)
		}
		list(t, p, true)
		list(t, p, true)
		p.stdin.Close()
	})
	t.Run("tool", func(t *testing.T) {
		t.Parallel()
		p := ready(t)
		list(t, p, false)
		p.sendCall("1", "rug-pull", `{"n":0}`)
		if got := p.receive(); got != note {
			t.Errorf("got %s, want %s", got, note)
		}
		p.receive() // the answer
		list(t, p, true)
		p.stdin.Close()
	})
}
