package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// audit is what mcp-gateway profile audit -o json says.
type audit struct {
	Version     int
	Differences int
	Sandboxes   []struct {
		Sandbox, Server, Profile string
		PID, Differences         int
		Exposure                 float64
		Reasons                  []struct {
			Key, Text string
			Points    float64
		}
		Findings []struct {
			Section, Fact, Want, Got, Result, Where string
			Points                                  float64
		}
	}
}

// differences are the facts that are not as they should be, in one sandbox.
func (a audit) differences(t *testing.T) []string {
	t.Helper()
	if len(a.Sandboxes) != 1 {
		t.Fatalf("got %d sandboxes, want one", len(a.Sandboxes))
	}
	var found []string
	for _, f := range a.Sandboxes[0].Findings {
		if f.Result != "ok" && f.Result != "not visible" {
			found = append(found, f.Section+": "+f.Fact)
			t.Logf("%s: %s: %s %s, want %s", f.Section, f.Fact, f.Result, f.Got, f.Want)
		}
	}
	if len(found) != a.Differences || len(found) != a.Sandboxes[0].Differences {
		t.Errorf("it counts %d differences, and lists %d", a.Differences, len(found))
	}
	return found
}

// profile runs mcp-gateway profile and returns its output and exit status.
func (g *gateway) profile(t *testing.T, args ...string) (out, problems string, status int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(built.bin, "mcp-gateway"), append([]string{"profile"}, args...)...)
	cmd.Args = append(cmd.Args, "--config", g.config())
	var stdout, stderr output
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

// audit audits what is named, and wants the exit status to fit.
func (g *gateway) audit(t *testing.T, args ...string) (a audit) {
	t.Helper()
	out, problems, status := g.profile(t, append([]string{"audit", "-o", "json", "--state", g.state()}, args...)...)
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		t.Fatalf("profile audit %q: %v: %s%s", args, err, out, problems)
	}
	if (status == 0) != (a.Differences == 0) || status > 1 {
		t.Errorf("profile audit %q: got status %d with %d differences", args, status, a.Differences)
	}
	return a
}

// TestProfileAudit audits the real server from npm, under which nothing differs.
func TestProfileAudit(t *testing.T) {
	t.Parallel()
	project := owned(t, owner, "hello.txt", "hello")
	g := start(t, filesystemServer(t, project), testserver("two", "eager: true", "env: {API_KEY: hush-hush}"), testserver("idle"),
		testserver("strict", "eager: true", "profile: strict"), testserver("node", "eager: true", "profile: node", "stdio: pipes"),
		testserver("net", "eager: true", "profile: network-client", `network: ["example.com:443"]`))

	files := g.audit(t, "files")
	if got := files.differences(t); len(got) > 0 {
		t.Errorf("differences: got %q, want none", got)
	}
	sandbox := files.Sandboxes[0]
	if i := g.only(t, "files"); sandbox.PID != i.launcher || sandbox.Server != "files" || files.Version != 1 || len(sandbox.Findings) < 100 {
		t.Errorf("got process %d of server %q with %d facts, want %d of files with 100 and more", sandbox.PID, sandbox.Server, len(sandbox.Findings), i.launcher)
	}
	if got := g.audit(t, sandbox.Sandbox); got.Sandboxes[0].Sandbox != sandbox.Sandbox {
		t.Errorf("audit of sandbox %s: got %s", sandbox.Sandbox, got.Sandboxes[0].Sandbox)
	}
	all := g.audit(t, "--all")
	if len(all.Sandboxes) != 5 || all.Differences != 0 {
		t.Errorf("--all: got %d sandboxes and %d differences, want 5 and none", len(all.Sandboxes), all.Differences)
	}
	for _, s := range all.Sandboxes {
		for _, f := range s.Findings {
			if f.Result != "ok" && f.Result != "not visible" {
				t.Errorf("%s: %s: %s: %s %s, want %s", s.Sandbox, f.Section, f.Fact, f.Result, f.Got, f.Want)
			}
		}
	}

	out, _, status := g.profile(t, "audit", "two", "--state", g.state())
	if status != 0 || !strings.Contains(out, " 0 differ") || !strings.Contains(out, "exposure ") || !strings.Contains(out, "not visible") {
		t.Errorf("audit of two: got status %d and %s", status, out)
	}
	if strings.Contains(out, "hush-hush") {
		t.Errorf("it shows a secret: %s", out)
	}
	for name, want := range map[string]string{"idle": "no sandbox of server \"idle\" runs", "nobody": "there is no server \"nobody\"", "files-99": "there is no server"} {
		if _, problems, status := g.profile(t, "audit", name, "--state", g.state()); status != 1 || !strings.Contains(problems, want) {
			t.Errorf("audit of %s: got status %d and %q, want 1 and %q", name, status, problems, want)
		}
	}
}

