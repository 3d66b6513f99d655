package sandbox_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mcpgateway/sandbox"
)

// processesOf returns the processes with ids of a sandbox's range.
func processesOf(t *testing.T, box *sandbox.Sandbox) []string {
	t.Helper()
	base := (box.UID() - uidStart) / 65536 * 65536
	entries, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, path := range entries {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has just ended
		}
		fields := status(t, string(text))
		uid, err := strconv.Atoi(strings.Fields(fields["Uid"] + " x")[0])
		if err == nil && uid >= uidStart+base && uid < uidStart+base+65536 {
			found = append(found, fields["Name"]+" "+fields["Pid"]+" "+fields["State"])
		}
	}
	return found
}

func firstLine(t *testing.T, r io.Reader) string {
	t.Helper()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func TestExit(t *testing.T) {
	tests := []struct {
		name, script string
		want         int
	}{
		{"status", "exit 7", 7},
		{"signal", "kill -SEGV $$", 128 + int(unix.SIGSEGV)},
		{"success", "true", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := shell(t, tt.script).exit; got.Status != tt.want || got.OOM {
				t.Errorf("got %+v, want status %d", got, tt.want)
			}
		})
	}
	if got := runToEnd(t, spec(t, "/usr/bin/none")); got.exit.Status != 127 || !strings.Contains(got.stderr, "execute /usr/bin/none") {
		t.Errorf("got %+v for a program that is not there, want status 127", got)
	}
}

// leavesChildren starts processes that ignore signals, in sessions of their own,
// whose parents have gone.
const leavesChildren = `
trap '' TERM
for i in 1 2 3; do (setsid sh -c 'trap "" TERM HUP INT; sleep 1000 & sleep 1000' &) ; done
echo started; `

func TestKillLeavesNothing(t *testing.T) {
	box := start(t, spec(t, "/bin/sh", "-c", leavesChildren+"sleep 1000"))
	firstLine(t, box.stdout)
	if got := processesOf(t, box.Sandbox); len(got) < 5 {
		t.Fatalf("got processes %q, want the launcher, the shell and its children", got)
	}
	box.Kill()
	if got := processesOf(t, box.Sandbox); len(got) != 0 {
		t.Errorf("still there: %q", got)
	}
}

func TestEndOfTheServerEndsItsChildren(t *testing.T) {
	box := start(t, spec(t, "/bin/sh", "-c", leavesChildren+"exit 3"))
	<-box.Done()
	if got := processesOf(t, box.Sandbox); len(got) != 0 || box.Exit().Status != 3 {
		t.Errorf("still there: %q; status %d, want 3", got, box.Exit().Status)
	}
}

func TestStopAsksFirst(t *testing.T) {
	box := start(t, spec(t, "/bin/sh", "-c", "trap 'echo asked; exit 5' TERM; echo ready; while :; do sleep 0.1; done"))
	out := bufio.NewReader(box.stdout)
	if line, err := out.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	box.Stop(time.Minute)
	if line, _ := out.ReadString('\n'); line != "asked\n" || box.Exit().Status != 5 {
		t.Errorf("got %q, status %d, want the trap's", line, box.Exit().Status)
	}
}

func TestStopKillsAfterGrace(t *testing.T) {
	box := start(t, spec(t, "/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"))
	firstLine(t, box.stdout)
	box.Stop(time.Millisecond)
	if got := box.Exit().Status; got != 128+int(unix.SIGKILL) {
		t.Errorf("got status %d, want that of SIGKILL", got)
	}
}

// TestOutputEndsWithTheServer: the launcher must not keep the streams open.
func TestOutputEndsWithTheServer(t *testing.T) {
	box := start(t, spec(t, "/bin/sh", "-c", "exec >&- 2>&-; read x"))
	if rest, err := io.ReadAll(box.stdout); err != nil || len(rest) != 0 {
		t.Errorf("got %q, %v, want the end of the stream", rest, err)
	}
	select {
	case <-box.Done():
		t.Error("the sandbox ended too")
	default:
	}
}

