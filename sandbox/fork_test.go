package sandbox

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// run runs a program whose descriptor 0 is a pipe, and returns what it writes there.
func run(t *testing.T, calls func(p *program)) (said string, status unix.WaitStatus) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	var p program
	defer p.end()
	p.place([]*os.File{write})
	calls(&p)
	pid, err := p.start(0, nil)
	write.Close()
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(read)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(string(content), "\x01") {
		return p.failure(content).Error(), status
	}
	return string(content), status
}

func TestProgram(t *testing.T) {
	exit := func(p *program) { p.add("exit", unix.SYS_EXIT_GROUP, 3) }
	for _, tt := range []struct {
		name, want string
		status     int
		calls      func(p *program)
	}{
		{"to its end", "", 1, func(*program) {}},
		{"a call that succeeds", "hello", 3, func(p *program) {
			p.add("write", unix.SYS_WRITE, 0, p.text("hello"), 5).returns(5)
			exit(p)
		}},
		{"one that fails", "shut: bad file descriptor", 1, func(p *program) { p.add("shut", unix.SYS_CLOSE, 99); exit(p) }},
		{"one that may fail so", "", 3, func(p *program) { p.add("shut", unix.SYS_CLOSE, 99).optional = unix.EBADF; exit(p) }},
		{"one that may fail otherwise", "shut: bad file descriptor", 1, func(p *program) { p.add("shut", unix.SYS_CLOSE, 99).optional = unix.ENOSYS; exit(p) }},
		{"another result", "ask: errno 0", 1, func(p *program) { p.add("ask", unix.SYS_GETPPID).returns(0); exit(p) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, status := run(t, tt.calls); got != tt.want || status.ExitStatus() != tt.status {
				t.Errorf("got %q, status %d, want %q, %d", got, status.ExitStatus(), tt.want, tt.status)
			}
		})
	}
}

// TestWaitForGo: streams that come too early don't let a process go on without limits.
func TestWaitForGo(t *testing.T) {
	for size, want := range map[int]int{1: 1, goSize: 3, goSize + 1: 1} {
		own, inside, err := socketPair()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := own.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		runtime.LockOSThread()
		var p program
		p.place([]*os.File{inside})
		p.waitForGo()
		p.add("exit", unix.SYS_EXIT_GROUP, 3)
		pid, err := p.start(0, nil)
		if err != nil {
			t.Fatal(err)
		}
		var status unix.WaitStatus
		if _, err := unix.Wait4(pid, &status, 0, nil); err != nil || status.ExitStatus() != want {
			t.Errorf("%d bytes: got status %d, %v, want %d", size, status.ExitStatus(), err, want)
		}
		runtime.UnlockOSThread()
		p.end()
		closeFiles([]*os.File{own, inside})
	}
}

// TestKeepBack: what is kept back is not in a process that is cloned.
func TestKeepBack(t *testing.T) {
	heap := make([]byte, 64<<20)
	for i := range heap {
		heap[i] = 1
	}
	if err := keepBack(); err != nil {
		t.Fatal(err)
	}
	got, _ := run(t, func(p *program) {
		at := uintptr(p.room(256))
		p.add("open", unix.SYS_OPENAT, 1<<64-100, p.text("/proc/self/statm"), unix.O_RDONLY).returns(1)
		p.add("read", unix.SYS_READ, 1, at, 256)
		p.add("write", unix.SYS_WRITE, 0, at, 256)
	})
	var size, resident, shared int
	if _, err := fmt.Sscan(got, &size, &resident, &shared); err != nil {
		t.Fatalf("got %q: %v", got, err)
	}
	if own := resident - shared; own > 8 { // of its thread; the program's data, relocated or not, is kept back, too
		t.Errorf("it has %d pages of its own", own)
	}
	runtime.KeepAlive(heap)
}
