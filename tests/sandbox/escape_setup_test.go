package sandbox_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"mcpgateway/sandbox"
)

// hostile are images and mounts that would lead the set-up of a sandbox astray:
// each puts something of evil, a folder that an attacker fills, where a sandbox is
// made. Victim is a folder of the host's root.
var hostile = []struct {
	name   string
	change func(s *sandbox.Spec, evil, victim string)
}{
	{"/dev is a link (CVE-2026-41579)", func(s *sandbox.Spec, _, victim string) {
		s.Links = append(s.Links, sandbox.Link{Name: "/dev", Target: victim})
	}},
	{"/proc is a link", func(s *sandbox.Spec, _, victim string) {
		s.Links = append(s.Links, sandbox.Link{Name: "/proc", Target: victim})
	}},
	{"/tmp is a link", func(s *sandbox.Spec, _, victim string) {
		s.Links = append(s.Links, sandbox.Link{Name: "/tmp", Target: victim})
	}},
	{"/run is a link", func(s *sandbox.Spec, _, victim string) {
		s.Links = append(s.Links, sandbox.Link{Name: "/run", Target: victim})
	}},
	{"a link that a mount goes through", func(s *sandbox.Spec, evil, victim string) {
		s.Links = append(s.Links, sandbox.Link{Name: "/data", Target: victim})
		s.Mounts = append(s.Mounts, sandbox.Mount{Source: evil, Target: "/data/new"})
	}},
	{"a link out of the root that a mount goes through", func(s *sandbox.Spec, evil, victim string) {
		s.Links = append(s.Links, sandbox.Link{Name: "/data", Target: "../../../../../../../../.." + victim})
		s.Mounts = append(s.Mounts, sandbox.Mount{Source: evil, Target: "/data/new"})
	}},
	{"a whole root (CVE-2025-31133)", mountAt("/")},
	{"the parent of /dev", mountAt("/dev/..")},
	{"/dev", mountAt("/dev")},
	{"/proc (CVE-2025-52881)", mountAt("/proc")},
	{"/proc/self", mountAt("/proc/self")},
	{"a target with ..", mountAt("/srv/../../../../../../../../VICTIM/new")},
}

func mountAt(target string) func(*sandbox.Spec, string, string) {
	return func(s *sandbox.Spec, evil, victim string) {
		s.Mounts = append(s.Mounts, sandbox.Mount{Source: evil, Target: strings.Replace(target, "/VICTIM", victim, 1)})
	}
}