func TestOrphansAreReaped(t *testing.T) {
	got := shell(t, `
i=0; while [ $i -lt 30 ]; do (true &) ; i=$((i+1)); done
n=1; tries=0
while [ $n -gt 0 ] && [ $tries -lt 100 ]; do n=$(grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l); tries=$((tries+1)); sleep 0.05; done
echo $n zombies`)
	if got.stdout != "0 zombies\n" {
		t.Errorf("got %q", got.stdout)
	}
}

func TestMemoryLimit(t *testing.T) {
	// On cgroup v1 it is the daemon that ends the others, which may go on until then.
	s := spec(t, "/bin/sh", "-c", leavesChildren+`dd if=/dev/zero of=/dev/null bs=200M count=1 && echo survived; sleep 1000`)
	s.Limits.MemoryBytes = 64 << 20
	box := start(t, s)
	got := box.wait(t)
	if !got.exit.OOM || strings.Contains(got.stdout, "survived") {
		t.Errorf("got %+v, %q, want the end of the whole sandbox for memory", got.exit, got.stdout)
	}
	if left := processesOf(t, box.Sandbox); len(left) != 0 {
		t.Errorf("still there: %q", left)
	}
	s = spec(t, "/bin/sh", "-c", "dd if=/dev/zero of=/dev/null bs=200M count=1 2>/dev/null && echo survived")
	if got := runToEnd(t, s); got.stdout != "survived\n" || got.exit.OOM {
		t.Errorf("got %q, %+v with enough memory, want that it survives", got.stdout, got.exit)
	}
}

func TestProcessLimit(t *testing.T) {
	script := "i=0; while [ $i -lt 60 ]; do sleep 100 & i=$((i+1)); done; echo all"
	s := spec(t, "/bin/sh", "-c", script)
	s.Limits.PIDs = 30
	if got := runToEnd(t, s); strings.Contains(got.stdout, "all") {
		t.Errorf("started 60 processes with a limit of 30")
	}
	s = spec(t, "/bin/sh", "-c", script)
	s.Limits.PIDs = 100
	if got := runToEnd(t, s); !strings.Contains(got.stdout, "all") {
		t.Errorf("could not start 60 processes with a limit of 100: %s", got.stderr)
	}
}

// cgroupFile finds a file of the cgroup of a process, on v1 or v2.
func cgroupFile(t *testing.T, pid int, controller, v1, v2 string, up int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		var dir, name string
		switch parts[1] {
		case controller:
			dir, name = filepath.Join("/sys/fs/cgroup", controller, parts[2]), v1
		case "":
			dir, name = filepath.Join("/sys/fs/cgroup", parts[2]), v2
		default:
			continue
		}
		for range up {
			dir = filepath.Dir(dir)
		}
		if content, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
			return strings.TrimSpace(string(content))
		}
	}
	t.Fatalf("process %d has no cgroup file %s or %s:\n%s", pid, v1, v2, text)
	return ""
}

func TestCPULimit(t *testing.T) {
	s := spec(t, "/bin/cat")
	s.Limits.CPU = 0.25
	box := start(t, s)
	got := cgroupFile(t, box.PID(), "cpu", "cpu.cfs_quota_us", "cpu.max", 0)
	if got != "25000" && got != "25000 100000" {
		t.Errorf("got quota %q, want 25000 of 100000 µs", got)
	}
}

func TestSwapIsOff(t *testing.T) {
	if text, err := os.ReadFile("/proc/swaps"); errors.Is(err, os.ErrNotExist) || bytes.Count(text, []byte("\n")) < 2 {
		t.Log("this host has no swap: nothing to limit")
		return
	}
	box := start(t, spec(t, "/bin/cat"))
	got := cgroupFile(t, box.PID(), "memory", "memory.memsw.limit_in_bytes", "memory.swap.max", 0)
	if got != "0" && got != strconv.Itoa(256<<20) {
		t.Errorf("got a swap limit of %s", got)
	}
}

