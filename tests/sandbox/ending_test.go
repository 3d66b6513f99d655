package sandbox_test

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mcpgateway/sandbox"
)

// frozen asks the kernel.
func frozen(t *testing.T, box *sandbox.Sandbox) bool {
	t.Helper()
	state := cgroupFile(t, box.PID(), "freezer", "freezer.state", "cgroup.events", 0)
	return state == "FROZEN" || strings.Contains(state, "frozen 1")
}

func freeze(t *testing.T, box *sandbox.Sandbox) {
	t.Helper()
	if err := box.Freeze(); err != nil {
		t.Fatal(err)
	}
	if !frozen(t, box) || !box.Frozen() {
		t.Fatal("it is not frozen")
	}
}

func TestFreeze(t *testing.T) {
	box := start(t, spec(t, "/bin/cat"))
	if frozen(t, box.Sandbox) || box.Frozen() {
		t.Error("it started frozen")
	}
	freeze(t, box.Sandbox)
	freeze(t, box.Sandbox) // again
	if _, err := box.stdin.WriteString("while frozen\n"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := box.Thaw(); err != nil {
			t.Fatal(err)
		}
	}
	if got := firstLine(t, box.stdout); got != "while frozen" || frozen(t, box.Sandbox) || box.Frozen() {
		t.Errorf("got %q, frozen %v, %v", got, frozen(t, box.Sandbox), box.Frozen())
	}
}

// TestEndWhileFrozen: what is frozen can be ended, and asked to.
func TestEndWhileFrozen(t *testing.T) {
	asked := start(t, spec(t, "/bin/sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done"))
	firstLine(t, asked.stdout)
	freeze(t, asked.Sandbox)
	asked.Stop(time.Minute)
	if got := asked.Exit(); got.Status != 5 || got.Signal != 0 {
		t.Errorf("got %+v, want the trap's status", got)
	}
	killed := start(t, spec(t, "/bin/sh", "-c", leavesChildren+"sleep 1000"))
	firstLine(t, killed.stdout)
	freeze(t, killed.Sandbox)
	killed.Kill()
	if left := processesOf(t, killed.Sandbox); len(left) != 0 || killed.Exit().Signal != int(unix.SIGKILL) {
		t.Errorf("got %+v; still there: %q", killed.Exit(), left)
	}
	if err := killed.Freeze(); err == nil {
		t.Error("froze a sandbox that has ended")
	}
}

// TestFreezeMeetsTheEnd: who freezes while somebody ends the sandbox keeps nothing
// alive.
func TestFreezeMeetsTheEnd(t *testing.T) {
	for range 10 {
		box := start(t, spec(t, "/bin/cat"))
		var freezing sync.WaitGroup
		for range 3 {
			freezing.Go(func() {
				for box.Freeze() == nil {
				}
			})
		}
		box.Kill()
		freezing.Wait()
	}
}

func TestTimeLimit(t *testing.T) {
	for name, halt := range map[string]bool{"running": false, "frozen": true} {
		t.Run(name, func(t *testing.T) {
			s := spec(t, "/bin/sh", "-c", leavesChildren+"sleep 1000")
			s.MaxTime = 500 * time.Millisecond
			box := start(t, s)
			firstLine(t, box.stdout)
			if halt {
				freeze(t, box.Sandbox)
			}
			<-box.Done()
			if got := box.Exit(); !got.TimeLimit || got.OOM || got.Lived < s.MaxTime {
				t.Errorf("got %+v, want the end by the time limit", got)
			}
			if left := processesOf(t, box.Sandbox); len(left) != 0 {
				t.Errorf("still there: %q", left)
			}
		})
	}
	s := spec(t, "/bin/true")
	s.MaxTime = time.Hour
	if got := runToEnd(t, s).exit; got.TimeLimit || got.Status != 0 {
		t.Errorf("got %+v long before its time was up", got)
	}
}

func TestExitNamesTheSignal(t *testing.T) {
	for script, want := range map[string]int{"kill -ABRT $$": int(unix.SIGABRT), "exit 3": 0, "exit 255": 0, "exit 128": 0} {
		if got := shell(t, script).exit; got.Signal != want {
			t.Errorf("%s: got %+v, want signal %d", script, got, want)
		}
	}
	s := spec(t, "/usr/bin/unshare", "--user", "true")
	s.Syscalls.Kill = true
	if got := runToEnd(t, s).exit; got.Signal != int(unix.SIGSYS) {
		t.Errorf("got %+v for a system call that ends who makes it", got)
	}
}

