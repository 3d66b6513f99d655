package sandbox_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"mcpgateway/sandbox"
)

// escape is one attack of tests/attack, and what it must say inside. Outside, run
// by root, it must do more: otherwise it would prove nothing. Where both are the
// same on purpose, a comment says why. Alternatives stand for kernels that differ.
//
// RO is a folder of root's that is mounted read-only, DIR and DIR2 are two that may
// be written and MNT one to mount on, all at their paths on the host; HOST is one
// that is not mounted.
type escape struct {
	attack, inside, outside string
}

var escapes = []escape{
	// Namespaces: none can be made, whichever call is asked, and none entered.
	{"unshare user", "EPERM", "ok"},
	{"unshare mnt", "EPERM", "ok"},
	{"unshare pid", "EPERM", "ok"},
	{"unshare net", "EPERM", "ok"},
	{"unshare ipc", "EPERM", "ok"},
	{"unshare uts", "EPERM", "ok"},
	{"unshare cgroup", "EPERM", "ok"},
	{"unshare time", "EPERM", "ok"},
	{"clone user", "EPERM", "ok"},
	{"clone mnt", "EPERM", "ok"},
	{"clone pid", "EPERM", "ok"},
	{"clone net", "EPERM", "ok"},
	{"clone ipc", "EPERM", "ok"},
	{"clone uts", "EPERM", "ok"},
	{"clone cgroup", "EPERM", "ok"},
	{"clone3 user", "ENOSYS", "ok"},
	{"clone3 mnt", "ENOSYS", "ok"},
	{"clone3 pid", "ENOSYS", "ok"},
	{"clone3 net", "ENOSYS", "ok"},
	{"clone3 ipc", "ENOSYS", "ok"},
	{"clone3 uts", "ENOSYS", "ok"},
	{"clone3 cgroup", "ENOSYS", "ok"},
	{"clone3 time", "ENOSYS", "ok"},
	{"setns net", "EPERM", "ok"},
	{"setns uts", "EPERM", "ok"},
	{"read /proc/1/ns/user", "EACCES|ENOENT", "EINVAL"}, // it was opened, and has no content
	{"read /proc/1/ns/mnt", "EACCES|ENOENT", "EINVAL"},
	{"read /proc/1/ns/net", "EACCES|ENOENT", "EINVAL"},

	// Mounts.
	{"mount tmpfs MNT", "EPERM", "ok"},
	{"mount proc MNT", "EPERM", "ok"},
	{"mount sysfs MNT", "EPERM", "ok"},
	{"mount cgroup2 MNT", "EPERM", "ok"},
	{"mount devtmpfs MNT", "EPERM", "ok"},
	{"bind /usr MNT", "EPERM", "ok"},
	{"remount /", "EPERM", "ok"},
	{"umount /dev/shm", "EPERM", "ok"},
	{"fsopen tmpfs", "EPERM", "ok"},
	{"fsconfig", "EPERM", "EINVAL"},
	{"fsmount", "EPERM", "EINVAL"},
	{"fspick /", "EPERM", "ok"},
	{"move-mount /usr MNT", "EPERM", "EINVAL"},
	{"mount-setattr /", "EPERM", "ok"},
	{"open-tree-attr /", "EPERM|ENOSYS", "ok"},
	{"new-mount tmpfs MNT", "EPERM", "ok"},

	// What is read-only stays it, by every call that writes.
	{"open-write RO/file", "EROFS", "ok"},
	{"create RO/new", "EROFS", "ok"},
	{"mkdir RO/folder", "EROFS", "ok"},
	{"chmod RO/file", "EROFS", "ok"},
	{"truncate RO/file", "EROFS", "ok"},
	{"chown RO/file", "EROFS", "ok"},
	{"rename RO/file RO/renamed", "EROFS", "ok"},
	{"link RO/other RO/linked", "EROFS", "ok"},
	{"unlink RO/other", "EROFS", "ok"},
	{"lsetxattr RO/program user.attack", "EROFS", "ok"},
	{"overwrite RO/program", "EROFS", "ok"}, // CVE-2019-5736, as are the next
	{"overwrite /run/mcp-gateway-launch", "EACCES|EROFS", "ENOENT"},
	{"chmod /run/mcp-gateway-launch", "EROFS", "ENOENT"},
	{"unlink /run/mcp-gateway-launch", "EROFS|EBUSY", "ENOENT"},
	{"overwrite /proc/1/exe", "EACCES|ENOENT", "ETXTBSY"},
	{"overwrite /proc/self/exe", "EACCES|EROFS", "ETXTBSY"},

	// Paths out of what is mounted.
	{"read HOST/secret", "ENOENT", "ok"},
	{"read-symlink DIR/symlink HOST/secret", "ENOENT", "ok"},
	{"read-beneath DIR HOST/secret", "ENOENT", "ok"},
	{"read /proc/self/root/HOST/secret", "ENOENT", "ok"},
	{"read /proc/self/cwd/../../../../../../../../HOST/secret", "ENOENT", "ok"},
	{"read /proc/1/root/HOST/secret", "EACCES|ENOENT", "ok"},
	{"list /proc/1/cwd", "EACCES|ENOENT", "ok"},
	{"list /proc/1/fd", "EACCES|ENOENT", "ok"},
	{"list /proc/1/map_files", "EACCES|ENOENT|EPERM", "ok"},
	{"link RO/program DIR/linked", "EXDEV", "ok"},
	{"link-open RO/program DIR/linked2", "EXDEV", "ok"},
	{"link DIR/file DIR2/linked", "EXDEV", "ok"},
	{"rename DIR/file2 DIR2/renamed", "EXDEV", "ok"},

	// Files of the kernel. Those of /proc beside processes' are tried one and all by
	// the escape "procfs".
	{"open-write /proc/sys/kernel/core_pattern", "EACCES|EROFS", "ok"},
	{"open-write /proc/sys/vm/drop_caches", "EACCES|EROFS", "ok"},
	{"open-write /proc/sys/net/ipv4/ip_forward", "EACCES|EROFS", "ok"},
	{"open-write /proc/sysrq-trigger", "masked|EROFS|EACCES|ENOENT", "ok|ENOENT"},
	{"open-write /sys/devices/virtual/mem/null/uevent", "ENOENT", "ok"}, // as uevent_helper, which few kernels still have
	{"list /sys/fs", "ENOENT", "ok"},
	{"list /sys/kernel", "ENOENT", "ok"},
	{"open-write /dev/kmsg", "ENOENT", "ok"},
	{"list /dev/pts", "ENOENT", "ok"},
	{"read RO/device", "EACCES", "ok"}, // a device that was mounted by mistake
	{"read /proc/1/mem", "EACCES|ENOENT", "EIO"},
	{"read /proc/1/environ", "EACCES|ENOENT", "ok"},
	{"read /proc/1/maps", "EACCES|ENOENT", "ok"},
	{"read /proc/1/auxv", "EACCES|ENOENT", "ok"},
	{"read /proc/1/stack", "EACCES|ENOENT", "ok"},
	{"open-write /proc/1/oom_score_adj", "EACCES|ENOENT", "ok"},
	{"open-write /proc/1/clear_refs", "EACCES|ENOENT", "ok"},

	// What would run on the host with more rights than the server has.
	{"setxattr DIR/file security.capability", "EPERM", "ok"},
	{"lsetxattr DIR/file security.capability", "EPERM", "ok"},
	{"fsetxattr DIR/file security.capability", "EPERM", "ok"},
	{"setxattrat DIR/file security.capability", "EPERM|ENOSYS", "ok"},
	{"setxattr DIR/file trusted.attack", "EPERM", "ok"},
	{"tmpfile-link DIR/tmpfile", "EPERM", "ok"},
	{"chown DIR/file", "EPERM|EOVERFLOW|EINVAL", "ok"},
	{"immutable DIR/file", "EPERM", "ok"},

	// Programs that come in by what can be written.
	{"run-copy /tmp/copy", "EACCES", "ok"},
	{"run-copy /dev/shm/copy", "EACCES", "ok"},
	{"run-copy DIR/copy", "EACCES", "ok"},
	{"run-loader DIR/loaded", "exit status 127", "ok"},
	// By design: a server may execute memory that it has written, as compilers at run
	// time do. It gains no right that it did not have.
	{"run-memory", "ok", "ok"},

	// Other processes.
	{"kill-pidfd 1", "EPERM", "ok"},
	{"trace-child", "EPERM", "ok"},
	{"trace-me", "EPERM", "ok"},
	{"process-vm-writev", "EPERM", "ok|ENOSYS"},
	{"kcmp", "EPERM", "ok"},
	{"pidfd-getfd", "EPERM", "ok"},
	{"process-madvise", "EPERM", "ok"},
	{"raise-priority", "EACCES", "ok"},
	{"real-time", "EPERM", "ok"},
	{"all-capabilities", "EPERM", "ok"},
	{"setgroups", "EPERM", "ok"},
	{"setgid", "EPERM", "ok"},

	// The rest of the kernel.
	{"request-key", "EPERM", "ENOKEY|ENOENT"},
	{"join-session", "EPERM", "ok"},
	{"read-key", "EPERM", "ok"},
	{"fanotify", "EPERM", "ok"},
	{"io-uring-enter", "EPERM", "ENOTSUP"},
	{"io-uring-register", "EPERM", "ENOTSUP|EINVAL"},
	{"acct", "EPERM", "ENOENT|ENOSYS"},
	{"quotactl", "EPERM", "ok|ENOSYS"},
	{"swapoff", "EPERM", "EFAULT|ENOSYS"},
	{"delete-module", "EPERM", "ENOENT|ENOSYS"},
	{"finit-module", "EPERM", "EINVAL|ENOSYS"},
	{"kernel-log", "EPERM", "ok"},
	{"sethostname", "EPERM", "ok"},
	{"setdomainname", "EPERM", "ok"},
	{"set-clock", "EPERM", "ok"},
	{"adjust-clock", "EPERM", "ok"},
	{"vhangup", "EPERM", "ok"},

	// Sockets: families and protocols by number, and what needs rights over the network.
	{"socket 16 3 2", "EPERM", "ok"},                  // netlink, between processes
	{"socket 16 3 4", "EPERM", "ok"},                  // netlink, sockets of others
	{"socket 16 3 6", "EPERM", "ok|EPROTONOSUPPORT"},  // netlink, IPsec
	{"socket 16 3 15", "EPERM", "ok"},                 // netlink, events of devices
	{"socket 16 3 16", "EPERM", "ok"},                 // netlink, generic
	{"socket 17 2 0", "EPERM", "ok"},                  // packets, cooked
	{"socket 10 3 58", "EPERM", "ok"},                 // raw ICMPv6
	{"socket 2 3 255", "EPERM", "ok"},                 // raw IP
	{"socket 44 3 0", "EPERM", "ok|EAFNOSUPPORT"},     // AF_XDP
	{"socket 2 2 136", "EPERM", "EPROTONOSUPPORT|ok"}, // UDP-Lite
	{"socket 2 1 132", "EPERM", "EPROTONOSUPPORT|ok"}, // SCTP
	{"socket 2 1 262", "EPERM", "EPROTONOSUPPORT|ok"}, // MPTCP
	{"mark", "EPERM", "ok"},
	{"transparent", "EPERM", "ok"},
	{"big-buffer", "EPERM", "ok"},
	{"tcp-repair", "EPERM", "ok"},
	{"bind-port 81", "EACCES", "ok"},
	{"loopback", "EPERM", "ok"},
	{"add-address", "EPERM", "ok"},
	{"add-route", "EPERM", "ok|ENETDOWN"},
	{"add-link", "EPERM", "ok"},
}

