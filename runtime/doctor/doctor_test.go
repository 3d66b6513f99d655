package doctor

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// kernel is one that has all but what is named.
type kernel struct {
	release  string
	landlock int
	lacks    map[Feature]error
}

func (k kernel) Release() string           { return k.release }
func (k kernel) Landlock() int             { return k.landlock }
func (k kernel) Try(feature Feature) error { return k.lacks[feature] }

const (
	v2Mounts = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
	v1Mounts = "26 24 0:25 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n" +
		"27 26 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n" +
		"28 26 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
		"29 26 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n" +
		"31 26 0:29 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n" +
		"32 26 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
	hybridMounts = v1Mounts + "33 26 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
	swapping     = "Filename\tType\tSize\tUsed\tPriority\n/dev/sda2 partition 1 0 -2\n"
)

// host makes a root folder of files; one whose content is "-" is not made.
func host(t *testing.T, files map[string]string) Host {
	t.Helper()
	root := t.TempDir()
	all := map[string]string{
		"etc/os-release": "NAME=Debian\nID=debian\n", "etc/passwd": "root:x:0:0::/:/bin/sh\nmcp-gateway:x:998:998::/:/sbin/nologin\n",
		"run/systemd/system/x": "", "proc/pressure/memory": "some", "proc/swaps": "Filename\n",
		"proc/self/limits":                  "Max open files            1024                 1048576              files     \n",
		"proc/sys/user/max_user_namespaces": "15000\n",
		"proc/self/mountinfo":               v2Mounts, "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory hugetlb pids\n",
		"sys/fs/cgroup/init.scope/cgroup.procs": "1\n", "sys/fs/cgroup/init.scope/cgroup.kill": "", "sys/fs/cgroup/init.scope/memory.max": "max\n",
		"sys/fs/cgroup/init.scope/memory.oom.group": "0\n",
	}
	for _, kind := range []string{"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"} {
		all["proc/self/ns/"+kind] = ""
	}
	maps.Copy(all, files)
	for name, content := range all {
		if content == "-" {
			continue
		}
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Host{Root: root, Kernel: kernel{release: "6.12.1", landlock: 6}, UIDPool: Range{1 << 20, 1 << 20}, Proxy: "mcp-gateway"}
}

func TestExamine(t *testing.T) {
	t.Parallel()
	boot := "systemd.unified_cgroup_hierarchy=1 cgroup_no_v1=all"
	tests := []struct {
		name   string
		files  map[string]string
		kernel *kernel
		want   []string // "state check: what", and what to do after "→", each a part of one finding
		bad    []State  // of what is not ok, in any order
	}{
		{name: "cgroup v2", want: []string{"ok mode: version 2 at /sys/fs/cgroup, with cpuset, cpu, io, memory, hugetlb, pids", "ok memory controller: version 2, at /sys/fs/cgroup", "ok cgroup.kill: "}},
		{
			name:  "cgroup v1 only",
			files: map[string]string{"proc/self/mountinfo": v1Mounts},
			want: []string{
				"warning mode: version 1 only, which holds memory, cpu, pids, blkio; version 2 is not mounted → add " + boot + " to GRUB_CMDLINE_LINUX in /etc/default/grub, run update-grub",
				"ok memory controller: version 1, at /sys/fs/cgroup/memory", "note pressure (PSI): only of the whole host",
			},
			bad: []State{Warning, Note},
		},
		{
			name:  "hybrid",
			files: map[string]string{"proc/self/mountinfo": hybridMounts, "sys/fs/cgroup/unified/cgroup.controllers": "hugetlb\n", "etc/os-release": "ID=fedora\n"},
			want: []string{
				"warning mode: hybrid: version 2 is mounted at /sys/fs/cgroup/unified with hugetlb, version 1 holds memory, cpu, pids, blkio → grubby --update-kernel=ALL --args=\"" + boot + "\"",
				"ok io controller: version 1, at /sys/fs/cgroup/blkio",
			},
			bad: []State{Warning},
		},
		{
			name:  "hybrid with an empty version 2",
			files: map[string]string{"proc/self/mountinfo": hybridMounts, "etc/os-release": "-"},
			want:  []string{"warning mode: hybrid: version 2 is mounted at /sys/fs/cgroup/unified with no controllers, version 1 holds → boot the kernel with " + boot},
			bad:   []State{Warning},
		},
		{
			name: "memory in version 2 while others are in version 1",
			files: map[string]string{
				"proc/self/mountinfo":                      strings.ReplaceAll(hybridMounts, "28 26 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", ""),
				"sys/fs/cgroup/unified/cgroup.controllers": "memory\n",
			},
			want: []string{"missing memory controller: version 2 has it at /sys/fs/cgroup/unified, but other controllers are of version 1 → " + boot},
			bad:  []State{Warning, Missing},
		},
		{
			name:  "memory turned off",
			files: map[string]string{"sys/fs/cgroup/cgroup.controllers": "cpu io pids\n", "proc/cmdline": "quiet cgroup_disable=memory ro\n"},
			want:  []string{"missing memory controller: the kernel's command line turns it off (cgroup_disable=memory) → take cgroup_disable=memory off"},
			bad:   []State{Missing},
		},
		{
			name:  "memory off by default",
			files: map[string]string{"sys/fs/cgroup/cgroup.controllers": "cpu io pids\n", "proc/cgroups": "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t0\t1\t0\n"},
			want:  []string{"missing memory controller: the kernel has it, and it is off → cgroup_enable=memory"},
			bad:   []State{Missing},
		},
		{
			name:  "no io",
			files: map[string]string{"sys/fs/cgroup/cgroup.controllers": "cpu memory pids\n"},
			want:  []string{"note io controller: neither version of control groups has it: limits.io_max can't be used → CONFIG_BLK_CGROUP"},
			bad:   []State{Note},
		},
		{
			name:  "version 2 elsewhere",
			files: map[string]string{"proc/self/mountinfo": "33 26 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n", "sys/fs/cgroup/unified/cgroup.controllers": "cpu io memory pids\n"},
			want:  []string{"missing mode: version 2 is mounted at /sys/fs/cgroup/unified, and nothing at /sys/fs/cgroup → systemd.unified_cgroup_hierarchy=1"},
			bad:   []State{Missing},
		},
		{
			name:  "no cgroups",
			files: map[string]string{"proc/self/mountinfo": "1 1 0:1 / / rw - ext4 /dev/sda rw\n"},
			want:  []string{"missing mode: no control groups are mounted → mount -t cgroup2", "missing memory controller", "missing cpu controller", "missing pids controller", "note io controller"},
			bad:   []State{Missing, Missing, Missing, Missing, Note, Note},
		},
		{
			name:  "not delegated",
			files: map[string]string{"sys/fs/cgroup/system.slice/mcp-gatewayd.service/cgroup.controllers": "cpu pids\n"},
			want:  []string{"missing delegation: mcp-gatewayd.service was not given memory, io → Delegate=cpu memory pids io"},
			bad:   []State{Missing},
		},
		{
			name:  "swap that is not counted",
			files: map[string]string{"proc/self/mountinfo": hybridMounts, "proc/swaps": swapping},
			want:  []string{"missing swap: the host swaps, and its memory controller can't limit swap → swapaccount=1"},
			bad:   []State{Warning, Missing},
		},
		{
			name:  "swap that is counted",
			files: map[string]string{"proc/self/mountinfo": hybridMounts, "proc/swaps": swapping, "sys/fs/cgroup/memory/memory.memsw.limit_in_bytes": "1\n"},
			want:  []string{"ok swap: the host swaps, and servers' swap is limited"},
			bad:   []State{Warning},
		},
		{
			name:   "old kernel",
			kernel: &kernel{release: "5.4.0-150-generic", lacks: map[Feature]error{Openat2: errors.New("function not implemented"), IDMapped: errors.New("function not implemented")}},
			files:  map[string]string{"etc/os-release": "ID=ubuntu\n", "sys/fs/cgroup/init.scope/cgroup.kill": "-"},
			want: []string{
				"missing version: Linux 5.4.0-150-generic is too old: 5.15 or newer is needed → linux-generic-hwe",
				"missing openat2: not possible (function not implemented)", "warning idmapped mounts: not possible", "warning Landlock: this kernel has none → install Linux 5.13",
				"note cgroup.kill: is not there",
			},
			bad: []State{Missing, Missing, Warning, Warning, Note},
		},
		{
			name:   "no Landlock",
			kernel: &kernel{release: "6.12.1"},
			want:   []string{"warning Landlock: this kernel has none → lsm=landlock"},
			bad:    []State{Warning},
		},
		{
			name:   "older Landlock, untried",
			kernel: &kernel{release: "6.1.0", landlock: 2, lacks: map[Feature]error{IDMapped: ErrUntried}},
			want:   []string{"note Landlock: version 2", "note idmapped mounts: it was not tried → as root", "note version: Linux 6.1.0: allowed directories can't be on tmpfs"},
			bad:    []State{Note, Note, Note},
		},
		{
			name:   "user namespaces forbidden",
			kernel: &kernel{release: "6.12", landlock: 6, lacks: map[Feature]error{UserNamespaces: errors.New("no space left on device")}},
			files:  map[string]string{"proc/sys/user/max_user_namespaces": "0\n", "proc/sys/kernel/unprivileged_userns_clone": "0\n", "proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"},
			want:   []string{"missing how many: user.max_user_namespaces is 0 → sysctl -w", "note kernel.unprivileged_userns_clone: is 0", "note AppArmor's restriction", "missing user namespaces: none can be made: no space left"},
			bad:    []State{Missing, Missing, Note, Note},
		},
		{
			name:  "no network namespaces",
			files: map[string]string{"proc/self/ns/net": "-"},
			want:  []string{"missing kinds: this kernel has no namespaces of net"},
			bad:   []State{Missing},
		},
		{
			name:  "users",
			files: map[string]string{"etc/passwd": "root:x:0:0::/:/bin/sh\n", "etc/subuid": "ana:100000:65536\nb\x1bo:2000000:65536\n"},
			want:  []string{"note proxy's user: there is no user mcp-gateway → useradd", `warning ids of sandboxes: /etc/subuid gives "b\x1bo" ids from 2000000 to 2065535, which are among the sandboxes' own (1048576 to 2097151)`},
			bad:   []State{Note, Warning},
		},
		{
			name: "host",
			files: map[string]string{
				"run/systemd/system/x": "-", "proc/self/limits": "Max open files            1024                 1024              files     \n",
				"proc/self/mountinfo": v2Mounts + "9 1 0:5 / /proc rw - proc proc rw,hidepid=invisible\n", "proc/pressure/memory": "-",
			},
			want: []string{"note systemd: does not run here", "warning open files: a process may have 1024", "warning /proc: is mounted with hidepid", "note pressure (PSI): the kernel keeps none → psi=1"},
			bad:  []State{Note, Note, Warning, Warning},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := host(t, tt.files)
			if tt.kernel != nil {
				h.Kernel = *tt.kernel
			}
			found := Examine(h)
			bad := map[State]int{}
			var lines []string
			for _, f := range found {
				lines = append(lines, string(f.State)+" "+f.Check+": "+f.What+" → "+f.Fix)
				bad[f.State]++
				if (f.State == OK) != (f.Fix == "") {
					t.Errorf("%s: should say what to do just if something is wrong", lines[len(lines)-1])
				}
			}
			for _, want := range tt.want {
				if !said(lines, want) {
					t.Errorf("got\n%s\nwant %s", strings.Join(lines, "\n"), want)
				}
			}
			for _, state := range tt.bad {
				bad[state]--
			}
			delete(bad, OK)
			for state, n := range bad {
				if n != 0 {
					t.Errorf("got\n%s\nwith %d more of %q than expected", strings.Join(lines, "\n"), n, state)
				}
			}
		})
	}
}

// said reports whether one line begins as want does, and has what follows its arrow.
func said(lines []string, want string) bool {
	what, fix, _ := strings.Cut(want, " → ")
	for _, line := range lines {
		saidWhat, saidFix, _ := strings.Cut(line, " → ")
		if strings.HasPrefix(saidWhat, what) && strings.Contains(saidFix, fix) {
			return true
		}
	}
	return false
}

// This host is examined without an error, whatever it has, and by whoever.
func TestThisHost(t *testing.T) {
	t.Parallel()
	found := Examine(Host{Root: "/", Kernel: This{}, UIDPool: Range{0x70000000, 1 << 26}, Proxy: "mcp-gateway"})
	topics := map[string]bool{}
	for _, f := range found {
		topics[f.Topic] = true
		if f.What == "" || f.Check == "" {
			t.Errorf("%+v says nothing", f)
		}
	}
	if len(topics) != 6 {
		t.Errorf("got %v", topics)
	}
	if _, known := parseVersion(This{}.Release()); !known {
		t.Errorf("got release %q", This{}.Release())
	}
}
