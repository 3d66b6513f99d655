package sandbox_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"mcpgateway/images"
	"mcpgateway/sandbox"
)

func TestHidden(t *testing.T) {
	for _, hidden := range [][]string{nil, {"/usr/share", "/etc/passwd", "/not/there"}} {
		s := spec(t, "/bin/sh", "-c", "ls /usr/share | head -n 1; head -n 1 /etc/passwd; touch /usr/share/x /etc/passwd")
		s.Hidden = hidden
		got := runToEnd(t, s)
		if shows := got.stdout != ""; shows == (hidden != nil) {
			t.Errorf("with %q hidden: got %q", hidden, got.stdout)
		}
		if strings.Count(got.stderr, "cannot touch") != 2 {
			t.Errorf("got %q, want that neither can be written", got.stderr)
		}
	}
}

func TestTmpfs(t *testing.T) {
	s := spec(t, "/bin/sh", "-c", "head -c 3M /dev/zero >/var/cache/a; stat -c %s /var/cache/a; head -c 3M /dev/zero >/tmp/a; stat -c %s /tmp/a; head -c 3M /dev/zero >/dev/shm/a; stat -c %s /dev/shm/a; cp /bin/true /var/cache/true; /var/cache/true")
	s.Tmpfs = []sandbox.Tmpfs{{Target: "/var/cache", Size: 1 << 20}}
	s.TmpSize, s.ShmSize = 2<<20, 64<<10
	got := runToEnd(t, s)
	if want := "1048576\n2097152\n65536\n"; got.stdout != want || !strings.Contains(got.stderr, "true: Permission denied") {
		t.Errorf("got %q (%s), want %q, and that nothing there is executed", got.stdout, got.stderr, want)
	}
}

// TestMountInMemory: a mount point below a folder in memory is made there.
func TestMountInMemory(t *testing.T) {
	s := spec(t, "/bin/sh", "-c", "cat /tmp/a/b/c; rm -rf /tmp/a; mv /tmp/a /tmp/z; echo still > /tmp/free; cat /tmp/a/b/c")
	s.Mounts = append(s.Mounts, sandbox.Mount{Source: hostFile(t, "text\n"), Target: "/tmp/a/b/c"})
	if got := runToEnd(t, s); got.stdout != "text\ntext\n" {
		t.Errorf("got %q (%s), want the file twice", got.stdout, got.stderr)
	}
}

func hostFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNoExecMount(t *testing.T) {
	for _, noExec := range []bool{false, true} {
		s := spec(t, "/bin/sh", "-c", "/srv/true && echo ran")
		s.Mounts = append(s.Mounts, sandbox.Mount{Source: "/usr/bin/true", Target: "/srv/true", NoExec: noExec})
		if got := runToEnd(t, s); (got.stdout == "ran\n") == noExec {
			t.Errorf("noexec %v: got %q, %q", noExec, got.stdout, got.stderr)
		}
	}
}

func TestSyscalls(t *testing.T) {
	const script = "import os; os.sync(); os.chmod('/tmp/f', 0o755) if os.path.exists('/tmp/f') else None; print(os.getpriority(os.PRIO_PROCESS, 0)); os.mkdir('/tmp/d')"
	tests := []struct {
		name   string
		calls  sandbox.Syscalls
		status int
		stderr string
	}{
		{"default", sandbox.Syscalls{}, 0, ""},
		{"refused", sandbox.Syscalls{Minus: []string{"mkdir", "mkdirat"}}, 1, "Operation not permitted: '/tmp/d'"},
		{"killed", sandbox.Syscalls{Minus: []string{"mkdir", "mkdirat"}, Kill: true}, 128 + int(unix.SIGSYS), ""},
		{"logged", sandbox.Syscalls{Minus: []string{"mkdir", "mkdirat"}, AuditOnly: true}, 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := spec(t, "/usr/bin/python3", "-c", script)
			s.Syscalls = tt.calls
			got := runToEnd(t, s)
			if got.exit.Status != tt.status || !strings.Contains(got.stderr, tt.stderr) {
				t.Errorf("got status %d, %q, want %d, %q", got.exit.Status, got.stderr, tt.status, tt.stderr)
			}
		})
	}
}