// TestProfileAuditFinds weakens a running sandbox behind the gateway's back.
func TestProfileAuditFinds(t *testing.T) {
	t.Parallel()
	g := start(t, "gateway: {watch: false}\n", filesystemServer(t, owned(t, owner, "hello.txt", "hello")))
	files := g.only(t, "files")
	server := files.serverPID(t)
	plants := []struct {
		name  string
		plant func(t *testing.T)
		want  []string
	}{
		{"a mount made writable", func(t *testing.T) {
			set := func(set, clear uint64) error {
				return unix.MountSetattr(unix.AT_FDCWD, "/srv/files", 0, &unix.MountAttr{Attr_set: set, Attr_clr: clear})
			}
			within(t, files.launcher, func() error { return set(0, unix.MOUNT_ATTR_RDONLY) })
			t.Cleanup(func() { within(t, files.launcher, func() error { return set(unix.MOUNT_ATTR_RDONLY, 0) }) })
		}, []string{"mounts: /srv/files"}},
		{"one mount more", func(t *testing.T) {
			within(t, files.launcher, func() error { return unix.Mount("none", "/etc/ssl", "tmpfs", 0, "") })
			t.Cleanup(func() { within(t, files.launcher, func() error { return unix.Unmount("/etc/ssl", 0) }) })
		}, []string{"mounts: others"}},
		{"a mount over another", func(t *testing.T) {
			within(t, files.launcher, func() error { return unix.Mount("/etc", "/srv/files", "", unix.MS_BIND, "") })
			t.Cleanup(func() { within(t, files.launcher, func() error { return unix.Unmount("/srv/files", 0) }) })
		}, []string{"mounts: /srv/files"}},
		{"what was masked", func(t *testing.T) {
			within(t, files.launcher, func() error { return unix.Unmount("/proc/kallsyms", unix.MNT_DETACH) })
			t.Cleanup(func() {
				within(t, files.launcher, func() error { return unix.Mount("/dev/null", "/proc/kallsyms", "", unix.MS_BIND, "") })
			})
		}, []string{"files: of the host in /proc"}},
		{"more processes", func(t *testing.T) { replaceLimit(t, files.launcher, "pids", "pids.max", "pids.max", "max") }, []string{"limits of the sandbox: processes"}},
		{"more CPU", func(t *testing.T) { replaceLimit(t, files.launcher, "cpu", "cpu.cfs_quota_us", "cpu.max", "150000") }, []string{"limits of the sandbox: cpu"}},
		{"a larger limit of a process", func(t *testing.T) { g.loosen(t, server) }, []string{"limits of each process: open files"}},
		{"a process with its ids", func(t *testing.T) {
			runFor(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(files.uid), Gid: 65534}})
		}, []string{"privileges: no new privileges", "system calls: filter is on", "namespaces: net of each process", "ids: gid of each process"}},
		{"a stranger in its cgroup", func(t *testing.T) {
			pid := runFor(t, nil)
			move(t, pid, cgroupOf(t, files.launcher, "pids"))
		}, []string{"ids: uid of each process", "privileges: permitted capabilities", "limits of the sandbox: cgroup of each process"}},
		{"a process that left its cgroup", func(t *testing.T) {
			dir := cgroupOf(t, server, "memory")
			move(t, server, filepath.Dir(dir))
			t.Cleanup(func() { move(t, server, dir) })
		}, []string{"limits of the sandbox: cgroup of each process"}},
	}
	for _, p := range plants {
		t.Run(p.name, func(t *testing.T) {
			p.plant(t)
			got := g.audit(t, "files").differences(t)
			for _, want := range p.want {
				if !slices.Contains(got, want) {
					t.Errorf("got %q, without %q", got, want)
				}
			}
			if len(p.want) < 2 && len(got) != len(p.want) {
				t.Errorf("got %q, want %q", got, p.want)
			}
		})
	}
	if got := g.audit(t, "files").differences(t); len(got) > 0 {
		t.Errorf("after all of them: got %q, want no difference", got)
	}
}

