package inspect

import (
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"mcpgateway/policy/profile"
)

// The processes in testdata/sandbox.txtar.
const (
	first  = "7482"
	server = "7514"
	other  = "7481"
)

// environment is where the tree has the server's environment.
const environment = "memfd:environment"

// tree is a copy of testdata/sandbox.txtar as a folder.
type tree struct {
	t    *testing.T
	root string
	lent bool
}

func newTree(t *testing.T) tree {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/sandbox.txtar")
	if err != nil {
		t.Fatal(err)
	}
	tr := tree{t: t, root: t.TempDir()}
	for _, file := range archive.Files {
		content := strings.ReplaceAll(string(file.Data), "$ROOT", tr.root)
		if strings.HasSuffix(file.Name, "environ") || file.Name == environment {
			content = strings.ReplaceAll(content, "\n", "\x00")
		}
		tr.write(file.Name, content)
	}
	tr.filter(unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_ERRNO|1)
	return tr
}

func (tr tree) path(name string) string { return filepath.Join(tr.root, name) }

func (tr tree) check(err error) {
	tr.t.Helper()
	if err != nil {
		tr.t.Fatal(err)
	}
}

// lentTo is the tree for a test of its own, whose changes are undone at its end.
func (tr tree) lentTo(t *testing.T) tree { return tree{t: t, root: tr.root, lent: true} }

// keep undoes a change at the end of the test.
func (tr tree) keep(name string) {
	if !tr.lent {
		return
	}
	path := tr.path(name)
	link, linkErr := os.Readlink(path)
	content, err := os.ReadFile(path)
	tr.t.Cleanup(func() {
		tr.check(os.RemoveAll(path))
		switch {
		case linkErr == nil:
			tr.check(os.Symlink(link, path))
		case err == nil:
			tr.check(os.WriteFile(path, content, 0o644))
		}
	})
}

// write makes a file, or a link if its name ends in .link.
func (tr tree) write(name, content string) {
	tr.t.Helper()
	tr.check(os.MkdirAll(filepath.Dir(tr.path(name)), 0o755))
	if name, isLink := strings.CutSuffix(name, ".link"); isLink {
		tr.remove(name)
		tr.check(os.Symlink(strings.TrimSpace(content), tr.path(name)))
		return
	}
	tr.keep(name)
	tr.check(os.WriteFile(tr.path(name), []byte(content), 0o644))
}

func (tr tree) remove(name string) {
	tr.t.Helper()
	tr.keep(name)
	tr.check(os.RemoveAll(tr.path(name)))
}

// zombie adds a process whose first thread has ended, with another in a state.
func (tr tree) zombie(state string) {
	cgroup, err := os.ReadFile(tr.path("proc/" + first + "/cgroup"))
	tr.check(err)
	for name, content := range map[string]string{
		"cgroup": string(cgroup), "status": "State:\tZ (zombie)\n", "stat": "7600 (gone) Z" + strings.Repeat(" 0", 40), "comm": "gone",
		"task/7600/status": "State:\tZ (zombie)\n", "task/7601/status": "State:\t" + state + "\n",
	} {
		tr.write("proc/7600/"+name, content)
	}
}

// replace changes a file that must have what is replaced.
func (tr tree) replace(name, old, to string) {
	tr.t.Helper()
	content, err := os.ReadFile(tr.path(name))
	tr.check(err)
	if !strings.Contains(string(content), old) {
		tr.t.Fatalf("%s: got %q, without %q", name, content, old)
	}
	tr.write(name, strings.ReplaceAll(string(content), old, to))
}

// filter makes the first process's system-call filter: its answer to read(2), and
// to every other call.
func (tr tree) filter(read, others uint32) {
	tr.t.Helper()
	tr.program(
		bpf.LoadAbsolute{Off: 4, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: auditArch, SkipTrue: 1},
		bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | 38},
		bpf.LoadAbsolute{Off: 0, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SYS_READ, SkipFalse: 1},
		bpf.RetConstant{Val: read},
		bpf.RetConstant{Val: others},
	)
}

func (tr tree) program(instructions ...bpf.Instruction) {
	tr.t.Helper()
	raw, err := bpf.Assemble(instructions)
	tr.check(err)
	tr.write("filter", string(encode(raw)))
	tr.write("proc/"+first+"/fd/3.link", tr.path("filter"))
}

// shown is what shows inside, in place of a real root.
type shown map[string]entry

func (s shown) look(path string) (entry, error) {
	e, ok := s[path]
	if !ok {
		return e, &os.PathError{Op: "look", Path: path, Err: fs.ErrNotExist}
	}
	return e, nil
}

func (s shown) list(folder string) ([]string, error) {
	var names []string
	for path := range s {
		if path != "/" && filepath.Dir(path) == folder {
			names = append(names, filepath.Base(path))
		}
	}
	return names, nil
}