// TestAddedSyscall: a call that was added is made; what makes a file dangerous for
// the host is refused all the same.
func TestAddedSyscall(t *testing.T) {
	s := spec(t, "/bin/sh", "-c", "unshare -U true && echo unshared; touch /tmp/f; chmod u+s /tmp/f || echo refused")
	if got := runToEnd(t, s); got.stdout != "refused\n" {
		t.Errorf("got %q by default", got.stdout)
	}
	s.ID += "-plus"
	s.Syscalls.Plus = []string{"unshare", "fchmodat", "chmod", "fchmodat2"}
	if got := runToEnd(t, s); got.stdout != "unshared\nrefused\n" {
		t.Errorf("got %q (%s) with calls added", got.stdout, got.stderr)
	}
	s.Syscalls.Plus = []string{"ioctl"}
	if _, err := tryStart(t, s); err == nil || !strings.Contains(err.Error(), "under conditions") {
		t.Errorf("got %v, want that ioctl can't be added whole", err)
	}
	s.Syscalls.Minus = []string{"no-such-call"}
	if _, err := tryStart(t, s); err == nil || !strings.Contains(err.Error(), `"no-such-call"`) {
		t.Errorf("got %v, want that there is no such call", err)
	}
}

// TestLandlock: what the mounts would allow, the rules do not; without rules they
// do, which shows that it is the rules that refuse.
func TestLandlock(t *testing.T) {
	const script = "cat /etc/hostname; ls /usr/bin >/dev/null && echo listed; echo ok >/tmp/x && cat /tmp/x; echo ok >/dev/shm/x && cat /dev/shm/x; : >/dev/null && mv /tmp/x /tmp/y && echo moved; echo x >/proc/self/comm && echo comm"
	tests := []struct {
		name  string
		rules sandbox.Landlock
		want  string
	}{
		{"off", sandbox.Landlock{Off: true}, "mcp\nlisted\nok\nok\nmoved\ncomm\n"},
		{"everything", sandbox.Landlock{}, "mcp\nlisted\nok\nok\nmoved\n"},
		{"required", sandbox.Landlock{Required: true, Read: []string{"/usr"}}, "listed\nok\nok\nmoved\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := spec(t, "/bin/sh", "-c", script)
			s.Landlock = tt.rules
			if got := runToEnd(t, s); got.stdout != tt.want {
				t.Errorf("got %q (%s), want %q", got.stdout, got.stderr, tt.want)
			}
		})
	}
	s := spec(t, "/bin/true")
	s.Landlock.Read = []string{"/none"}
	if _, err := tryStart(t, s); err == nil || !strings.Contains(err.Error(), "landlock rule for /none") {
		t.Errorf("got %v, want that the rule's folder is not there", err)
	}
}

func TestIDs(t *testing.T) {
	s := spec(t, "/bin/cat", "/proc/self/uid_map")
	s.IDs = 4096
	if got := strings.Fields(runToEnd(t, s).stdout); len(got) != 3 || got[0] != "0" || got[2] != "4096" {
		t.Errorf("got %q, want 4096 ids from 0", got)
	}
}

func TestOwnRlimits(t *testing.T) {
	s := spec(t, "/bin/sh", "-c", "ulimit -Hn; ulimit -Sn; ulimit -f; head -c 2M /dev/zero > /tmp/big; stat -c %s /tmp/big")
	s.Rlimits = []sandbox.Rlimit{{Resource: unix.RLIMIT_NOFILE, Soft: 64, Hard: 64}, {Resource: unix.RLIMIT_FSIZE, Soft: 1 << 20, Hard: 1 << 20}}
	if got := runToEnd(t, s); got.stdout != "64\n64\n2048\n1048576\n" {
		t.Errorf("got %q (%s), want the spec's limits", got.stdout, got.stderr)
	}
}

// TestLauncherIsInvisible: the server does not see the first process of its sandbox.
func TestLauncherIsInvisible(t *testing.T) {
	got := shell(t, "cat /proc/1/comm; for p in /proc/[0-9]*; do cat $p/comm; done | sort -u")
	if strings.Contains(got.stdout, "launch") || !strings.Contains(got.stdout, "sh\n") {
		t.Errorf("got %q, want its own processes alone", got.stdout)
	}
}

func TestEveryMountIsHardened(t *testing.T) {
	device := map[string]bool{"/dev/null": true, "/dev/zero": true, "/dev/full": true, "/dev/random": true, "/dev/urandom": true}
	got := shell(t, "cat /proc/self/mountinfo")
	count := 0
	for line := range strings.Lines(got.stdout) {
		fields := strings.Fields(line)
		target, options := fields[4], strings.Split(fields[5], ",")
		has := func(option string) bool {
			return slices.Contains(options, option)
		}
		count++
		if !has("nosuid") || has("nodev") == device[target] {
			t.Errorf("%s has %s", target, fields[5])
		}
		if has("rw") && !has("noexec") {
			t.Errorf("%s can be written and executed: %s", target, fields[5])
		}
	}
	if count < 20 {
		t.Errorf("got %d mounts: %s", count, got.stderr)
	}
}