// folders are the four of the table.
type folders struct{ ro, dir, dir2, mnt, host string }

func newFolders(t *testing.T) folders {
	t.Helper()
	f := folders{directory(t, 0), directory(t, owner), directory(t, owner), directory(t, owner), directory(t, 0)}
	program, err := os.ReadFile(filepath.Join(bin, "attack"))
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(
		os.Chmod(f.ro, 0o755), os.Chmod(f.host, 0o755),
		os.WriteFile(filepath.Join(f.ro, "other"), nil, 0o644),
		os.WriteFile(filepath.Join(f.ro, "program"), program, 0o755), os.Chmod(filepath.Join(f.ro, "program"), 0o777),
		os.Chmod(filepath.Join(f.ro, "file"), 0o666),
		os.WriteFile(filepath.Join(f.dir, "file2"), nil, 0o644), os.Chown(filepath.Join(f.dir, "file2"), owner, owner),
		os.WriteFile(filepath.Join(f.host, "secret"), []byte("secret"), 0o644),
		unix.Mknod(filepath.Join(f.ro, "device"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))),
		os.Chmod(filepath.Join(f.ro, "device"), 0o666),
	)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// in puts the folders into an attack.
func (f folders) in(attack string) string {
	return strings.NewReplacer("DIR2", f.dir2, "DIR", f.dir, "MNT", f.mnt, "RO", f.ro, "/HOST", f.host, "HOST", f.host).Replace(attack)
}