// newEvil returns a folder with what the set-up of a sandbox looks for, but links.
func newEvil(t *testing.T) string {
	t.Helper()
	evil := directory(t, owner)
	if err := os.Mkdir(filepath.Join(evil, "dev"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"null": "/proc/sys/kernel/core_pattern", "dev/null": "/proc/sys/kernel/core_pattern", "console": "/proc/sysrq-trigger",
		"shm": "/etc", "pts": "/etc", "kcore": "/etc/shadow", "keys": "/proc/self/environ", "sys": "/proc/sys", "proc": "/etc", "tmp": "/etc",
		"attr": "/proc/sys/kernel", "run": "/etc", "mcp-gateway-launch": "/bin/sh",
	} {
		if err := os.Symlink(target, filepath.Join(evil, name)); err != nil {
			t.Fatal(err)
		}
	}
	return evil
}

// vital is what the set-up of a sandbox relies on; it prints the same in every one.
const vital = `stat -f -c %T /proc /dev /dev/shm /tmp; stat -c %F,%t,%T /dev/null; cat /proc/keys /proc/cmdline; ls /proc/1
grep -e Cap -e Seccomp: -e NoNew /proc/self/status; cat /proc/sys/kernel/hostname; cmp /run/mcp-gateway-launch /srv/launcher`

// escapeByHostileMounts: whether or not a sandbox starts, it is whole, and the host
// stays as it is.
func escapeByHostileMounts(t *testing.T) {
	try := func(change func(s *sandbox.Spec)) (output, error) {
		s := spec(t, "/bin/sh", "-c", vital)
		s.Mounts = append(s.Mounts, sandbox.Mount{Source: filepath.Join(filepath.Dir(bin), "mcp-gateway-launch"), Target: "/srv/launcher"})
		change(&s)
		box, err := tryStart(t, s)
		if err != nil {
			return output{}, err
		}
		box.stdin.Close()
		return box.wait(t), nil
	}
	want, err := try(func(*sandbox.Spec) {})
	if err != nil || want.exit.Status != 0 {
		t.Fatal(err, want)
	}
	for _, h := range hostile {
		t.Run(h.name, func(t *testing.T) {
			evil, victim := newEvil(t), directory(t, 0)
			before := append(names(t, victim), names(t, evil)...)
			got, err := try(func(s *sandbox.Spec) { h.change(s, evil, victim) })
			if err == nil && got.stdout != want.stdout {
				t.Errorf("it started, and shows\n%s%swant\n%s", got.stdout, got.stderr, want.stdout)
			}
			if after := append(names(t, victim), names(t, evil)...); !slices.Equal(before, after) {
				t.Errorf("the host had %q, and now has %q", before, after)
			}
		})
	}
	// What those who look up such paths by name would do.
	evil := newEvil(t)
	if got := outside(t, "each", "bind "+evil+"/null /proc/cmdline", "open-write /proc/cmdline"); !slices.Equal(got, []string{"ok", "ok"}) {
		t.Errorf("got %q for a plain mount of what /dev/null was replaced with: this proves nothing", got)
	}
}

// escapeByLinkedParent: a server makes a folder above a mount point of another one
// a link (CVE-2026-87766 of bubblewrap; CVE-2021-30465).
func escapeByLinkedParent(t *testing.T) {
	shared, mounted, victim := directory(t, owner), directory(t, owner), directory(t, 0)
	if err := errors.Join(os.Chmod(victim, 0o755), os.Mkdir(filepath.Join(victim, "inner"), 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(mounted, 0o755); err != nil {
		t.Fatal(err)
	}
	point := filepath.Join(shared, "sub/inner")
	next := func() (running, error) {
		s := spec(t, "/bin/sh", "-c", "ls "+point)
		show(&s, shared, true)
		s.Mounts = append(s.Mounts, sandbox.Mount{Source: mounted, Target: point})
		return tryStart(t, s)
	}
	for _, target := range []string{victim, "/tmp", "../../../../../../../.." + victim} {
		if got := inProject(t, shared, "rm -rf sub; ln -s "+target+" sub"); got.exit.Status != 0 {
			t.Fatal(got.stderr)
		}
		if box, err := next(); err == nil {
			box.Kill()
			t.Errorf("started with a link to %s above a mount point", target)
		}
		if got := names(t, victim); !slices.Equal(got, []string{"", "/file", "/inner"}) {
			t.Errorf("the host's folder has %q", got)
		}
	}
	if _, err := os.Stat(filepath.Join(shared, "sub/inner")); err != nil {
		t.Errorf("a path that is looked up by name does not lead there either: this proves nothing: %v", err)
	}
	if got := inProject(t, shared, "rm sub; mkdir -p sub/inner"); got.exit.Status != 0 {
		t.Fatal(got.stderr)
	}
	box, err := next()
	if err != nil {
		t.Fatalf("does not start with a real folder either: %v", err)
	}
	if got := box.wait(t); got.stdout != "file\n" {
		t.Errorf("got %q, %s", got.stdout, got.stderr)
	}
}

// escapeByExchange: a server exchanges a folder of its project with a link, over
// and over, while others start that have that folder, or a mount point in it.
func escapeByExchange(t *testing.T) {
	shared, mounted, victim := directory(t, owner), directory(t, owner), directory(t, 0)
	sub, link := filepath.Join(shared, "sub"), filepath.Join(shared, "link")
	err := errors.Join(os.Chmod(victim, 0o755), os.Chmod(filepath.Join(victim, "file"), 0o644), os.Mkdir(filepath.Join(victim, "inner"), 0o755))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(victim, "marker"), []byte("wrong"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := inProject(t, shared, "mkdir -p sub/inner; echo right > sub/marker; ln -s "+victim+" link"); got.exit.Status != 0 {
		t.Fatal(got.stderr)
	}
	racer := attack(t, "exchange", sub, link)
	show(&racer, shared, true)
	firstLine(t, start(t, racer).stdout)

	// Both have to happen: an exchange that never comes at the right moment is no attack.
	refused, fooled := 0, 0
	for round := 0; round < 5 || refused == 0 || fooled == 0; round++ {
		if round == 100 {
			t.Fatalf("%d starts were refused, and %d plain look-ups led to another folder: this proves nothing", refused, fooled)
		}
		folder := spec(t, "/bin/cat", sub+"/marker")
		show(&folder, sub, true)
		point := spec(t, "/bin/cat", sub+"/inner/file")
		show(&point, shared, true)
		point.Mounts = append(point.Mounts, sandbox.Mount{Source: mounted, Target: sub + "/inner"})
		for _, s := range []sandbox.Spec{folder, point} {
			box, err := tryStart(t, s)
			if err != nil {
				refused++
				continue
			}
			box.stdin.Close()
			if got := box.wait(t); strings.Contains(got.stdout, "wrong") {
				t.Errorf("a server got another folder: %q", got.stdout)
			}
		}
		for range 100 {
			if content, err := os.ReadFile(sub + "/marker"); err == nil && string(content) == "wrong" {
				fooled++
			}
		}
	}
	if got := names(t, victim); !slices.Equal(got, []string{"", "/file", "/inner", "/marker"}) {
		t.Errorf("the host's folder has %q", got)
	}
}

// escapeDuringSetUp: processes of the host with the uids that a sandbox will have
// lie in wait for the moment when it is made (CVE-2026-41163 of bubblewrap).
func escapeDuringSetUp(t *testing.T) {
	root, user := uidStart, start(t, spec(t, "/bin/cat")).UID()
	if user >= uidStart+65536 {
		t.Fatalf("the first range is in use: %d", user)
	}
	watchers := []*watcher{newWatcher(t, root+65536), newWatcher(t, user+65536)}
	// The one in wait has to have met some: on a busy machine it comes too late for most.
	for starts := 0; starts < 5 || watchers[1].met.Load() < 3; starts++ {
		if starts == 200 {
			t.Fatalf("uid %d met %d processes of %d only: this proves nothing", watchers[1].uid, watchers[1].met.Load(), starts)
		}
		s := spec(t, "/bin/true")
		box := start(t, s)
		if box.UID() != user+65536 {
			t.Fatalf("got uid %d, want that of the one in wait, %d", box.UID(), user+65536)
		}
		box.stdin.Close()
		box.wait(t)
	}
	for _, w := range watchers {
		if won := w.end(t); len(won) != 0 {
			t.Errorf("uid %d took %q", w.uid, won)
		}
	}
	// Of a process without a sandbox it takes what there is.
	w := newWatcher(t, user)
	bystander(t, user)
	w.wait(t, "environ", "root")
	w.end(t)
}

// watcher is the attack "watch" under way.
type watcher struct {
	uid   int
	stdin io.Closer
	cmd   *exec.Cmd
	won   chan string  // what it takes, each once; closed once it says no more
	met   atomic.Int32 // how many processes it has met
}

func newWatcher(t *testing.T, uid int) *watcher {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, "attack"), "watch", fmt.Sprint(uid))
	cmd.Stderr = os.Stderr
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
	out := bufio.NewScanner(stdout)
	if !out.Scan() || out.Text() != "ready" {
		t.Fatalf("the watcher says %q", out.Text())
	}
	w := &watcher{uid: uid, stdin: stdin, cmd: cmd, won: make(chan string, 100)}
	go func() {
		defer close(w.won)
		for out.Scan() {
			if what, taken := strings.CutPrefix(out.Text(), "takes "); taken {
				w.won <- what
			} else {
				w.met.Add(1)
			}
		}
	}()
	return w
}

// wait waits until the watcher has taken all of something.
func (w *watcher) wait(t *testing.T, all ...string) {
	t.Helper()
	for len(all) > 0 {
		what, ok := <-w.won
		if !ok {
			t.Fatalf("the watcher ended before it took %q", all)
		}
		all = slices.DeleteFunc(all, func(s string) bool { return s == what })
	}
}

// end ends the watcher, and returns what it took.
func (w *watcher) end(t *testing.T) (won []string) {
	t.Helper()
	w.stdin.Close()
	for what := range w.won {
		won = append(won, what)
	}
	if err := w.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return won
}

// escapeByEnvironment: what a server's configuration puts into its environment must
// not steer the launcher, which runs before the filter is in force.
func escapeByEnvironment(t *testing.T) {
	hostile := []string{
		"LD_PRELOAD=/srv/none.so", "LD_AUDIT=/srv/none.so",
		"GOTRACEBACK=crash", "GOGC=1", "GOMAXPROCS=64", "_LIBCONTAINER_INITTYPE=setns", "_LIBCONTAINER_LOGPIPE=1",
	}
	s := attack(t, "nothing")
	s.Env = hostile[:2]
	if got := runToEnd(t, s); got.stdout != "ok\n" || got.stderr != "" {
		t.Errorf("got %q, %q with a preloaded library", got.stdout, got.stderr)
	}
	s = spec(t, "/usr/bin/env")
	s.Env = append([]string{"HOME=/tmp"}, hostile[2:]...)
	got := runToEnd(t, s)
	if got.stderr != "" {
		t.Errorf("the launcher says %.300q: its runtime was steered", got.stderr)
	}
	if want := strings.Join(s.Env, "\n") + "\n"; got.stdout != want {
		t.Errorf("the server got %q, want %q", got.stdout, want)
	}
	cmd := exec.Command("/bin/true")
	cmd.Env = hostile
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "/srv/none.so") {
		t.Errorf("got %q, %v from a program that can be steered: this proves nothing", out, err)
	}
}

// escapeByDebugging: the launcher is a Go program, and would take these for its own.
func escapeByDebugging(t *testing.T) {
	const steering = "GODEBUG=inittrace=1,schedtrace=1"
	s := spec(t, "/usr/bin/env")
	s.Env = []string{"HOME=/tmp", steering}
	if got := runToEnd(t, s); got.stderr != "" || got.stdout != "HOME=/tmp\n"+steering+"\n" {
		t.Errorf("the server got %q, and the launcher says %.300q", got.stdout, got.stderr)
	}
	cmd := exec.Command(filepath.Join(bin, "attack"), "nothing")
	cmd.Env = []string{steering}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "init ") {
		t.Errorf("got %q, %v from a program that can be steered: this proves nothing", out, err)
	}
}

