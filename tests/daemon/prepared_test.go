package daemon_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mcpgateway/runtime/control"
)

// children are the processes that this one has started, as the daemon that it is.
func children(t *testing.T) (pids []int) {
	t.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for pid := range strings.FieldsSeq(string(text)) {
			n, err := strconv.Atoi(pid)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, n)
		}
	}
	return pids
}

// openNoting opens a server, and says whether its process was there before.
func (p *proxy) openNoting(t *testing.T, server string) (opened control.Opened, pid int, older bool) {
	t.Helper()
	before := children(t)
	opened, err := p.Open(t.Context(), server, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(opened.Close)
	list, err := p.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		if s.ID == opened.Sandbox {
			pid = s.PID
		}
	}
	return opened, pid, slices.Contains(before, pid)
}

// end ends a sandbox and waits for that.
func (p *proxy) end(t *testing.T, opened control.Opened) {
	t.Helper()
	if err := p.Stop(t.Context(), opened.Sandbox); err != nil && code(err) != control.CodeUnknown {
		t.Fatal(err)
	}
	for within(t, p.exits).Sandbox != opened.Sandbox {
		continue
	}
}

// often opens a server until it comes from a prepared sandbox.
func (p *proxy) often(t *testing.T, server string) {
	t.Helper()
	for range 1000 {
		opened, _, older := p.openNoting(t, server)
		p.end(t, opened)
		if older {
			return
		}
	}
	t.Fatal("no sandbox was prepared")
}

// waiting is the one prepared sandbox that there is, once it is complete, by its first process.
func (p *proxy) waiting(t *testing.T) int {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		list, err := p.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		idle := slices.DeleteFunc(children(t), func(pid int) bool {
			for _, s := range list {
				if s.PID == pid {
					return true
				}
			}
			comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			return !strings.HasPrefix(string(comm), "mcp-gateway-lau")
		})
		if len(idle) == 1 {
			return idle[0]
		}
	}
	t.Fatal("no sandbox is prepared")
	return 0
}

// gone wants a process to end.
func gone(t *testing.T, pid int) {
	t.Helper()
	process, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(process)
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}, 30_000); err != nil || n != 1 {
		t.Errorf("the process goes on: %d, %v", n, err)
	}
}

// A server that is opened again and again has a sandbox ready each time, and no two
// opens have the same. There is one at most, and list knows nothing of it.
func TestPrepared(t *testing.T) {
	g := start(t, servers)
	p := g.connect(t, proxyUID)
	p.often(t, "cat")
	used := map[int]bool{}
	for range 5 {
		p.waiting(t)
		opened, pid, _ := p.openNoting(t, "cat")
		if used[pid] {
			t.Errorf("process %d was used before", pid)
		}
		used[pid] = true
		if _, err := opened.Stdin.WriteString("through\n"); err != nil {
			t.Fatal(err)
		}
		line := make([]byte, 8)
		if _, err := io.ReadFull(opened.Stdout, line); err != nil || string(line) != "through\n" {
			t.Errorf("got %q, %v", line, err)
		}
		if list, err := p.List(t.Context()); err != nil || len(list) != 1 {
			t.Errorf("got %+v, %v, want what runs alone", list, err)
		}
		p.end(t, opened)
	}
	last := p.waiting(t)
	g.stop()
	gone(t, last)
}

// What is prepared takes nobody's place: as many servers can run as without.
func TestPreparedMakesRoom(t *testing.T) {
	g := start(t, servers)
	p := g.connect(t, proxyUID)
	p.often(t, "cat")
	p.waiting(t)
	for range 3 {
		p.openNoting(t, "cat")
	}
	if _, err := p.Open(t.Context(), "cat", ""); code(err) != control.CodeLimit {
		t.Errorf("got %v for the fourth, want the limit", err)
	}
}

// What is prepared ends with what it was prepared by.
func TestReloadDiscardsPrepared(t *testing.T) {
	g := start(t, of("one", unwatched))
	p, admin := g.connect(t, proxyUID), g.connect(t, 0)
	for _, next := range []string{of("two", unwatched), "gateway: {watch: false}\ntransports: {grpc: {enabled: true}, websocket: {enabled: true}, sse: {enabled: true}}\nservers:\n  b: {command: cat}\n"} {
		p.often(t, "a")
		waits := p.waiting(t)
		g.write(t, next)
		if err := admin.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		gone(t, waits)
	}
}

// Nothing is kept for a proxy that has gone.
func TestPreparedEndsWithItsProxy(t *testing.T) {
	g := start(t, of("one", unwatched))
	p := g.connect(t, proxyUID)
	p.often(t, "a")
	waits := p.waiting(t)
	g.connect(t, proxyUID) // takes its place
	gone(t, waits)
}

// A sandbox that is prepared shows what a new one would show, or is not used.
func TestPreparedShowsNothingStale(t *testing.T) {
	shown := filepath.Join(t.TempDir(), "shown")
	file := filepath.Join(shown, "file")
	fill := func(text string) {
		t.Helper()
		err := errors.Join(os.MkdirAll(shown, 0o755), os.Chown(shown, 1000, 1000), os.WriteFile(file, []byte(text), 0o644))
		if err != nil {
			t.Fatal(err)
		}
	}
	fill("old")
	g := start(t, fmt.Sprintf("gateway: {watch: false}\nservers:\n  s: {command: cat, args: [%q], allowed_directories: [%q]}\n", file, shown))
	p := g.connect(t, proxyUID)
	read := func() string {
		t.Helper()
		opened, _, _ := p.openNoting(t, "s")
		text, err := io.ReadAll(opened.Stdout)
		if err != nil {
			t.Fatal(err)
		}
		p.end(t, opened)
		return string(text)
	}
	p.often(t, "s")
	for i, change := range []func() error{
		func() error { return os.Rename(shown, shown+".before") },
		func() error { return unix.Mount("none", shown, "tmpfs", 0, "") },
		func() error { return nil },
	} {
		p.waiting(t)
		if err := change(); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprint("new ", i)
		fill(want)
		if got := read(); got != want {
			t.Errorf("change %d: got %q, want %q", i, got, want)
		}
	}
	if err := unix.Unmount(shown, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if got := read(); got != "new 0" {
		t.Errorf("got %q of what is not mounted any more", got)
	}
}

// Nothing is prepared for who does not want it.
func TestNothingPrepared(t *testing.T) {
	g := start(t, "servers:\n  cat: {command: cat, prepared: 0}\n")
	p := g.connect(t, proxyUID)
	for range 5 {
		opened, _, older := p.openNoting(t, "cat")
		if older {
			t.Error("it was prepared")
		}
		p.end(t, opened)
	}
}
