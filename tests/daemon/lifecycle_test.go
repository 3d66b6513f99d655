package daemon_test

import (
	"bytes"
	"errors"
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

	"mcpgateway/runtime/control"
)

func (p *proxy) open(t *testing.T, server string) control.Opened {
	t.Helper()
	opened, err := p.Open(t.Context(), server, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(opened.Close)
	return opened
}

// find gives a line of the list.
func (p *proxy) find(t *testing.T, id string) control.Sandbox {
	t.Helper()
	list, err := p.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		if s.ID == id {
			return s
		}
	}
	t.Fatalf("%s is not in the list %+v", id, list)
	panic("unreachable")
}

// echoes fails the test unless cat gives back a line.
func echoes(t *testing.T, opened control.Opened, text string) {
	t.Helper()
	line := make([]byte, len(text))
	if _, err := io.ReadFull(opened.Stdout, line); err != nil || string(line) != text {
		t.Errorf("got %q, %v, want %q", line, err, text)
	}
}

// TestFreezeAndThaw: a proxy may halt its own servers, root all of them.
func TestFreezeAndThaw(t *testing.T) {
	g := start(t, servers)
	p, admin := g.connect(t, proxyUID), g.connect(t, 0)
	opened := p.open(t, "cat")
	for name, by := range map[string]*proxy{"proxy": p, "administrator": admin} {
		if err := by.Freeze(t.Context(), opened.Sandbox); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := admin.find(t, opened.Sandbox); !got.Frozen || got.Usage.Memory == 0 {
			t.Errorf("%s: got %+v, want that it is frozen, and its memory", name, got)
		}
		if _, err := opened.Stdin.WriteString(name); err != nil {
			t.Fatal(err)
		}
		if err := by.Thaw(t.Context(), opened.Sandbox); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		echoes(t, opened, name)
		if got := p.find(t, opened.Sandbox); got.Frozen {
			t.Errorf("%s: got %+v, want that it runs", name, got)
		}
		if err := by.Reclaim(t.Context(), opened.Sandbox, 0); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := p.Reclaim(t.Context(), opened.Sandbox, -1); err == nil && unified() {
		t.Error("took less than no memory back")
	}
	second := g.connect(t, proxyUID) // takes the place of the first, whose servers end
	other := second.open(t, "cat")
	for name, do := range map[string]func() error{
		"freeze":  func() error { return second.Freeze(t.Context(), opened.Sandbox) },
		"thaw":    func() error { return second.Thaw(t.Context(), opened.Sandbox) },
		"reclaim": func() error { return second.Reclaim(t.Context(), opened.Sandbox, 0) },
		"none":    func() error { return second.Freeze(t.Context(), "cat-77") },
	} {
		if err := do(); code(err) != control.CodeUnknown {
			t.Errorf("%s: got %v for one that is gone, or is not its own", name, err)
		}
	}
	if _, err := other.Stdin.WriteString("it runs"); err != nil {
		t.Fatal(err)
	}
	echoes(t, other, "it runs") // and takes signals
	if err := second.Freeze(t.Context(), other.Sandbox); err != nil {
		t.Fatal(err)
	}
	if err := admin.Stop(t.Context(), other.Sandbox); err != nil { // a frozen one
		t.Fatal(err)
	}
	if exit := within(t, second.exits); !exit.Stopped || exit.Signal != int(unix.SIGTERM) {
		t.Errorf("got %+v, want that it ended when it was asked to", exit)
	}
}

func unified() bool {
	_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
	return err == nil
}

// TestExitNamesTheLimit has what the proxy is told of ends. The servers that reach
// their memory's limit outlive the process that did it: the gateway must end them. The
// others count first: a kernel that counts time in ticks may have none of what is shorter.
func TestExitNamesTheLimit(t *testing.T) {
	g := start(t, `version: "1.0"
projects: {poor: {resources: {max_memory_mb: 64}}}
servers:
  memory: {command: sh, args: [-c, "dd if=/dev/zero of=/dev/null bs=200M count=1; cat"], resources: {max_memory_mb: 48}}
  first: {command: sh, project: poor, args: [-c, "head -c 40M /dev/zero >/tmp/much; echo full; cat"], resources: {max_memory_mb: 56}}
  second: {command: sh, project: poor, args: [-c, "dd if=/dev/zero of=/dev/null bs=40M count=1; cat"], resources: {max_memory_mb: 56}}
  crowd: {command: sh, args: [-c, "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 100 & done; exit 4"], resources: {max_pids: 16}}
  signal: {command: sh, args: [-c, "i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done; kill -SEGV $$"]}
  status: {command: sh, args: [-c, "i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done; exit 3"]}
`)
	p := g.connect(t, proxyUID)
	tests := []struct {
		server string
		want   control.Exit
	}{
		{"memory", control.Exit{Status: 137, Signal: 9, OOM: true, MemoryLimit: 48 << 20}},
		{"crowd", control.Exit{PIDLimit: 16}},
		{"signal", control.Exit{Status: 139, Signal: 11}},
		{"status", control.Exit{Status: 3}},
	}
	for _, tt := range tests {
		t.Run(tt.server, func(t *testing.T) {
			opened := p.open(t, tt.server)
			got := within(t, p.exits)
			if got.Sandbox != opened.Sandbox || got.Server != tt.server || got.Lived == 0 {
				t.Errorf("got %+v", got)
			}
			if got.Usage.CPU == 0 {
				t.Errorf("got %+v, want what it used", got.Usage)
			}
			got.Sandbox, got.Server, got.Lived, got.Usage = "", "", 0, control.Usage{}
			if tt.want.PIDLimit > 0 {
				got.Status = 0 // as the shell likes
			}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
	// Two together reach what neither does alone.
	echoes(t, p.open(t, "first"), "full\n")
	p.open(t, "second")
	if got := within(t, p.exits); !got.OOM || got.Project != "poor" || got.MemoryLimit != 64<<20 {
		t.Errorf("second: got %+v, want its project's limit", got)
	}
}

// TestExitNamesTheProfilesLimit has ends that need a profile.
func TestExitNamesTheProfilesLimit(t *testing.T) {
	profiles := filepath.Join(folder(t), "profiles")
	if err := os.MkdirAll(profiles, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"brief": "[time]\nrun = \"1s\"\n", "lazy": "[time]\ncpu = \"2s\"\n", "harsh": "[syscalls]\naction = \"kill\"\n", "small": "[rlimits]\nfsize = \"1M\"\n",
	} {
		if err := os.WriteFile(filepath.Join(profiles, name+".toml"), []byte("extends = \"default\"\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g := start(t, `version: "1.0"
servers:
  endless: {profile: brief, command: sleep, args: ["1000"]}
  busy: {profile: lazy, command: sh, args: [-c, "while :; do :; done"]}
  forbidden: {profile: harsh, command: unshare, args: [--user, "true"]}
  writer: {profile: small, command: dd, args: [if=/dev/zero, of=/tmp/large, bs=2M, count=2]}
`)
	p := g.connect(t, proxyUID)
	for server, want := range map[string]control.Exit{
		"endless":   {Signal: int(unix.SIGKILL), TimeLimit: time.Second},
		"busy":      {Signal: int(unix.SIGXCPU), CPULimit: 2 * time.Second},
		"forbidden": {Signal: int(unix.SIGSYS)},
		"writer":    {Signal: int(unix.SIGXFSZ), FileLimit: 1 << 20},
	} {
		opened := p.open(t, server)
		got := within(t, p.exits)
		if got.Sandbox != opened.Sandbox || got.Signal != want.Signal || got.TimeLimit != want.TimeLimit ||
			got.CPULimit != want.CPULimit || got.FileLimit != want.FileLimit || got.OOM || got.Stopped || got.Lived < want.TimeLimit {
			t.Errorf("%s: got %+v, want %+v", server, got, want)
		}
	}
}

const helperVariable = "DAEMON_TEST_HELPER"

// TestHelperDaemon is a daemon in a process of its own, until its standard input
// ends.
func TestHelperDaemon(t *testing.T) {
	own := os.Getenv(helperVariable)
	if own == "" {
		return
	}
	dir = filepath.Dir(own) // where the launcher is
	startIn(t, own, servers)
	os.Stdout.WriteString("ready\n")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// helper starts a daemon in a process of its own, and returns once it serves.
func helper(t *testing.T, own string) (cmd *exec.Cmd, end io.Closer, log *bytes.Buffer) {
	t.Helper()
	_ = os.Remove(filepath.Join(own, "s")) // as a service manager makes the socket anew
	log = &bytes.Buffer{}
	cmd = exec.Command("/proc/self/exe", "-test.run=^TestHelperDaemon$")
	cmd.Env = append(os.Environ(), helperVariable+"="+own)
	cmd.Stderr = log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	ready := make([]byte, len("ready\n"))
	if _, err := io.ReadFull(stdout, ready); err != nil || string(ready) != "ready\n" {
		cmd.Process.Kill()
		cmd.Wait()
		t.Fatalf("the helper is not ready: %q, %v\n%s", ready, err, log)
	}
	return cmd, stdin, log
}

// hasEnded waits for a process.
func hasEnded(t *testing.T, pidfd int, wait time.Duration) bool {
	t.Helper()
	poll := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(poll, int(wait.Milliseconds()))
	if err != nil {
		t.Fatal(err)
	}
	return n == 1
}

// TestLeftovers kills a daemon that has a server that runs and a frozen one: after
// the next one's start nothing is left of them.
func TestLeftovers(t *testing.T) {
	own := folder(t)
	killed, _, _ := helper(t, own)
	g := &gateway{socket: filepath.Join(own, "s")}
	p := g.connect(t, proxyUID)
	names := []string{p.open(t, "cat").Sandbox, p.open(t, "cat").Sandbox}
	var processes []int
	var namespaces []string
	for _, name := range names {
		s := p.find(t, name)
		pidfd, err := unix.PidfdOpen(s.PID, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(pidfd) })
		namespace, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(s.PID), "ns/net"))
		if err != nil {
			t.Fatal(err)
		}
		processes, namespaces = append(processes, pidfd), append(namespaces, namespace)
	}
	if err := p.Freeze(t.Context(), names[1]); err != nil {
		t.Fatal(err)
	}
	// A mount of a project's folder that was being made.
	project := filepath.Join(own, "project folder")
	target := filepath.Join(own, "sandboxes", "roots", names[0], "tmp")
	err := errors.Join(os.MkdirAll(project, 0o755), os.WriteFile(filepath.Join(project, "work"), []byte("precious"), 0o644),
		os.MkdirAll(target, 0o755), unix.Mount(project, target, "", unix.MS_BIND, ""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })

	// A process of a sandbox that was still being made: it does not end by itself.
	stray := exec.Command("sleep", "1000")
	if err := stray.Start(); err != nil {
		t.Fatal(err)
	}
	strayEnded := make(chan error, 1)
	go func() { strayEnded <- stray.Wait() }()
	t.Cleanup(func() { stray.Process.Kill() })
	group := filepath.Join(oneOf(t, cgroupsOf(t, killed.Process.Pid)), "stray")
	err = errors.Join(os.Mkdir(group, 0o755), os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(stray.Process.Pid)), 0))
	if err != nil {
		t.Fatal(err)
	}

	killed.Process.Kill()
	killed.Wait()
	if !hasEnded(t, processes[0], 30*time.Second) {
		t.Error("the server that ran outlived its daemon")
	}
	if !unified() && hasEnded(t, processes[1], 0) {
		t.Error("the v1 freezer let go of the frozen one: this test shows less than it says")
	}
	next, end, log := helper(t, own)
	if !hasEnded(t, processes[1], 0) {
		t.Error("the frozen server is still there")
	}
	if err := within(t, strayEnded); err == nil {
		t.Error("the stray process ended by itself")
	}
	if left := cgroupsOf(t, killed.Process.Pid); len(left) > 0 {
		t.Errorf("cgroups are still there: %q", left)
	}
	if left := heldNamespaces(t, namespaces); len(left) > 0 {
		t.Errorf("namespaces are still held: %q", left)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), own) {
		t.Errorf("mounts are still there, %v", err)
	}
	if _, err := os.Stat(filepath.Join(own, "sandboxes", "roots")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that nothing of it is left", err)
	}
	if text, err := os.ReadFile(filepath.Join(project, "work")); string(text) != "precious" {
		t.Errorf("the project's file has %q, %v", text, err)
	}
	end.Close()
	if err := next.Wait(); err != nil {
		t.Error(err)
	}
	lines := 0
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "removed what a daemon that was killed had left") && strings.Contains(line, own) {
			lines++
			for _, want := range []string{"mcp-gateway-" + strconv.Itoa(killed.Process.Pid), target, "roots", "launch"} {
				if !strings.Contains(line, want) {
					t.Errorf("the log does not name %s: %s", want, line)
				}
			}
		}
	}
	if lines != 1 {
		t.Errorf("got %d lines of it in the log:\n%s", lines, log)
	}
	if left := cgroupsOf(t, next.Process.Pid); len(left) > 0 {
		t.Errorf("an orderly end left cgroups: %q", left)
	}
}

// cgroupsOf lists the cgroups of a daemon.
func cgroupsOf(t *testing.T, pid int) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && entry.Name() == "mcp-gateway-"+strconv.Itoa(pid) {
			found = append(found, path)
		}
		return nil // what others remove meanwhile
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// oneOf chooses the cgroup of the v2 tree: it takes processes as it is.
func oneOf(t *testing.T, paths []string) string {
	t.Helper()
	for _, path := range paths {
		if unified() || strings.HasPrefix(path, "/sys/fs/cgroup/unified/") {
			return path
		}
	}
	t.Fatalf("the daemon has no cgroup of version 2: %q", paths)
	panic("unreachable")
}

// heldNamespaces lists those of the namespaces that a process is in.
func heldNamespaces(t *testing.T, namespaces []string) []string {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	var held []string
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil {
			continue // it has just ended
		}
		for _, namespace := range namespaces {
			if target == namespace {
				held = append(held, link)
			}
		}
	}
	return held
}