func TestProjectLimit(t *testing.T) {
	const name = "limited"
	if err := sandboxes.SetProject(name, sandbox.Limits{MemoryBytes: 100 << 20, CPU: 0.5, PIDs: 40}); err != nil {
		t.Fatal(err)
	}
	s := spec(t, "/bin/cat")
	s.Project = name
	box := start(t, s)
	if got := cgroupFile(t, box.PID(), "memory", "memory.limit_in_bytes", "memory.max", 1); got != strconv.Itoa(100<<20) {
		t.Errorf("got a memory limit of %s for the project", got)
	}
	if got := cgroupFile(t, box.PID(), "pids", "pids.max", "pids.max", 1); got != "40" {
		t.Errorf("got a process limit of %s for the project", got)
	}
	// Two servers that stay below their own limits and not below their project's.
	memory := spec(t, "/bin/sh", "-c", "dd if=/dev/zero of=/dev/null bs=80M count=1 2>/dev/null; echo $?")
	memory.Project = name
	if got := runToEnd(t, memory); got.stdout != "0\n" {
		t.Errorf("got %q below the project's limit", got.stdout)
	}
	memory = spec(t, "/bin/sh", "-c", "dd if=/dev/zero of=/dev/null bs=150M count=1 2>/dev/null && echo survived")
	memory.Project = name
	if got := runToEnd(t, memory); strings.Contains(got.stdout, "survived") {
		t.Error("a server used more than its project may")
	}
	if err := sandboxes.SetProject(name, sandbox.Limits{}); err != nil {
		t.Fatal(err)
	}
	memory.ID += "-again"
	if got := runToEnd(t, memory); !strings.Contains(got.stdout, "survived") {
		t.Error("a project's limit that was lifted is still there")
	}
}

// TestDeathOfTheDaemon runs this test binary as a daemon that starts a sandbox and
// is then killed.
func TestDeathOfTheDaemon(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestHelperDaemon$")
	cmd.Env = append(os.Environ(), helperVariable+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	var dir string
	lines := bufio.NewScanner(out)
	for pid == 0 && lines.Scan() {
		fmt.Sscanf(lines.Text(), "sandbox %d %s", &pid, &dir)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	first, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatalf("the helper's sandbox %d: %v", pid, err)
	}
	defer unix.Close(first)
	cmd.Process.Kill()
	cmd.Wait()
	poll := []unix.PollFd{{Fd: int32(first), Events: unix.POLLIN}}
	if n, err := unix.Poll(poll, 30_000); err != nil || n != 1 {
		t.Fatalf("the sandbox outlived the daemon: %d, %v", n, err)
	}
}

const helperVariable = "SANDBOX_TEST_HELPER"

// TestHelperDaemon is TestDeathOfTheDaemon's daemon.
func TestHelperDaemon(t *testing.T) {
	if os.Getenv(helperVariable) == "" {
		return
	}
	box := start(t, spec(t, "/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1000; done"))
	firstLine(t, box.stdout)
	fmt.Printf("sandbox %d %s\n", box.PID(), filepath.Dir(bin))
	select {}
}

// TestNothingIsLeft: after its end, nothing on the host tells of a sandbox.
func TestNothingIsLeft(t *testing.T) {
	s := spec(t, "/bin/true")
	runToEnd(t, s)
	_ = filepath.WalkDir(filepath.Dir(bin), func(path string, _ fs.DirEntry, _ error) error {
		if strings.Contains(filepath.Base(path), s.ID) {
			t.Errorf("%s is still there", path)
		}
		return nil
	})
	matches, err := filepath.Glob("/sys/fs/cgroup/*/*/*/" + s.ID)
	if err != nil || len(matches) > 0 {
		t.Errorf("cgroups %q, %v are still there", matches, err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), filepath.Dir(bin)) {
		t.Errorf("the host has mounts of sandboxes, %v", err)
	}
}

// TestDaemonWithManyDescriptors: those of a daemon with many sandboxes have numbers above
// the limit that a sandbox gets.
func TestDaemonWithManyDescriptors(t *testing.T) {
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for range 1100 {
		fd, err := unix.Dup(int(null.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
	}
	for range 20 {
		if got := shell(t, "ulimit -n; ulimit -H -n"); got.stdout != "1024\n4096\n" {
			t.Errorf("got %+v", got)
		}
	}
}