// escapeWithoutOpenat2: where the kernel refuses the call that looks up paths
// safely, nothing starts; no less safe way is taken instead.
func escapeWithoutOpenat2(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestHelperWithoutOpenat2$")
	cmd.Env = append(os.Environ(), withoutVariable+"=1")
	out, err := cmd.Output()
	with, without, found := strings.Cut(string(out), "refused now\n")
	if err != nil || !found || with != "started\n" {
		t.Errorf("got %v, %q with the call: this proves nothing", err, out)
	}
	if strings.Contains(without, "started") || !strings.Contains(without, "function not implemented") {
		t.Errorf("got %q without it, want an error that says so", without)
	}
}

const withoutVariable = "SANDBOX_TEST_WITHOUT_OPENAT2"

// TestHelperWithoutOpenat2 starts a sandbox, and one more where the call does not
// exist.
func TestHelperWithoutOpenat2(t *testing.T) {
	if os.Getenv(withoutVariable) == "" {
		return
	}
	dir := directory(t, owner)
	try := func() {
		s := spec(t, "/bin/true")
		show(&s, dir, true)
		box, err := tryStart(t, s)
		if err != nil {
			fmt.Println(err)
			return
		}
		box.stdin.Close()
		box.wait(t)
		fmt.Println("started")
	}
	try()
	refuse(t, unix.SYS_OPENAT2)
	fmt.Println("refused now")
	try()
}

// refuse makes a call answer ENOSYS in this process and all that it starts.
func refuse(t *testing.T, number uint32) {
	t.Helper()
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: number, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		t.Fatal(errno)
	}
}
