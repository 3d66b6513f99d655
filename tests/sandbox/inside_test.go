package sandbox_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"mcpgateway/images"
)

// status parses /proc/PID/status (proc_pid_status(5)).
func status(t *testing.T, text string) map[string]string {
	t.Helper()
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			fields[name] = strings.Join(strings.Fields(value), " ")
		}
	}
	return fields
}

// TestPrivileges looks at a program that sets nothing up itself: what it has, it
// had before its first instruction.
func TestPrivileges(t *testing.T) {
	got := runToEnd(t, spec(t, "/bin/cat", "/proc/self/status"))
	fields := status(t, got.stdout)
	want := map[string]string{
		"Uid": "1000 1000 1000 1000", "Gid": "1000 1000 1000 1000", "Groups": "1000",
		"NoNewPrivs": "1", "Seccomp": "2", "Seccomp_filters": "1",
	}
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		want[set] = "0000000000000000"
	}
	for name, value := range want {
		if name == "Groups" && fields[name] == "" {
			continue // the kernel lists supplementary groups only
		}
		if fields[name] != value {
			t.Errorf("%s: got %q, want %q", name, fields[name], value)
		}
	}
	own, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	if outside := status(t, string(own)); outside["Seccomp_filters"] == want["Seccomp_filters"] || outside["CapBnd"] == want["CapBnd"] {
		t.Error("this test itself runs without privileges: it proves nothing")
	}
}

// TestHostView looks at the processes of a sandbox from outside.
func TestHostView(t *testing.T) {
	first, second := start(t, spec(t, "/bin/cat")), start(t, spec(t, "/bin/cat"))
	if first.UID() == second.UID() {
		t.Errorf("two sandboxes have the uid %d", first.UID())
	}
	for _, box := range []running{first, second} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", box.PID()))
		if err != nil {
			t.Fatal(err)
		}
		uid := fmt.Sprint(box.UID())
		want := strings.Join([]string{uid, uid, uid, uid}, " ")
		if got := status(t, string(text))["Uid"]; got != want || box.UID() <= 100000 {
			t.Errorf("got uids %q on the host, want %q, above 100000", got, want)
		}
	}
}

func TestNamespaces(t *testing.T) {
	kinds := []string{"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"}
	got := shell(t, "for n in "+strings.Join(kinds, " ")+"; do readlink /proc/self/ns/$n; done")
	inside := strings.Fields(got.stdout)
	if len(inside) != len(kinds) {
		t.Fatalf("got %q", got.stdout)
	}
	for i, kind := range kinds {
		outside, err := os.Readlink("/proc/self/ns/" + kind)
		if err != nil {
			t.Fatal(err)
		}
		if inside[i] == outside {
			t.Errorf("the %s namespace is the host's", kind)
		}
	}
}

func TestRootShowsNothingOfTheHost(t *testing.T) {
	got := strings.Fields(shell(t, "ls -A /").stdout)
	want := []string{"dev", "etc", "proc", "run", "tmp", "usr"}
	for _, link := range []string{"bin", "lib", "lib32", "lib64", "libx32", "sbin"} {
		if _, err := os.Lstat("/" + link); err == nil {
			want = append(want, link)
		}
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %q at the top of the root, want %q", got, want)
	}
	if got := strings.Fields(shell(t, "ls -A /run /dev | grep -v :").stdout); !slices.Equal(got, []string{
		"fd", "full", "null", "ptmx", "random", "shm", "stderr", "stdin", "stdout", "urandom", "zero", "mcp-gateway-launch",
	}) {
		t.Errorf("got %q in /dev and /run", got)
	}
	// The processes inside and no other: the launcher, the shell, ls.
	for pid := range strings.FieldsSeq(shell(t, "ls /proc | grep '^[0-9]'").stdout) {
		if len(pid) > 2 {
			t.Errorf("process %s shows", pid)
		}
	}
}

func TestWhatIsReadOnly(t *testing.T) {
	for _, path := range []string{"/x", "/etc/x", "/etc/passwd", "/usr/x", "/usr/bin/env", "/run/x", "/run/mcp-gateway-launch", "/dev/x", "/proc/sys/kernel/hostname"} {
		if got := shell(t, "echo x > "+path); got.exit.Status == 0 {
			t.Errorf("could write %s", path)
		}
	}
	for _, path := range []string{"/tmp/x", "/dev/shm/x", "/dev/null"} {
		if got := shell(t, "echo x > "+path); got.exit.Status != 0 {
			t.Errorf("could not write %s: %s", path, got.stderr)
		}
	}
}

func TestMounts(t *testing.T) {
	got := shell(t, "cat /proc/self/mountinfo")
	writable := map[string]bool{"/proc": true, "/tmp": true, "/dev/shm": true}
	for line := range strings.Lines(got.stdout) {
		fields := strings.Fields(line)
		point, flags := fields[4], strings.Split(fields[5], ",")
		device := strings.HasPrefix(point, "/dev/") && point != "/dev/shm" || strings.Contains(line, " devtmpfs ")
		if !slices.Contains(flags, "ro") && !writable[point] && !device {
			t.Errorf("%s is writable", point)
		}
		if point == "/" || device || strings.HasPrefix(point, "/proc/") {
			continue // a folder of root's; single devices; masks
		}
		for _, flag := range []string{"nosuid", "nodev"} {
			if !slices.Contains(flags, flag) {
				t.Errorf("%s has flags %q, not %s", point, flags, flag)
			}
		}
		if writable[point] && !slices.Contains(flags, "noexec") {
			t.Errorf("%s is writable and can be executed from", point)
		}
	}
}