// newAudit is of the sandbox in a tree, which is as it should be.
func newAudit(tr tree) *audit {
	var p profile.Profile
	p.Filesystem = profile.Filesystem{TmpSize: 256 << 20, ShmSize: 64 << 20}
	p.Network.Mode, p.Landlock.Mode, p.Syscalls.Base = "none", "required", "@default"
	p.Namespaces = profile.Namespaces{Private: []string{"user", "mount", "pid", "net", "ipc", "uts", "cgroup"}, IDs: 65536}
	p.Limits = profile.Limits{MemoryMax: 512 << 20, CPUMax: 1, CPUWeight: 100, PIDsMax: 256}
	p.Rlimits = profile.Rlimits{NoFile: 4096, MemLock: 64 << 10}

	view := shown{"/usr": {}, "/etc": {}, "/srv": {}, "/tmp": {}, "/proc": {}, "/run": {}, "/bin": {}, "/dev": {}}
	for name, number := range devices {
		view["/dev/"+name] = entry{mode: unix.S_IFCHR | 0o666, number: number}
	}
	for _, name := range []string{"kallsyms", "keys", "cmdline"} {
		view["/proc/"+name] = entry{mode: unix.S_IFREG, mounted: true, empty: true}
	}
	view["/proc/bus"] = entry{mode: unix.S_IFDIR, mounted: true, empty: true}
	view["/run/mcp-gateway-launch"] = entry{mode: unix.S_IFREG | 0o755}

	a := &audit{
		Subject: Subject{
			ID: "one-2", Project: "default", PID: 7482, UID: 1073808360, Profile: p,
			Mounts:      []Mount{{Target: "/etc"}, {Target: "/usr"}, {Target: "/srv/e2e"}, {Target: "/srv/one", Writable: true, Mapped: true}},
			Links:       []string{"/bin"},
			Environment: []string{"PATH", "HOME", "TMPDIR", "USER", "LANG"},
			Others:      []int{7481},
		},
		proc: tr.path("proc"), inside: view,
		landlock: func() (int, error) { return 7, nil },
	}
	a.socketOf = func(pid, fd int) (socket, error) {
		return socket{domain: unix.AF_UNIX, kind: unix.SOCK_STREAM, namespace: "net:[1]"}, nil
	}
	// Everything is on the mount of /usr, but for what has no mount; the launcher's
	// pipe, filter and the standard streams are root's.
	a.place = func(path string) (entry, error) {
		link, err := os.Readlink(path)
		if strings.HasPrefix(link, "pipe:") {
			return entry{}, err
		}
		return entry{mode: unix.S_IFREG | 0o400, mount: 52}, nil
	}
	return a
}

// showing changes what is at a path in /proc.
func (a *audit) showing(suffix string, e entry) {
	place := a.place
	a.place = func(path string) (entry, error) {
		if strings.HasSuffix(path, suffix) {
			return e, nil
		}
		return place(path)
	}
}

// mounted gives what covers a path in the tree the number of that mount.
func (a *audit) mounted() {
	mounts, err := readMounts(a.path(a.PID, "mountinfo"))
	if err != nil {
		return // a test's matter
	}
	view := a.inside.(shown)
	for _, m := range mounts {
		if e, ok := view[m.Target]; ok {
			e.mount = m.ID
			view[m.Target] = e
		}
	}
}

// encode lays a program out as struct sock_filter.
func encode(raw []bpf.RawInstruction) (program []byte) {
	for _, i := range raw {
		program = binary.NativeEndian.AppendUint16(program, i.Op)
		program = append(program, i.Jt, i.Jf)
		program = binary.NativeEndian.AppendUint32(program, i.K)
	}
	return program
}