// loosen gives a process more open files than its profile. Where even root may not
// raise a hard limit, for want of CAP_SYS_RESOURCE, it is the profile that sinks
// below.
func (g *gateway) loosen(t *testing.T, pid int) {
	t.Helper()
	var old unix.Rlimit
	err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1024, Max: 8192}, &old)
	if err == nil {
		t.Cleanup(func() {
			if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &old, nil); err != nil {
				t.Error(err)
			}
		})
		return
	}
	if !errors.Is(err, unix.EPERM) {
		t.Fatal(err)
	}
	config := string(mustRead(t, g.config()))
	if err := os.Mkdir(filepath.Join(g.dir, "profiles"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(g.dir, "profiles", "less.toml"), "[rlimits]\nnofile = 2048\n")
	g.writeConfig(t, strings.Replace(config, "    eager: true", "    profile: less\n    eager: true", 1))
	t.Cleanup(func() { g.writeConfig(t, config) })
}

// within runs do with the mounts of a process.
func within(t *testing.T, pid int, do func() error) {
	t.Helper()
	err := onOwnThread(func() error {
		namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", pid))
		if err != nil {
			return err
		}
		defer namespace.Close()
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return err
		}
		if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNS); err != nil {
			return err
		}
		return do()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// onOwnThread runs do on a thread that ends with it, and with what it has become.
// The main thread can't end: if this is it, it waits, so that do is on another.
func onOwnThread(do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			defer runtime.UnlockOSThread()
			done <- onOwnThread(do)
			return
		}
		done <- do()
	}()
	return <-done
}

// replaceLimit changes a limit by hand until the end of the test.
func replaceLimit(t *testing.T, pid int, controller, v1, v2, value string) {
	t.Helper()
	old := limit(t, pid, 0, controller, v1, v2)
	name := v1
	if _, err := os.Stat(filepath.Join(cgroupOf(t, pid, controller), v1)); err != nil {
		name = v2
	}
	path := filepath.Join(cgroupOf(t, pid, controller), name)
	write(t, path, value)
	t.Cleanup(func() { write(t, path, old) })
}

// cgroupOf is the folder of a process's cgroup of a controller.
func cgroupOf(t *testing.T, pid int, controller string) string {
	t.Helper()
	for line := range strings.Lines(procFile(pid, "cgroup")) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if slices.Contains(strings.Split(parts[1], ","), controller) {
			return filepath.Join("/sys/fs/cgroup", parts[1], parts[2])
		}
	}
	return filepath.Join("/sys/fs/cgroup", strings.TrimPrefix(strings.TrimSpace(procFile(pid, "cgroup")), "0::"))
}

func move(t *testing.T, pid int, cgroup string) {
	t.Helper()
	write(t, filepath.Join(cgroup, "cgroup.procs"), strconv.Itoa(pid))
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// runFor runs a program that waits until the end of the test.
func runFor(t *testing.T, attr *syscall.SysProcAttr) (pid int) {
	t.Helper()
	cmd := exec.Command("cat")
	cmd.SysProcAttr = attr
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return cmd.Process.Pid
}

// TestProfileUnit has systemd judge the strictest profile.
func TestProfileUnit(t *testing.T) {
	t.Parallel()
	path := filepath.Join(folder(t), "strict.service")
	unit := exec.CommandContext(t.Context(), filepath.Join(built.bin, "mcp-gateway"), "profile", "unit", "strict", "--config", path)
	text, err := unit.Output()
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(text))
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=true", path).CombinedOutput()
	if err != nil {
		t.Fatalf("systemd-analyze: %v: %s", err, out)
	}
	found := regexp.MustCompile(`Overall exposure level for strict\.service: ([0-9.]+)`).FindSubmatch(out)
	if found == nil {
		t.Fatalf("systemd-analyze: got %s, without a score", out)
	}
	if score, err := strconv.ParseFloat(string(found[1]), 64); err != nil || score > 1.0 {
		t.Errorf("strict scores %s, want 1.0 or less:\n%s", found[1], out)
	}
}