// show mounts a folder of the host at its own path.
func show(s *sandbox.Spec, path string, writable bool) {
	m := sandbox.Mount{Source: path, Target: path, Writable: writable}
	if writable {
		m.UID, m.GID = owner, owner
	}
	s.Mounts = append(s.Mounts, m)
}

// inProject runs a script in a folder of the host that it may write.
func inProject(t *testing.T, dir, script string) output {
	t.Helper()
	s := spec(t, "/bin/sh", "-c", script)
	show(&s, dir, true)
	s.Dir = dir
	return runToEnd(t, s)
}

// attack is a sandbox that runs the program of attacks.
func attack(t *testing.T, arguments ...string) sandbox.Spec {
	t.Helper()
	s := spec(t, "/srv/attack", arguments...)
	s.Mounts = append(s.Mounts, sandbox.Mount{Source: filepath.Join(bin, "attack"), Target: "/srv/attack"})
	return s
}

// outside runs an attack as root, in namespaces of its own so that the host keeps
// its mounts, clock and network: none of them is a defence.
func outside(t *testing.T, arguments ...string) []string {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, "attack"), arguments...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWNET,
		Unshareflags: unix.CLONE_NEWNS,
		Setsid:       true,
		Pdeathsig:    unix.SIGKILL,
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("attack %q outside: %v", arguments, err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

func TestEscapes(t *testing.T) {
	f := newFolders(t)
	s := attack(t, "each")
	for _, e := range escapes {
		s.Args = append(s.Args, f.in(e.attack))
	}
	show(&s, f.ro, false)
	show(&s, f.dir, true)
	show(&s, f.dir2, true)
	show(&s, f.mnt, true)
	s.Limits = sandbox.Limits{MemoryBytes: 512 << 20, PIDs: 64}
	got := runToEnd(t, s)
	if got.exit.Status != 0 {
		t.Fatalf("got status %d: %s", got.exit.Status, got.stderr)
	}
	within := strings.Split(strings.TrimSuffix(got.stdout, "\n"), "\n")
	without := outside(t, s.Args...)
	if len(within) != len(escapes) || len(without) != len(escapes) {
		t.Fatalf("got %d answers inside and %d outside, want %d:\n%s", len(within), len(without), len(escapes), got.stdout)
	}
	for i, e := range escapes {
		if !slices.Contains(strings.Split(e.inside, "|"), within[i]) {
			t.Errorf("%s inside: got %q, want %s", e.attack, within[i], e.inside)
		}
		if !slices.Contains(strings.Split(e.outside, "|"), without[i]) {
			t.Errorf("%s outside: got %q, want %s", e.attack, without[i], e.outside)
		}
		absent := without[i] == "ENOENT" // on this kernel, or it would have been complained about
		if within[i] == without[i] && e.inside != e.outside && !absent {
			t.Errorf("%s: got %q inside and outside: it proves nothing", e.attack, within[i])
		}
	}
}

// longEscapes are attacks that take more than one call, or look at more than one
// answer. Each proves itself that it can succeed.
var longEscapes = []struct {
	name string
	try  func(*testing.T)
}{
	{"writing anywhere", escapeByWriting},
	{"writing in procfs", escapeByProcfsWrites},
	{"reading in procfs", escapeByProcfsReads},
	{"leaked descriptors", escapeByDescriptors},
	{"leaving set-id files", escapeBySetid},
	{"inheriting set-id bits", escapeByInheritedBits},
	{"overwriting set-id files", escapeByOverwritingSetid},
	{"executing set-id files", escapeByRaising},
	{"other projects' files", escapeByOtherProjects},
	{"deep folders", escapeByDepth},
	{"the launcher as an interpreter", escapeByLoaderOfScripts},
	{"cgroup files", escapeByCgroups},
	{"hostile mounts", escapeByHostileMounts},
	{"links above mount points", escapeByLinkedParent},
	{"exchanged folders", escapeByExchange},
	{"lying in wait", escapeDuringSetUp},
	{"environment", escapeByEnvironment},
	{"environment of a Go program", escapeByDebugging},
	{"a kernel without openat2", escapeWithoutOpenat2},
	{"killing everything", escapeByKilling},
	{"every signal", escapeBySignals},
	{"other servers", escapeBySeeing},
	{"terminal", escapeByTerminal},
	{"streams", escapeByStreams},
	{"connecting to the host", escapeByConnecting},
	{"long arguments", escapeByArguments},
	{"bombs", escapeByBombs},
	{"threads", escapeByThreads},
	{"filling", escapeByFilling},
	{"burning processors", escapeByBurning},
}

func TestLongEscapes(t *testing.T) {
	for _, e := range longEscapes {
		t.Run(e.name, e.try)
	}
}

// TestNumberOfEscapes counts the attempts of the probe too.
func TestNumberOfEscapes(t *testing.T) {
	count := len(longEscapes) + len(hostile) + len(bombs)
	for _, e := range escapes {
		if e.inside != "ok" {
			count++
		}
	}
	for _, answer := range answers {
		if answer != "ok" {
			count++
		}
	}
	t.Logf("%d escapes", count)
	if count < 200 {
		t.Errorf("%d escapes are tried, want 200", count)
	}
}