// mustLook looks at a real file.
func mustLook(t *testing.T, path string) entry {
	t.Helper()
	e, err := lookAt(unix.AT_FDCWD, path)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// differences are the facts that are not as they should be.
func differences(findings []Finding) []string {
	var names []string
	for _, f := range findings {
		if f.Difference() {
			names = append(names, f.Section+": "+f.Fact)
		}
	}
	return names
}

func run(t *testing.T, a *audit) []Finding {
	t.Helper()
	a.mounted()
	if err := a.run(); err != nil {
		t.Fatal(err)
	}
	return a.findings
}

func TestNothingDiffers(t *testing.T) {
	t.Parallel()
	findings := run(t, newAudit(newTree(t)))
	seen := map[string]bool{}
	for _, f := range findings {
		if f.Difference() || f.Points != 0 {
			t.Errorf("%s: %s: got %q, want %q: %s, %v points", f.Section, f.Fact, f.Got, f.Want, f.Result, f.Points)
		}
		if name := f.Section + ": " + f.Fact; seen[name] {
			t.Errorf("%s is there twice", name)
		} else {
			seen[name] = true
		}
		if f.Want == "" || f.Got == "" || f.Where == "" {
			t.Errorf("%s: %s has an empty part: %+v", f.Section, f.Fact, f)
		}
	}
}

// more stands for differences that follow from the others.
const more = "and more"

// TestPlanted changes one thing each, and wants it found, and nothing else.
func TestPlanted(t *testing.T) {
	t.Parallel()
	const cgroup = "mcp-gateway-7460/project-default/one-2/"
	inFirst := "proc/" + first + "/"
	inServer := "proc/" + server + "/"
	lastThread := inServer + "task/7515/status"
	tests := []struct {
		name  string
		plant func(tree, *audit)
		want  []string
	}{
		{"another pid inside", func(tr tree, _ *audit) {
			tr.replace(inFirst+"status", "NSpid:\t7482\t1", "NSpid:\t7482\t7")
		}, []string{"processes: first process's number inside"}},
		{"no thread", func(tr tree, _ *audit) {
			for _, thread := range []string{"7514", "7515"} {
				tr.remove(inServer + "task/" + thread + "/status")
			}
		}, []string{"processes: can be read"}},
		{"a process that has ended and was not collected", func(tr tree, _ *audit) { tr.zombie("Z (zombie)") }, nil},
		{"a process whose first thread has ended", func(tr tree, _ *audit) { tr.zombie("S (sleeping)") }, []string{"processes: can be read", more}},
		{"more ids", func(tr tree, _ *audit) { tr.replace(inFirst+"uid_map", "65536", "131072") }, []string{"ids: uid_map"}},
		{"the host's ids", func(tr tree, _ *audit) { tr.replace(inFirst+"gid_map", "1073807360", "0") }, []string{"ids: gid_map"}},
		{"a group of the host", func(tr tree, _ *audit) { tr.replace(lastThread, "Groups:\t", "Groups:\t0 ") }, []string{"ids: other groups"}},
		{"shared ids", func(tr tree, _ *audit) { tr.replace("proc/"+other+"/uid_map", "1073741824", "1073807361") }, []string{"ids: range shared with"}},
		{"a user of the host", func(tr tree, _ *audit) { tr.replace(lastThread, "Uid:\t1073808360\t1073808360", "Uid:\t1073808360\t0") }, []string{"ids: uid of each process"}},

		{"a capability", func(tr tree, _ *audit) {
			tr.replace(lastThread, "CapEff:\t0000000000000000", "CapEff:\t0000000000200000")
		}, []string{"privileges: effective capabilities"}},
		{"new privileges", func(tr tree, _ *audit) { tr.replace(lastThread, "NoNewPrivs:\t1", "NoNewPrivs:\t0") }, []string{"privileges: no new privileges"}},
		{"no filter", func(tr tree, _ *audit) { tr.replace(lastThread, "Seccomp:\t2", "Seccomp:\t0") }, []string{"system calls: filter is on"}},
		{"no filters", func(tr tree, _ *audit) { tr.replace(lastThread, "Seccomp_filters:\t1", "Seccomp_filters:\t0") }, []string{"system calls: filters"}},
		{"a kernel that does not tell", func(tr tree, _ *audit) { tr.replace(lastThread, "Seccomp:\t2\n", "") }, []string{"system calls: filter is on"}},
		{"spared", func(tr tree, _ *audit) { tr.write(inServer+"oom_score_adj", "-1\n") }, []string{"privileges: spared when memory is short"}},
		{"a person's", func(tr tree, _ *audit) { tr.write(inServer+"loginuid", "1000\n") }, []string{"privileges: login user"}},
		{"traced", func(tr tree, _ *audit) { tr.replace(lastThread, "TracerPid:\t0", "TracerPid:\t1") }, []string{"privileges: traced by process"}},
		{"readable first process", func(_ tree, a *audit) { a.showing("/7482/status", entry{uid: 1073808360}) }, []string{"privileges: first process's files belong to"}},
		{"no label", func(_ tree, a *audit) { a.Profile.LSM.AppArmor = "mcp" }, []string{"privileges: label"}},
		{"the label", func(tr tree, a *audit) {
			a.Profile.LSM.AppArmor = "mcp"
			tr.write(inServer+"attr/current", "mcp (enforce)\n")
			tr.write(inFirst+"attr/current", "mcp (enforce)\n")
		}, nil},
		{"the other module's label", func(tr tree, a *audit) {
			a.Profile.LSM.SELinux = "a_t"
			tr.write(inServer+"attr/current", "a_t\x00")
			tr.write(inFirst+"attr/current", "a_t\x00")
		}, nil},
		{"another label", func(tr tree, a *audit) {
			a.Profile.LSM.SELinux = "a_t"
			tr.write(inServer+"attr/current", "b_t\x00")
			tr.write(inFirst+"attr/current", "a_t\x00")
		}, []string{"privileges: label"}},

		{"a filter that lets all through", func(tr tree, _ *audit) { tr.program(bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}) }, []string{"system calls: calls of the host's that pass"}},
		{"a filter that only logs", func(tr tree, _ *audit) { tr.filter(unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_LOG) }, []string{"system calls: calls of the host's that pass"}},
		{"a filter that is meant to log", func(tr tree, a *audit) {
			a.Profile.Syscalls.AuditOnly = true
			tr.filter(unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_LOG)
		}, nil},
		{"one that does not even log", func(tr tree, a *audit) {
			a.Profile.Syscalls.AuditOnly = true
			tr.program(bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW})
		}, []string{"system calls: calls of the host's that pass"}},
		{"a filter that refuses all", func(tr tree, _ *audit) { tr.filter(unix.SECCOMP_RET_ERRNO, unix.SECCOMP_RET_ERRNO) }, []string{"system calls: read(2)"}},
		{"a call that is meant to pass", func(tr tree, a *audit) {
			a.Profile.Syscalls.Plus = []string{"bpf"}
			tr.program(bpf.LoadAbsolute{Off: 4, Size: 4}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: auditArch, SkipTrue: 1}, bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO},
				bpf.LoadAbsolute{Size: 4}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SYS_READ, SkipTrue: 2}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SYS_BPF, SkipTrue: 1},
				bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO}, bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW})
		}, nil},
		{"no program", func(tr tree, _ *audit) { tr.write("filter", "1234567") }, []string{"system calls: calls of the host's that pass"}},

		{"no Landlock", func(_ tree, a *audit) { a.landlock = func() (int, error) { return 0, nil } }, []string{"landlock: kernel has it"}},
		{"no Landlock, where it need not be", func(_ tree, a *audit) {
			a.Profile.Landlock.Mode = "available"
			a.landlock = func() (int, error) { return 0, nil }
		}, nil},
		{"Landlock is off", func(tr tree, a *audit) {
			a.Profile.Landlock.Mode = "off"
			tr.write(inFirst+"fd/6.link", "/dev/null")
		}, nil},
		{"no rules", func(tr tree, _ *audit) { tr.write(inFirst+"fd/6.link", "/dev/null") }, []string{"landlock: first process was given rules"}},

		{"the host's namespace", func(tr tree, _ *audit) { tr.write("proc/self/ns/net.link", "net:[4026532195]") }, []string{"namespaces: net"}},
		{"the daemon's namespace", func(tr tree, _ *audit) { tr.write("proc/7460/ns/ipc.link", "ipc:[4026532185]") }, []string{"namespaces: ipc"}},
		{"another sandbox's namespace", func(tr tree, _ *audit) { tr.write("proc/"+other+"/ns/uts.link", "uts:[4026532184]") }, []string{"namespaces: uts"}},
		{"a process elsewhere", func(tr tree, _ *audit) { tr.write(inServer+"ns/net.link", "net:[4026531840]") }, []string{"namespaces: net of each process"}},

		{"a writable mount", func(tr tree, _ *audit) { tr.replace(inFirst+"mountinfo", "/usr /usr ro,", "/usr /usr rw,") }, []string{"mounts: /usr"}},
		{"a writable root", func(tr tree, _ *audit) { tr.replace(inFirst+"mountinfo", "roots/one-2 / ro,", "roots/one-2 / rw,") }, []string{"mounts: /"}},
		{"set-id bits", func(tr tree, _ *audit) { tr.replace(inFirst+"mountinfo", "/srv/e2e ro,nosuid,", "/srv/e2e ro,") }, []string{"mounts: /srv/e2e"}},
		{"programs in /tmp", func(tr tree, _ *audit) {
			tr.replace(inFirst+"mountinfo", "/ /tmp rw,nosuid,nodev,noexec", "/ /tmp rw,nosuid,nodev")
		}, []string{"mounts: /tmp"}},
		{"a larger /tmp", func(tr tree, _ *audit) { tr.replace(inFirst+"mountinfo", "size=262144k", "size=262145k") }, []string{"mounts: /tmp"}},
		{"no limit on /tmp", func(tr tree, _ *audit) { tr.replace(inFirst+"mountinfo", ",nr_inodes=65536", "") }, []string{"mounts: /tmp"}},
		{"visible processes", func(tr tree, _ *audit) {
			tr.replace(inFirst+"mountinfo", "/ /proc rw,nosuid,nodev,noexec,relatime - proc proc rw,hidepid=invisible", "/ /proc rw,nosuid,nodev,noexec,relatime - proc proc rw")
		}, []string{"mounts: /proc"}},
		{"a mount that spreads", func(tr tree, _ *audit) {
			tr.replace(inFirst+"mountinfo", "/usr /usr ro,nosuid,nodev,relatime -", "/usr /usr ro,nosuid,nodev,relatime shared:7 -")
		}, []string{"mounts: /usr"}},
		{"no mapping", func(tr tree, _ *audit) { tr.replace(inFirst+"mountinfo", ",idmapped", "") }, []string{"mounts: /srv/one"}},
		{"programs in a mount for data", func(_ tree, a *audit) { a.Mounts[2].NoExec = true }, []string{"mounts: /srv/e2e"}},
		{"a missing mount", func(_ tree, a *audit) { a.Mounts = append(a.Mounts, Mount{Target: "/opt"}) }, []string{"mounts: /opt"}},
		{"one mount more", func(_ tree, a *audit) { a.Mounts = a.Mounts[1:] }, []string{"mounts: others", "files: surplus in /"}},
		{"a mount over another", func(tr tree, _ *audit) {
			tr.replace(inFirst+"mountinfo", "52 109", "999 52 254:0 /usr /usr ro,nosuid,nodev,relatime - ext4 /dev/vda rw\n52 109")
		}, []string{"mounts: /usr"}},
		{"mounts that can't be read", func(tr tree, _ *audit) { tr.replace(inFirst+"mountinfo", " - ext4", " ext4") },
			[]string{"mounts: all", "files: of the host in /proc", "files: root of each process", "files: cwd of each process", "descriptors: of the host"}},

		{"a file system below what the host shows", func(tr tree, a *audit) {
			a.Mounts[1].Source = "/usr"
			a.inside.(shown)["/usr"] = mustLook(tr.t, "/usr")
			tr.replace(inFirst+"mountinfo", "52 109", "999 52 254:7 / /usr/local ro,nosuid,nodev - ext4 /dev/vdb rw\n52 109")
			tr.replace("proc/self/mountinfo", "27 1", "40 27 254:7 / /usr/local rw - ext4 /dev/vdb rw\n27 1")
		}, nil},
		{"one that the host has not", func(tr tree, a *audit) {
			a.Mounts[1].Source = "/usr"
			a.inside.(shown)["/usr"] = mustLook(tr.t, "/usr")
			tr.replace(inFirst+"mountinfo", "52 109", "999 52 254:8 / /usr/local ro,nosuid,nodev - ext4 /dev/vdb rw\n52 109")
			tr.replace("proc/self/mountinfo", "27 1", "40 27 254:7 / /usr/local rw - ext4 /dev/vdb rw\n27 1")
		}, []string{"mounts: others"}},
		{"one that can be written", func(tr tree, a *audit) {
			a.Mounts[1].Source = "/usr"
			a.inside.(shown)["/usr"] = mustLook(tr.t, "/usr")
			tr.replace(inFirst+"mountinfo", "52 109", "999 52 254:7 / /usr/local rw,nosuid,nodev - ext4 /dev/vdb rw\n52 109")
			tr.replace("proc/self/mountinfo", "27 1", "40 27 254:7 / /usr/local rw - ext4 /dev/vdb rw\n27 1")
		}, []string{"mounts: others"}},
		{"another folder", func(tr tree, a *audit) {
			a.Mounts[1].Source = "/usr"
			a.inside.(shown)["/usr"] = mustLook(tr.t, "/etc")
		}, []string{"mounts: /usr shows"}},
		{"no such folder any more", func(_ tree, a *audit) { a.Mounts[1].Source = "/usr/none" }, []string{"mounts: /usr shows"}},
		{"a folder that belongs to the host's root", func(tr tree, a *audit) {
			a.Mounts[3].Source = tr.root
			a.inside.(shown)["/srv/one"] = mustLook(tr.t, tr.root)
		}, []string{"mounts: /srv/one belongs to"}},

		{"a file of the host", func(_ tree, a *audit) { a.inside.(shown)["/proc/kallsyms"] = entry{mode: unix.S_IFREG} }, []string{"files: of the host in /proc", "mounts: others"}},
		{"a folder of the host", func(_ tree, a *audit) {
			a.inside.(shown)["/proc/bus"] = entry{mode: unix.S_IFDIR, mounted: true}
		}, []string{"files: of the host in /proc", "mounts: others"}},
		{"a mask that can be written", func(tr tree, a *audit) { tr.replace(inFirst+"mountinfo", "/proc/keys ro,", "/proc/keys rw,") }, []string{"files: of the host in /proc", "mounts: others"}},
		{"another file in the mask's place", func(_ tree, a *audit) {
			a.inside.(shown)["/proc/keys"] = entry{mode: unix.S_IFREG, mounted: true}
		}, []string{"files: of the host in /proc", "mounts: others"}},
		{"the null device as a mask", func(_ tree, a *audit) {
			a.inside.(shown)["/proc/keys"] = entry{mode: unix.S_IFCHR, number: unix.Mkdev(1, 3), mounted: true}
		}, nil},
		{"another device as a mask", func(_ tree, a *audit) {
			a.inside.(shown)["/proc/keys"] = entry{mode: unix.S_IFCHR, number: unix.Mkdev(1, 1), mounted: true}
		}, []string{"files: of the host in /proc", "mounts: others"}},
		{"a mask of /proc itself", func(tr tree, a *audit) {
			tr.replace(inFirst+"mountinfo", "/proc/keys ro,nosuid,nodev,noexec,relatime - ext4", "/proc/keys ro,nosuid,nodev,noexec,relatime - proc")
		},
			[]string{"files: of the host in /proc", "mounts: others"}},
		{"a hidden path", func(tr tree, a *audit) {
			a.Profile.Filesystem.Hidden = []string{"/usr/src", "/usr/absent"}
			a.inside.(shown)["/usr/src"] = entry{mode: unix.S_IFDIR, mounted: true, empty: true}
			tr.replace(inFirst+"mountinfo", "52 109", "999 52 254:8 /empty /usr/src ro,nosuid,nodev - ext4 /dev/vdb rw\n52 109")
		}, nil},
		{"a surplus device", func(_ tree, a *audit) { a.inside.(shown)["/dev/mem"] = entry{} }, []string{"files: surplus in /dev"}},
		{"another device", func(_ tree, a *audit) {
			a.inside.(shown)["/dev/null"] = entry{mode: unix.S_IFCHR, number: unix.Mkdev(1, 1)}
		}, []string{"files: /dev/null"}},
		{"something in the root", func(_ tree, a *audit) { a.inside.(shown)["/root"] = entry{} }, []string{"files: surplus in /"}},
		{"a launcher of the server's", func(_ tree, a *audit) {
			a.inside.(shown)["/run/mcp-gateway-launch"] = entry{mode: unix.S_IFREG | 0o755, uid: 1073808360}
		}, []string{"files: first program can be changed by"}},
		{"a hidden path that shows", func(_ tree, a *audit) { a.Profile.Filesystem.Hidden = []string{"/usr"} }, []string{"files: /usr"}},

		{"core files", func(tr tree, _ *audit) {
			tr.replace(inServer+"limits", "core file size        0                    0 ", "core file size        0                    1 ")
		}, []string{"limits of each process: core file size"}},
		{"more open files", func(tr tree, _ *audit) { tr.replace(inServer+"limits", "4096", "8192") }, []string{"limits of each process: open files"}},
		{"unlimited locked memory", func(tr tree, _ *audit) {
			tr.replace(inServer+"limits", "65536                65536", "65536                unlimited")
		}, []string{"limits of each process: locked memory"}},
		{"an odd line", func(tr tree, _ *audit) { tr.replace(inServer+"limits", "Max core", "Min core") }, []string{"processes: can be read", "limits of each process: open files", more}},

		{"more memory", func(tr tree, _ *audit) {
			tr.write("sys/fs/cgroup/memory/"+cgroup+"memory.limit_in_bytes", "1073741824\n")
		}, []string{"limits of the sandbox: memory"}},
		{"no count of swap, and none", func(tr tree, _ *audit) {
			tr.remove("sys/fs/cgroup/memory/" + cgroup + "memory.memsw.limit_in_bytes")
			tr.write("proc/swaps", "Filename Type Size Used Priority\n")
		}, nil},
		{"no count of swap, and some", func(tr tree, _ *audit) {
			tr.remove("sys/fs/cgroup/memory/" + cgroup + "memory.memsw.limit_in_bytes")
			tr.write("proc/swaps", "Filename Type Size Used Priority\n/dev/vdb partition 1 0 -2\n")
		}, []string{"limits of the sandbox: memory and swap"}},
		{"swap", func(tr tree, _ *audit) {
			tr.write("sys/fs/cgroup/memory/"+cgroup+"memory.memsw.limit_in_bytes", "9223372036854771712\n")
		}, []string{"limits of the sandbox: memory and swap"}},
		{"more CPU", func(tr tree, _ *audit) { tr.write("sys/fs/cgroup/cpu/"+cgroup+"cpu.cfs_quota_us", "-1\n") }, []string{"limits of the sandbox: cpu"}},
		{"more processes", func(tr tree, _ *audit) { tr.write("sys/fs/cgroup/pids/"+cgroup+"pids.max", "max\n") }, []string{"limits of the sandbox: processes"}},
		{"a limit that can't be read", func(tr tree, _ *audit) { tr.remove("sys/fs/cgroup/pids/" + cgroup + "pids.max") }, []string{"limits of the sandbox: processes"}},
		{"another device allowed", func(tr tree, _ *audit) { tr.write("sys/fs/cgroup/devices/"+cgroup+"devices.list", "a *:* rwm\n") }, []string{"limits of the sandbox: devices"}},
		{"a process outside of its cgroup", func(tr tree, _ *audit) {
			tr.replace(inServer+"cgroup", "8:pids:/mcp-gateway-7460/project-default/one-2", "8:pids:/")
		}, []string{"limits of the sandbox: cgroup of each process"}},
		{"a cgroup that limits nothing of it", func(tr tree, _ *audit) {
			for _, pid := range []string{first, server} {
				tr.replace("proc/"+pid+"/cgroup", "8:pids:", "4:blkio:/\n3:cpuset,name=systemd:/\n8:pids:")
			}
		}, nil},
		{"no cgroup for its i/o", func(tr tree, a *audit) {
			for _, pid := range []string{first, server} {
				tr.replace("proc/"+pid+"/cgroup", "8:pids:", "4:blkio:/\n3:cpuset,name=systemd:/\n8:pids:")
			}
			a.Profile.Limits.IOMax = []profile.IOMax{{Device: "/dev/none"}}
		}, []string{"limits of the sandbox: cgroup", "limits of the sandbox: i/o of /dev/none", "limits of the sandbox: strangers in its cgroup"}},
		{"a cgroup of another", func(tr tree, _ *audit) {
			for _, pid := range []string{first, server} {
				tr.replace("proc/"+pid+"/cgroup", "8:pids:/mcp-gateway-7460/project-default/one-2", "8:pids:/mcp-gateway-7460/project-default/two-1")
			}
			tr.write("sys/fs/cgroup/pids/mcp-gateway-7460/project-default/two-1/pids.max", "256\n")
			tr.write("sys/fs/cgroup/pids/mcp-gateway-7460/project-default/two-1/cgroup.procs", "7482\n7514\n")
		}, []string{"limits of the sandbox: cgroup"}},
		{"a stranger", func(tr tree, _ *audit) { tr.write("sys/fs/cgroup/memory/"+cgroup+"cgroup.procs", "7482\n7514\n7460\n") }, []string{"limits of the sandbox: strangers in its cgroup"}},
		{"i/o without limit", func(_ tree, a *audit) {
			a.Profile.Limits.IOMax = []profile.IOMax{{Device: "/dev/null", WriteBPS: 1 << 20}}
		},
			[]string{"limits of the sandbox: i/o of /dev/null, wbps", "limits of the sandbox: i/o of /dev/null, riops", "limits of the sandbox: i/o of /dev/null, wiops"}},

		{"the host's network, as it is meant", func(tr tree, a *audit) {
			a.Profile.Network.Mode = "host"
			a.Profile.Namespaces.Private = slices.DeleteFunc(a.Profile.Namespaces.Private, func(name string) bool { return name == "net" })
			tr.write("proc/7460/ns/net.link", "net:[4026532195]")
			tr.remove(inFirst + "net/dev")
		}, nil},
		{"not the host's network", func(_ tree, a *audit) {
			a.Profile.Network.Mode = "host"
			a.Profile.Namespaces.Private = nil
		}, []string{"network: namespace"}},
		{"an interface", func(tr tree, _ *audit) { tr.replace(inFirst+"net/dev", "    lo:", "  eth0:       0       0\n    lo:") }, []string{"network: interfaces"}},
		{"a tunnel of the kernel's", func(tr tree, _ *audit) {
			tr.replace(inFirst+"net/dev", "    lo:", "  sit0:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0\n    lo:")
		}, nil},
		{"a tunnel that is used", func(tr tree, _ *audit) {
			tr.replace(inFirst+"net/dev", "    lo:", "  sit0:       0       0    0    1\n    lo:")
		}, []string{"network: interfaces"}},
		{"a route", func(tr tree, _ *audit) {
			tr.replace(inFirst+"net/route", "Iface", "Iface\neth0\t00000000\t0100000A\nIface")
		}, []string{"network: routes to elsewhere"}},
		{"a packet socket", func(tr tree, _ *audit) {
			tr.replace(inFirst+"net/packet", "Inode", "Inode\n0000 3 3 0003 2 1 0 0 4711")
		}, []string{"network: packet sockets"}},
		{"a netlink socket", func(tr tree, _ *audit) {
			tr.replace(inFirst+"net/netlink", "Inode", "Inode\n0000 12 4711 0 0 0 0 2 0 4711")
		}, []string{"network: netlink sockets but of routes"}},
		{"a table that can't be read", func(tr tree, _ *audit) { tr.remove(inFirst + "net/dev") }, []string{"network: interfaces"}},

		{"a file of the host's", func(tr tree, a *audit) {
			tr.write(inServer+"fd/7.link", "/etc/shadow")
			a.showing("/fd/7", entry{mount: 27})
		}, []string{"descriptors: of the host"}},
		{"a pipe of the host's", func(tr tree, _ *audit) { tr.write(inServer+"fd/7.link", "pipe:[4711]") }, []string{"descriptors: of the host"}},
		{"memory of the host's", func(tr tree, a *audit) {
			tr.write(inServer+"fd/7.link", "/memfd:secret (deleted)")
			a.showing("/fd/7", entry{mount: 1})
		}, []string{"descriptors: of the host"}},
		{"its own memory", func(tr tree, a *audit) {
			tr.write(inServer+"fd/7.link", "/memfd:own (deleted)")
			a.showing("/fd/7", entry{mount: 1, uid: 1073808360})
		}, nil},
		{"its own pipe", func(tr tree, a *audit) {
			tr.write(inServer+"fd/7.link", "pipe:[4711]")
			a.showing("/fd/7", entry{uid: 1073808360})
		}, nil},
		{"its own sockets", func(_ tree, a *audit) {
			a.socketOf = func(int, int) (socket, error) {
				return socket{domain: unix.AF_INET6, kind: unix.SOCK_DGRAM, namespace: "net:[4026532195]"}, nil
			}
		}, nil},
		{"a folder of the host's", func(_ tree, a *audit) { a.showing("/7514/cwd", entry{mount: 27}) }, []string{"files: cwd of each process"}},
		{"a program's descriptor", func(tr tree, _ *audit) { tr.write(inServer+"fd/7.link", "anon_inode:bpf-prog") }, []string{"descriptors: of the host"}},
		{"its own process", func(tr tree, _ *audit) {
			tr.write(inServer+"fd/7.link", "anon_inode:[pidfd]")
			tr.write(inServer+"fdinfo/7", "Pid:\t7514\n")
		}, nil},
		{"a process that has ended", func(tr tree, _ *audit) {
			tr.write(inServer+"fd/7.link", "pidfd:[12]")
			tr.write(inServer+"fdinfo/7", "Pid:\t-1\n")
		}, nil},
		{"a socket for routes", func(_ tree, a *audit) {
			a.socketOf = func(int, int) (socket, error) {
				return socket{domain: unix.AF_NETLINK, kind: unix.SOCK_RAW, protocol: unix.NETLINK_ROUTE, namespace: "net:[4026532195]"}, nil
			}
		}, nil},
		{"a socket for firewall rules", func(_ tree, a *audit) {
			a.socketOf = func(int, int) (socket, error) {
				return socket{domain: unix.AF_NETLINK, kind: unix.SOCK_RAW, protocol: unix.NETLINK_NETFILTER, namespace: "net:[4026532195]"}, nil
			}
		}, []string{"descriptors: of the host"}},
		{"a raw socket that is open", func(_ tree, a *audit) {
			a.socketOf = func(int, int) (socket, error) {
				return socket{domain: unix.AF_INET, kind: unix.SOCK_RAW, namespace: "net:[4026532195]"}, nil
			}
		}, []string{"descriptors: of the host"}},
		{"a process of the host's", func(tr tree, _ *audit) {
			tr.write(inServer+"fd/7.link", "anon_inode:[pidfd]")
			tr.write(inServer+"fdinfo/7", "Pid:\t7460\n")
		}, []string{"descriptors: of the host"}},
		{"a socket of the host's", func(_ tree, a *audit) {
			a.socketOf = func(int, int) (socket, error) {
				return socket{domain: unix.AF_INET, kind: unix.SOCK_STREAM, namespace: "net:[1]"}, nil
			}
		}, []string{"descriptors: of the host"}},
		{"a packet socket that is open", func(_ tree, a *audit) {
			a.socketOf = func(int, int) (socket, error) {
				return socket{domain: unix.AF_PACKET, namespace: "net:[4026532195]"}, nil
			}
		}, []string{"descriptors: of the host"}},
		{"too many streams", func(tr tree, _ *audit) {
			for fd, inode := range map[string]string{"0": "1", "1": "2", "2": "3"} {
				tr.write(inFirst+"fd/"+fd+".link", "pipe:["+inode+"]")
			}
		}, []string{"descriptors: streams of the host"}},
		{"no lifeline", func(tr tree, _ *audit) { tr.write(inFirst+"fd/4.link", "/dev/null") }, []string{"descriptors: lifeline of the first process"}},
		{"a filter that can be written", func(tr tree, _ *audit) { tr.replace(inFirst+"fdinfo/3", "02100000", "02100002") }, []string{"descriptors: filter of the first process"}},

		{"a variable more", func(tr tree, _ *audit) { tr.replace(environment, "USER=", "TOKEN=hush\x00USER=") }, []string{"environment: surplus variables"}},
		{"an environment of the launcher's own", func(tr tree, _ *audit) { tr.write(inFirst+"environ", "HOME=/\x00GODEBUG=x\x00") }, []string{"environment: of the first process"}},
		{"an environment of the host's", func(tr tree, _ *audit) { tr.write(inFirst+"fd/5.link", tr.path(inFirst+"environ")) }, []string{"descriptors: environment of the first process", "environment: missing variables"}},
		{"a variable less", func(_ tree, a *audit) { a.Environment = append(a.Environment, "API_KEY") }, []string{"environment: missing variables"}},
	}
	made := newTree(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := made.lentTo(t)
			a := newAudit(tr)
			tt.plant(tr, a)
			findings := run(t, a)
			got := differences(findings)
			slices.Sort(got)
			slices.Sort(tt.want)
			if slices.Contains(tt.want, more) {
				got = slices.DeleteFunc(append(got, more), func(name string) bool { return !slices.Contains(tt.want, name) })
				slices.Sort(got)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			for _, f := range findings {
				if f.Difference() && f.Points <= 0 {
					t.Errorf("%s: %s differs and has %v points", f.Section, f.Fact, f.Points)
				}
				if strings.Contains(f.Got, "hush") {
					t.Errorf("%s: %s shows a value", f.Section, f.Fact)
				}
			}
		})
	}
}