func TestTemporaryFilesAreLimited(t *testing.T) {
	s := spec(t, "/bin/sh", "-c", `
dd if=/dev/zero of=/tmp/fill bs=1M count=300 2>/dev/null; stat -c %s /tmp/fill
dd if=/dev/zero of=/dev/shm/fill bs=1M count=300 2>/dev/null; stat -c %s /dev/shm/fill`)
	s.Limits.MemoryBytes = 1 << 30
	got := strings.Fields(runToEnd(t, s).stdout)
	if want := []string{fmt.Sprint(256 << 20), fmt.Sprint(64 << 20)}; !slices.Equal(got, want) {
		t.Errorf("got files of %q bytes, want %q", got, want)
	}
}

func TestProcIsMasked(t *testing.T) {
	for _, name := range []string{"kallsyms", "kcore", "config.gz", "cmdline", "diskstats", "partitions", "key-users", "keys", "timer_list", "interrupts", "1/environ", "1/root/etc", "1/fd", "1/maps"} {
		if _, err := os.Stat("/proc/" + name); err != nil {
			continue // not on this host either
		}
		if got := shell(t, "cat /proc/"+name+" 2>/dev/null || ls /proc/"+name+" 2>/dev/null"); got.stdout != "" && got.stdout != "/proc/"+name+"\n" {
			t.Errorf("/proc/%s shows %.80q", name, got.stdout)
		}
	}
	if got := shell(t, "ls /sys").stdout; got != "" {
		t.Errorf("/sys shows %q", got)
	}
}

func TestDescriptorsAndEnvironment(t *testing.T) {
	if got := shell(t, "ls /proc/self/fd | tr '\\n' ' '").stdout; got != "0 1 2 3 " { // 3 is the folder that ls reads
		t.Errorf("got descriptors %q, want 0 1 2, and the folder itself", got)
	}
	s := spec(t, "/usr/bin/env")
	s.Env = []string{"HOME=/x", "ONE=1", "TWO=a b=c"}
	if got := runToEnd(t, s).stdout; got != "HOME=/x\nONE=1\nTWO=a b=c\n" {
		t.Errorf("got environment %q", got)
	}
}

func TestRlimits(t *testing.T) {
	got := shell(t, "cat /proc/self/limits").stdout
	for name, want := range map[string]string{"Max open files": "1024 4096", "Max core file size": "0 0", "Max msgqueue size": "0 0"} {
		for line := range strings.Lines(got) {
			if rest, ok := strings.CutPrefix(line, name); ok && !strings.HasPrefix(strings.Join(strings.Fields(rest), " "), want) {
				t.Errorf("got %q, want %q", line, want)
			}
		}
		if !strings.Contains(got, name) {
			t.Errorf("%s is not listed", name)
		}
	}
}

// TestNetworkIsEmpty: a sandbox has its own loopback, no route and no address.
func TestNetworkIsEmpty(t *testing.T) {
	got := shell(t, "tail -n +3 /proc/net/dev | cut -d: -f1; tail -n +2 /proc/net/route; grep -v ' lo$' /proc/net/if_inet6")
	for field := range strings.FieldsSeq(got.stdout) {
		// Some kernels put fallback tunnels into every namespace; they are down.
		if field != "lo" && field != "sit0" && field != "tunl0" && field != "ip6tnl0" {
			t.Errorf("got interfaces, routes and addresses %q, want lo alone", got.stdout)
		}
	}
	if !strings.Contains(got.stdout, "lo") {
		t.Errorf("got %q (%s), want lo", got.stdout, got.stderr)
	}
}

// TestLoopback: programs inside reach each other by it.
func TestLoopback(t *testing.T) {
	const script = "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname(), 5); print('connected')"
	if got := runToEnd(t, spec(t, "/usr/bin/python3", "-c", script)); got.stdout != "connected\n" {
		t.Errorf("got %q, %s", got.stdout, got.stderr)
	}
}

func TestLauncherIsOutOfReach(t *testing.T) {
	got := shell(t, "kill -9 1; kill -STOP 1; cat /proc/1/environ; ls -l /proc/1/exe; echo still here")
	if !strings.Contains(got.stdout, "still here") || strings.Contains(got.stdout, "PATH=") || strings.Contains(got.stdout, "->") {
		t.Errorf("got %q, %q", got.stdout, got.stderr)
	}
	if got.exit.Status != 0 {
		t.Errorf("got status %d", got.exit.Status)
	}
}

func TestNodeRuns(t *testing.T) {
	node, err := os.Stat("/usr/bin/node")
	if err != nil || node.IsDir() {
		t.Fatal("node is not on this host: install nodejs")
	}
	got := runToEnd(t, spec(t, "/usr/bin/node", "-e", `console.log(6*7, require("os").userInfo().username)`))
	if got.stdout != "42 mcp\n" {
		t.Errorf("got %q, %s", got.stdout, got.stderr)
	}
}

// TestSessionKeyring: a sandbox has a keyring of its own rather than the daemon's
// (session-keyring(7)). Nobody outside may see it, but the kernel counts it for the
// root of the sandbox's ids (proc_key-users(5)). What inside may do with it is
// refused in probe_test.go.
func TestSessionKeyring(t *testing.T) {
	box := start(t, spec(t, "/bin/cat"))
	text, err := os.ReadFile("/proc/key-users")
	if err != nil {
		t.Fatal(err)
	}
	owner := fmt.Sprintf("%d:", box.UID()-images.UID)
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[0] == owner && !strings.HasPrefix(fields[2], "0/") {
			return
		}
	}
	t.Errorf("the kernel counts no keyring of %s\n%s", owner, text)
}
