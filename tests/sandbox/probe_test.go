package sandbox_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mcpgateway/sandbox"
)

// answers are what the probe must get inside: "ok", or why not.
var answers = map[string]string{
	"unshare-user": "EPERM", "unshare-net": "EPERM", "setns": "EPERM", "mount": "EPERM", "open-tree": "EPERM",
	"pivot-root": "EPERM", "chroot": "EPERM", "ptrace": "EPERM", "process-vm-readv": "EPERM", "keyctl": "EPERM",
	"add-key": "EPERM", "bpf": "EPERM", "perf-event-open": "EPERM", "userfaultfd": "EPERM", "io-uring": "EPERM",
	"open-by-handle": "EPERM", "kexec": "EPERM", "init-module": "EPERM", "reboot": "EPERM", "swapon": "EPERM",
	"settimeofday": "EPERM", "personality": "EPERM", "socket-packet": "EPERM", "socket-raw": "EPERM",
	"socket-vsock": "EPERM", "socket-alg": "EPERM", "socket-netfilter": "EPERM", "socket-audit": "EPERM",
	"clone3": "ENOSYS", "tiocsti": "EPERM", "tiocsti-high": "EPERM", "chmod-setuid": "EPERM", "chmod-setgid": "EPERM",
	"chmod-high": "EPERM", "fchmod-setuid": "EPERM", "fchmodat2-setuid": "EPERM", "open-setuid": "EPERM",
	"openat-setuid": "EPERM", "openat2-setuid": "ENOSYS", "creat-setuid": "EPERM", "tmpfile-setuid": "EPERM",
	"mkdir-setgid": "EPERM", "mknod-setuid": "EPERM", "mknod-char": "EPERM", "mknod-block": "EPERM",
	"mknod-whiteout": "EPERM", "raise-nofile": "EPERM", "setuid-root": "EPERM", "i386-call": "ENOSYS",
	"x32-call": "ENOSYS",

	"still-open": "ok", "still-chmod": "ok", "still-mkdir": "ok", "still-mkfifo": "ok", "still-unix": "ok",
	"still-inet": "ok", "still-route": "ok", "still-memfd": "ok", "still-executable": "ok", "still-ioctl-high": "ok",
	"still-thread": "ok", "still-new-syscall": "ok",
}

// sameOutside are attempts that root on this host may not make either: they show
// nothing by failing inside.
var sameOutside = map[string]bool{"raise-nofile": true, "x32-call": true}

func TestProbe(t *testing.T) {
	s := spec(t, "/srv/probe", "/tmp")
	s.Mounts = append(s.Mounts, sandbox.Mount{Source: filepath.Join(bin, "probe"), Target: "/srv/probe"})
	got := runToEnd(t, s)
	if got.exit.Status != 0 {
		t.Fatalf("got status %d: %s", got.exit.Status, got.stderr)
	}
	inside := parse(t, got.stdout)
	if cpu, err := os.ReadFile("/proc/cpuinfo"); err == nil && strings.Contains(string(cpu), "User Mode Linux") {
		inside["i386-call"] = answers["i386-call"] // such a kernel takes it for a call of its own interface
	}
	for name, want := range answers {
		if inside[name] != want {
			t.Errorf("%s inside: got %q, want %q", name, inside[name], want)
		}
	}
	for name := range inside {
		if _, ok := answers[name]; !ok {
			t.Errorf("%s: the probe tries it, and this test expects nothing of it", name)
		}
	}
}

// TestProbeBites runs the same attempts outside, as root: what is refused inside
// must not be refused for the same reason there.
func TestProbeBites(t *testing.T) {
	dir := t.TempDir()
	out, err := exec.Command(filepath.Join(bin, "probe"), dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	outside := parse(t, string(out))
	for name, refused := range answers {
		switch {
		case refused == "ok" && outside[name] != "ok":
			t.Errorf("%s outside: got %q, want ok", name, outside[name])
		case refused != "ok" && outside[name] == refused && !sameOutside[name]:
			t.Errorf("%s: got %q outside too: it proves nothing", name, outside[name])
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "probe")); err == nil {
		t.Error("the probe left a file behind")
	}
}

func parse(t *testing.T, output string) map[string]string {
	t.Helper()
	verdicts := map[string]string{}
	for line := range strings.Lines(output) {
		name, verdict, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			t.Errorf("the probe printed %q", line)
		}
		verdicts[name] = verdict
	}
	return verdicts
}