// TestExitNamesTheLimit: a server's own limits are told from its project's.
func TestExitNamesTheLimit(t *testing.T) {
	const greedy = "dd if=/dev/zero of=/dev/null bs=200M count=1"
	s := spec(t, "/bin/sh", "-c", greedy)
	s.Limits.MemoryBytes = 64 << 20
	if got := runToEnd(t, s).exit; !got.OOM || got.OfProject || got.MemoryLimit != 64<<20 || got.PIDLimit {
		t.Errorf("got %+v, want its own limit", got)
	}
	if err := sandboxes.SetProject("poor", sandbox.Limits{MemoryBytes: 96 << 20}); err != nil {
		t.Fatal(err)
	}
	s = spec(t, "/bin/sh", "-c", greedy)
	s.Project = "poor"
	if got := runToEnd(t, s).exit; !got.OOM || !got.OfProject || got.MemoryLimit != 96<<20 {
		t.Errorf("got %+v, want its project's limit", got)
	}
	s = spec(t, "/bin/sh", "-c", "i=0; while [ $i -lt 60 ]; do sleep 100 & i=$((i+1)); done")
	s.Limits.PIDs = 30
	if got := runToEnd(t, s).exit; !got.PIDLimit || got.OOM {
		t.Errorf("got %+v, want the limit of processes", got)
	}
}

// uncached makes a folder with a file whose pages are charged to who reads it.
func uncached(t *testing.T) string {
	t.Helper()
	dir := directory(t, owner)
	file, err := os.Create(filepath.Join(dir, "big"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err = file.Write(make([]byte, 64<<20)); err == nil {
		err = errors.Join(file.Chmod(0o644), file.Sync(), unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestReclaim: the kernel takes back what a sandbox has read and can read again.
func TestReclaim(t *testing.T) {
	dir := uncached(t)
	// Where /tmp is no disk, it reads what nobody has read there yet.
	s := spec(t, "/bin/sh", "-c", "{ cat big; find /usr/lib /usr/share -type f | head -n 3000 | xargs cat; } >/dev/null 2>&1; echo read; cat")
	s.Mounts = append(s.Mounts, sandbox.Mount{Source: dir, Target: dir, UID: owner, GID: owner})
	s.Dir = dir
	box := start(t, s)
	out := bufio.NewReader(box.stdout)
	if line, err := out.ReadString('\n'); err != nil || line != "read\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	before := box.Memory()
	if before < 32<<20 {
		t.Errorf("got %d bytes after reading more than that", before)
	}
	if err := box.Reclaim(0); err != nil {
		t.Fatal(err)
	}
	if after := box.Memory(); after > before/2 {
		t.Errorf("got %d bytes, had %d", after, before)
	}
	if err := box.Reclaim(1 << 30); err != nil {
		t.Errorf("got %v for more than there is", err)
	}
	if _, err := box.stdin.WriteString("well\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := out.ReadString('\n'); err != nil || line != "well\n" {
		t.Errorf("got %q, %v afterwards", line, err)
	}
	box.Kill()
	if got := box.Memory(); got != 0 {
		t.Errorf("got %d bytes after the end", got)
	}
}

// What is killed while it becomes a sandbox leaves no process behind.
func TestKilledWhileStarting(t *testing.T) {
	stop, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		for kills := 0; ; {
			select {
			case <-stop:
				return
			default:
			}
			for pid, comm := range children(t) {
				// By then it has this program's name, or the launcher's.
				if (strings.HasPrefix(comm, "sandbox") || strings.HasPrefix(comm, "mcp-gateway-lau")) && kills%3 != 2 {
					_ = unix.Kill(pid, unix.SIGKILL)
				}
				kills++
			}
		}
	}()
	failed := 0
	for range 12 {
		box, err := tryStart(t, spec(t, "/usr/bin/true"))
		if err != nil {
			failed++
			continue
		}
		<-box.Done()
	}
	close(stop)
	<-over
	if failed == 0 {
		t.Fatal("nothing was killed while it started: this test shows nothing")
	}
	for pid, comm := range children(t) {
		t.Errorf("left: process %d, %s", pid, comm)
	}
}

// children gives the children of this process.
func children(t *testing.T) map[int]string {
	t.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(lists) == 0 {
		t.Fatal("this kernel does not tell of children (CONFIG_PROC_CHILDREN)", err)
	}
	found := map[int]string{}
	for _, list := range lists {
		text, _ := os.ReadFile(list) // the thread may have ended
		for child := range strings.FieldsSeq(string(text)) {
			pid, err := strconv.Atoi(child)
			if err != nil {
				t.Fatal(err)
			}
			if comm, err := os.ReadFile("/proc/" + child + "/comm"); err == nil {
				found[pid] = strings.TrimSpace(string(comm))
			}
		}
	}
	return found
}