func TestLimitsThatCanNotBeEnforced(t *testing.T) {
	s := spec(t, "/bin/true")
	s.Limits.IO = []sandbox.IOLimit{{Device: "/etc/passwd", ReadBytes: 1 << 20}}
	if _, err := tryStart(t, s); err == nil || !strings.Contains(err.Error(), "limits.io_max") {
		t.Errorf("got %v, want that it is no block device", err)
	}
}

// TestNothingRunsUnlimited: limits are set when the first process is there, which waits for them.
func TestNothingRunsUnlimited(t *testing.T) {
	s := spec(t, "/bin/echo", "ran")
	s.Limits.PIDs = 1 << 40 // more than the kernel takes
	box, err := tryStart(t, s)
	if err == nil || !strings.Contains(err.Error(), "limit cgroup") {
		t.Errorf("got %v, want that its cgroup can't be limited", err)
	}
	if said, err := io.ReadAll(box.stdout); len(said) > 0 || err != nil {
		t.Errorf("it says %q, %v", said, err)
	}
}

func TestMemoryHighAndWeights(t *testing.T) {
	s := spec(t, "/bin/sleep", "1000")
	s.Limits.CPUWeight = 50
	s.Limits.MemoryHighBytes = 64 << 20
	box, err := tryStart(t, s)
	if _, statErr := os.Stat("/sys/fs/cgroup/cgroup.controllers"); statErr != nil {
		if err == nil || !strings.Contains(err.Error(), "needs cgroup v2") {
			t.Errorf("got %v on cgroup v1, want a refusal", err)
		}
		s.Limits.MemoryHighBytes = 0
		box = start(t, s)
		if got := cgroupFile(t, box.PID(), "cpu", "cpu.shares", "", 0); got != "512" {
			t.Errorf("got cpu.shares %q, want 512", got)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := cgroupFile(t, box.PID(), "memory", "", "memory.high", 0); got != "67108864" {
		t.Errorf("got memory.high %q, want 64 MiB", got)
	}
	if got := cgroupFile(t, box.PID(), "cpu", "", "cpu.weight", 0); got != "50" {
		t.Errorf("got cpu.weight %q, want 50", got)
	}
}

// TestIOLimit: what is read from and written to a device is bounded.
func TestIOLimit(t *testing.T) {
	device := filepath.Join(t.TempDir(), "loop0")
	if err := unix.Mknod(device, unix.S_IFBLK|0o600, int(unix.Mkdev(7, 0))); err != nil {
		t.Fatal(err)
	}
	s := spec(t, "/bin/sleep", "1000")
	s.Limits.IO = []sandbox.IOLimit{{Device: device, ReadBytes: 2 << 20, WriteOps: 30}}
	box := start(t, s)
	if got := cgroupFile(t, box.PID(), "blkio", "blkio.throttle.read_bps_device", "io.max", 0); !strings.HasPrefix(got, "7:0 ") || !strings.Contains(got, "2097152") {
		t.Errorf("got limit %q, want 2 MiB/s of 7:0", got)
	}
	if got := cgroupFile(t, box.PID(), "blkio", "blkio.throttle.write_iops_device", "io.max", 0); !strings.HasPrefix(got, "7:0 ") || !strings.Contains(got, "30") {
		t.Errorf("got limit %q, want 30 writes/s of 7:0", got)
	}
}

// TestRangeOfAnotherGateway: a range of ids that another gateway of this host has
// in use is left alone.
func TestRangeOfAnotherGateway(t *testing.T) {
	uid := func() int {
		box := start(t, spec(t, "/bin/sleep", "1000"))
		defer box.Kill()
		return box.UID()
	}
	first := uid()
	lock, err := os.OpenFile(fmt.Sprintf("/run/mcp-gateway-ids/%d", first-images.UID), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Fatalf("the range is still locked: %v", err)
	}
	if got := uid(); got == first {
		t.Errorf("got uid %d, which another gateway has", got)
	}
	lock.Close()
	if got := uid(); got != first {
		t.Errorf("got uid %d, want %d again", got, first)
	}
}
