package sandbox_test

import (
	"errors"
	"fmt"
	"io/fs"
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

// lines of an output, sorted.
func lines(output string) []string {
	all := strings.Split(strings.TrimSuffix(output, "\n"), "\n")
	slices.Sort(all)
	return all
}

// escapeByWriting looks for anything at all that can be written.
func escapeByWriting(t *testing.T) {
	want := []string{"/dev/full", "/dev/null", "/dev/random", "/dev/shm", "/dev/urandom", "/dev/zero", "/tmp"}
	writable := func(s sandbox.Spec) []string {
		s.Limits.MemoryBytes = 512 << 20
		all := lines(runToEnd(t, s).stdout)
		tried := 0
		return slices.DeleteFunc(all, func(line string) bool {
			n, _ := fmt.Sscanf(line, "tried %d", &tried)
			if n == 1 && tried < 1000 {
				t.Errorf("tried %d files and folders only", tried)
			}
			return n == 1
		})
	}
	if got := writable(attack(t, "writable", "/")); !slices.Equal(got, want) {
		t.Errorf("got %q to write, want %q", got, want)
	}
	s, dir := attack(t, "writable", "/"), directory(t, owner)
	show(&s, dir, true)
	if got := writable(s); !slices.Contains(got, dir) || !slices.Contains(got, dir+"/file") {
		t.Errorf("got %q to write, and not the folder that can be", got)
	}
}

func escapeByProcfsWrites(t *testing.T) {
	if got := runToEnd(t, attack(t, "procfs", "write")); got.stdout != "" || got.exit.Status != 0 {
		t.Errorf("can write %q, %s", got.stdout, got.stderr)
	}
	if got := outside(t, "procfs", "write"); len(got) < 100 {
		t.Errorf("found only %q outside: this proves nothing", got)
	}
}

// told are the files of /proc that a server can read. They tell of the host's load
// and hardware, which all servers share, and not of its users, files or programs.
var told = []string{
	"cgroups", "consoles", "cpuinfo", "crypto", "devices", "dma", "exitcode", "filesystems", "loadavg", "locks", "mdstat", "meminfo",
	"misc", "mtrr", "pressure/cpu", "pressure/io", "pressure/memory", "pressure/irq", "stat", "sys", "uptime", "version", "vmstat",
	"dynamic_debug/control", "execdomains", "fb", "xen", "sysemu",
}

func escapeByProcfsReads(t *testing.T) {
	got := runToEnd(t, attack(t, "procfs", "read"))
	for _, path := range lines(got.stdout) {
		name := strings.TrimPrefix(path, "/proc/")
		if !slices.Contains(told, name) && !strings.HasPrefix(name, "sys/") {
			t.Errorf("%s can be read, and this test does not know why", path)
		}
	}
	if got := outside(t, "procfs", "read"); !slices.Contains(got, "/proc/cmdline") || !slices.Contains(got, "/proc/kallsyms") {
		t.Errorf("found only %d outside: this proves nothing", len(got))
	}
	// What an administrator chose for this host, rather than how its kernel works.
	for name, want := range map[string]string{"hostname": "mcp", "domainname": "(none)"} {
		if got := shell(t, "cat /proc/sys/kernel/"+name).stdout; strings.TrimSpace(got) != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// escapeByDescriptors: CVE-2024-21626, a descriptor or a working folder that was
// left open leads to the host.
func escapeByDescriptors(t *testing.T) {
	if got := runToEnd(t, attack(t, "descriptors")).stdout; got != "in /tmp ok\n" {
		t.Errorf("got descriptors %q", got)
	}
	host := directory(t, 0)
	cmd := exec.Command(filepath.Join(bin, "attack"), "descriptors")
	open, err := os.Open(host)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	cmd.ExtraFiles = []*os.File{open}
	if out, err := cmd.Output(); err != nil || !strings.Contains(string(out), "3 "+host) {
		t.Errorf("got %q, %v: this proves nothing", out, err)
	}
	for fd := 3; fd < 12; fd++ {
		s := spec(t, "/bin/sh", "-c", "pwd -P; cat "+strings.Repeat("../", 20)+strings.TrimPrefix(host, "/")+"/file")
		s.Dir = fmt.Sprintf("/proc/self/fd/%d", fd)
		box, err := tryStart(t, s)
		if err != nil {
			continue
		}
		box.stdin.Close()
		if got := box.wait(t); got.stdout != "" {
			t.Errorf("started in %s, and it shows %q", s.Dir, got.stdout)
		}
	}
}

// escapeBySetid leaves set-id files for others on the host to run.
func escapeBySetid(t *testing.T) {
	dir, reference := directory(t, owner), directory(t, 0)
	s := attack(t, "setid", dir)
	show(&s, dir, true)
	got := runToEnd(t, s)
	if found := setidFiles(t, dir); len(found) != 0 {
		t.Errorf("left %q on the host: %s", found, got.stdout)
	}
	out := outside(t, "setid", reference)
	if found := setidFiles(t, reference); len(found) < len(out) {
		t.Errorf("left only %q outside: %q", found, out)
	}
}

func setidFiles(t *testing.T, dir string) (found []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode()&(os.ModeSetuid|os.ModeSetgid) != 0 {
			found = append(found, entry.Name())
		}
	}
	return found
}

// escapeByInheritedBits: what a folder hands down to what is made in it.
func escapeByInheritedBits(t *testing.T) {
	dir := directory(t, owner)
	if err := os.Chmod(dir, 0o775|os.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	inProject(t, dir, "mkdir sub; cp /bin/true sub/program; cp /bin/true program; chmod 2755 program; install -m 2755 /bin/true installed")
	for _, name := range []string{"program", "sub/program", "installed"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if st := info.Sys().(*syscall.Stat_t); info.Mode()&os.ModeSetgid != 0 || st.Gid != owner {
			t.Errorf("%s has mode %v and group %d on the host", name, info.Mode(), st.Gid)
		}
	}
}

// escapeByOverwritingSetid puts other content into a set-id program of the user's.
//
// Known and open: the kernel takes the bit when the file is written to, but not
// when it is written through a shared mapping. Whoever keeps set-id programs in a
// project's folder trusts its server with them.
func escapeByOverwritingSetid(t *testing.T) {
	for _, how := range []string{"write", "truncate", "mmap"} {
		dir := directory(t, owner)
		program := filepath.Join(dir, "program")
		err := errors.Join(os.WriteFile(program, []byte("content"), 0o755), os.Chown(program, owner, owner), os.Chmod(program, 0o755|os.ModeSetuid))
		if err != nil {
			t.Fatal(err)
		}
		s := attack(t, "overwrite-in-place", program, how)
		show(&s, dir, true)
		got := runToEnd(t, s)
		content, err := os.ReadFile(program)
		if err != nil {
			t.Fatal(err)
		}
		still := len(setidFiles(t, dir)) != 0
		if changed := string(content) != "content"; !changed || still != (how == "mmap") {
			t.Errorf("%s: changed: %v, still set-id: %v (%q)", how, changed, still, got.stderr)
		}
	}
}

// escapeByRaising executes programs that would give a user of the host more rights.
func escapeByRaising(t *testing.T) {
	dir := directory(t, 0)
	program, err := os.ReadFile(filepath.Join(bin, "attack"))
	if err != nil {
		t.Fatal(err)
	}
	modes := map[string]os.FileMode{"setuid": os.ModeSetuid, "setgid": os.ModeSetgid, "capable": 0}
	for name, bit := range modes {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, program, 0o755), os.Chmod(path, 0o755|bit), os.Chmod(dir, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	outside(t, "setxattr", filepath.Join(dir, "capable"), "security.capability")
	for name := range modes {
		path := filepath.Join(dir, name)
		s := attack(t, "raise", path)
		show(&s, dir, false)
		if got := runToEnd(t, s); got.stdout != "same-rights\n" {
			t.Errorf("%s inside: got %q, %s", name, got.stdout, got.stderr)
		}
		cmd := exec.Command(filepath.Join(bin, "attack"), "raise", path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner, Gid: owner}}
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != "ok\n" {
			t.Errorf("%s outside: got %q, %v: this proves nothing", name, out, err)
		}
	}
}

// escapeByOtherProjects goes for the folder of another running server.
func escapeByOtherProjects(t *testing.T) {
	mine, others := directory(t, owner), directory(t, owner+1)
	other := spec(t, "/bin/cat")
	mount := sandbox.Mount{Source: others, Target: others, Writable: true, UID: owner + 1, GID: owner + 1}
	other.Mounts = append(other.Mounts, mount)
	start(t, other)
	script := "cat " + others + "/file " + mine + "/../" + filepath.Base(others) + "/file " + mine + "/way/file /proc/*/root" + others + "/file /proc/*/cwd/file; ls /tmp"
	if err := errors.Join(os.Symlink(others, filepath.Join(mine, "way")), os.WriteFile(others+"/file", []byte("secret\n"), 0o640)); err != nil {
		t.Fatal(err)
	}
	if got := inProject(t, mine, script); strings.Contains(got.stdout, "secret") || !strings.HasSuffix(got.stdout, "\n"+filepath.Base(mine)+"\n") {
		t.Errorf("got %q of another server's folder", got.stdout)
	}
	s := spec(t, "/bin/sh", "-c", script)
	s.Mounts = append(s.Mounts, mount)
	show(&s, mine, true)
	if got := runToEnd(t, s); strings.Count(got.stdout, "secret\n") < 3 { // by name, by "..", and by the link
		t.Errorf("got %q with the folder mounted: this proves nothing", got.stdout)
	}
}

// escapeByDepth makes folders whose path is longer than a path can be.
func escapeByDepth(t *testing.T) {
	const depth = 1000
	dir := directory(t, owner)
	for _, where := range []string{dir, "/tmp"} {
		s := attack(t, "nest", where, fmt.Sprint(depth))
		show(&s, dir, true)
		if got := runToEnd(t, s); got.stdout != "ok\n" {
			t.Fatalf("got %q, %s", got.stdout, got.stderr)
		}
	}
	if _, err := os.Stat(dir + strings.Repeat("/deeper", depth)); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Errorf("got %v for the whole path: this proves nothing", err)
	}
	if got := inProject(t, dir, "ls"); got.stdout != "deeper\nfile\n" {
		t.Errorf("got %q from the next server", got.stdout)
	}
}

// escapeByLoaderOfScripts has the launcher execute itself as the interpreter of a
// script (CVE-2019-5736 replaced the runtime that way).
func escapeByLoaderOfScripts(t *testing.T) {
	dir := directory(t, 0)
	script := filepath.Join(dir, "server")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(script, []byte("#!/proc/self/exe\n"), 0o755)); err != nil {
		t.Fatal(err)
	}
	launcher := filepath.Join(filepath.Dir(bin), "mcp-gateway-launch")
	before, err := os.ReadFile(launcher)
	if err != nil {
		t.Fatal(err)
	}
	s := spec(t, script)
	show(&s, dir, false)
	if got := runToEnd(t, s); got.exit.Status == 0 {
		t.Errorf("got %+v, %q: it ran", got.exit, got.stdout)
	}
	if after, err := os.ReadFile(launcher); err != nil || string(after) != string(before) {
		t.Errorf("the launcher was changed, %v", err)
	}
	// The same descriptor of a program that is not on a read-only mount.
	loose := filepath.Join(dir, "loose")
	if err := os.WriteFile(loose, before, 0o755); err != nil {
		t.Fatal(err)
	}
	if got := outside(t, "overwrite", loose); !slices.Equal(got, []string{"ok"}) {
		t.Errorf("got %q outside: this proves nothing", got)
	}
}

// escapeByCgroups goes for release_agent and limits, with the host's own files
// mounted by mistake.
func escapeByCgroups(t *testing.T) {
	host, name := "/sys/fs/cgroup", "cgroup.procs"
	if _, err := os.Stat("/sys/fs/cgroup/memory/release_agent"); err == nil {
		host, name = "/sys/fs/cgroup/memory", "release_agent"
	}
	if got := shell(t, "ls /sys/fs/cgroup; find / -xdev -name release_agent -o -xdev -name cgroup.procs").stdout; got != "" {
		t.Errorf("found %q", got)
	}
	file := filepath.Join(host, name)
	s := attack(t, "each", "open-write /mnt/cgroup/"+name, "mkdir /mnt/cgroup/attack", "create /mnt/cgroup/attack", "remount /mnt/cgroup", "umount /mnt/cgroup")
	s.Mounts = append(s.Mounts, sandbox.Mount{Source: host, Target: "/mnt/cgroup"})
	if got := strings.Fields(runToEnd(t, s).stdout); len(got) != 5 || slices.Contains(got, "ok") {
		t.Errorf("got %q with %s mounted", got, host)
	}
	if got := outside(t, "open-write", file); !slices.Equal(got, []string{"ok"}) {
		t.Errorf("got %q outside: this proves nothing", got)
	}
}

// names are those of all files below a folder of the host.
func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		all = append(all, strings.TrimPrefix(path, dir))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
