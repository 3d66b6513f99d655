package profile

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	moby "github.com/moby/profiles/seccomp"
)

func shippedSet(t *testing.T) *Set {
	t.Helper()
	set, _, err := load(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// everyKey sets every key to something else than the default profile.
const everyKey = `
description = "with \"quotes\", \\ and é"
allow_weaker = true
[filesystem]
image = "host"
mounts = [{source = "/usr/share", target = "/a b", access = "ro", noexec = true}, {source = "/srv/none", target = "/c", access = "rw", noexec = true}]
directories = "ro"
tmpfs = [{target = "/d:e", size = "64K"}]
tmp_size = 4097
shm_size = "1M"
hidden = ["/usr/share"]
[network]
mode = "allow"
allow = ["a.example.com:443", "[2001:db8::1]:80"]
private = ["10.0.0.0/8"]
max_connections = 5
connections_per_second = 0.5
[syscalls]
base = "@node"
plus = ["ptrace"]
minus = ["@chown"]
action = "kill"
audit_only = true
[namespaces]
private = ["cgroup", "uts", "ipc", "net", "pid", "mount", "user"]
ids = 4096
[limits]
memory_max = "1G"
memory_high = "512M"
swap_max = "1M"
cpu_max = 1.5
cpu_weight = 1
pids_max = 7
io_max = [{device = "/dev/sda", read_bps = "1M", write_bps = 0, read_iops = 5, write_iops = 0}]
[rlimits]
core = 1
nofile = 100
memlock = 1
msgqueue = 1
fsize = "1G"
stack = "1M"
[environment]
pass = ["A"]
[time]
run = "90s"
cpu = "1h"
[landlock]
mode = "off"
read = ["/usr"]
[lsm]
apparmor = "a b"
selinux = "c:d"
`

// What Text writes loads to the same profile, and Lines has every key of it.
func TestTextLoadsAgain(t *testing.T) {
	t.Parallel()
	set, _, err := load(t, map[string]string{"every.toml": everyKey})
	if err != nil {
		t.Fatal(err)
	}
	every, _ := set.Get("every")
	root, _ := set.Get("default")
	if got, want := len(Diff(root, every)), len(schema())-2; got != want { // there is one image, and no capability
		t.Fatalf("every key: got %d that differ, want %d: set the others, too", got, want)
	}
	for _, name := range set.Names() {
		e, _ := set.Get(name)
		again, dir, err := load(t, map[string]string{"again.toml": e.Text()})
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, e.Text())
			continue
		}
		a, _ := again.Get("again")
		if !reflect.DeepEqual(a.Profile, e.Profile) || a.Description != e.Description {
			t.Errorf("%s: got %+v, want %+v", name, a.Profile, e.Profile)
		}
		for i, line := range a.Lines() {
			if want := e.Lines()[i]; line.Key != want.Key || line.Value != want.Value || !strings.HasPrefix(line.Origin, dir) {
				t.Errorf("%s: got %+v, want %+v from the file", name, line, want)
			}
		}
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	set := shippedSet(t)
	strict, _ := set.Get("strict")
	client, _ := set.Get("network-client")
	changes := Diff(strict, client)
	find := func(key string) Change {
		i := slices.IndexFunc(changes, func(c Change) bool { return c.Key == key })
		if i < 0 {
			t.Fatalf("got %+v, want %s in it", changes, key)
		}
		return changes[i]
	}
	for _, want := range []Change{
		{"network.mode", `"none"`, `"allow"`, 1}, {"syscalls.base", `"@strict"`, `"@default"`, 1},
		{"limits.memory_max", `"256M"`, "0", 1}, {"limits.cpu_weight", "50", "100", 0},
	} {
		if got := find(want.Key); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	for _, back := range Diff(client, strict) {
		if c := find(back.Key); c.A != back.B || c.B != back.A || c.Weaker != -back.Weaker {
			t.Errorf("backwards: got %+v, want the opposite of %+v", back, c)
		}
	}
	if got := Diff(strict, strict); len(got) != 0 {
		t.Errorf("with itself: got %+v", got)
	}
}

func TestCloneIsAlone(t *testing.T) {
	t.Parallel()
	set := shippedSet(t)
	strict, _ := set.Get("strict")
	clone := strict.Clone()
	clone.Limits.PIDsMax, clone.Origin["limits.pids_max"] = 1, "here"
	if strict.Limits.PIDsMax != 64 || strict.Origin["limits.pids_max"] == "here" {
		t.Error("a change of the clone is one of the profile")
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Size{"0": 0, "1": 1, "1K": 1 << 10, "3M": 3 << 20, "1G": 1 << 30, "8388607T": 8388607 << 40} {
		var got Size
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want || got.String() != text {
			t.Errorf("%s: got %d (%s), %v, want %d", text, got, got, err, want)
		}
	}
	for _, text := range []string{"", "K", "-1", "+1", "1.5M", "1k", "1 M", "1MB", "0x1", "8388608T", "9223372036854775808"} {
		if err := new(Size).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: got no error", text)
		}
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	known := callNames()
	for name, calls := range groups {
		for _, call := range calls {
			if !slices.Contains(known, call) {
				t.Errorf("%s: there is no call %q", name, call)
			}
		}
	}
	for _, tt := range []struct {
		name        string
		calls       Syscalls
		plus, minus []string
	}{
		{"default", Syscalls{Base: "@default"}, nil, nil},
		{"single", Syscalls{Base: "@default", Plus: []string{"ptrace"}, Minus: []string{"sync"}}, []string{"ptrace"}, []string{"sync"}},
		{"group", Syscalls{Base: "@default", Minus: []string{"@sync", "sync"}}, nil, []string{"sync", "syncfs"}},
		{"back", Syscalls{Base: "@default", Plus: []string{"sync"}, Minus: []string{"@sync"}}, nil, []string{"syncfs"}},
		{"group back", Syscalls{Base: "@default", Plus: []string{"@sync"}, Minus: []string{"@sync", "@memlock", "mlock"}}, nil, groups["@memlock"]},
	} {
		plus, minus, err := tt.calls.Resolve()
		slices.Sort(tt.minus)
		if err != nil || !slices.Equal(plus, tt.plus) || !slices.Equal(minus, tt.minus) {
			t.Errorf("%s: got %q, %q, %v, want %q, %q", tt.name, plus, minus, err, tt.plus, tt.minus)
		}
	}
	for _, bad := range []Syscalls{{Base: "@no"}, {Base: "@default", Plus: []string{"no"}}, {Base: "@default", Minus: []string{"@no"}}} {
		if _, _, err := bad.Resolve(); err == nil {
			t.Errorf("%+v: got no error", bad)
		}
	}
}

func TestExposure(t *testing.T) {
	t.Parallel()
	set := shippedSet(t)
	scores := make(map[string]float64)
	for _, name := range set.Names() {
		e, _ := set.Get(name)
		scores[name], _ = Exposure(e.Profile)
	}
	if s := scores["strict"]; s == 0 || s >= 0.7 {
		t.Errorf("strict: got %v, want well below 1, and not nothing", s)
	}
	if !(scores["strict"] < scores["node"] && scores["node"] < scores["default"] && scores["default"] < scores["network-client"]) {
		t.Errorf("got %v, want strict < node < default < network-client", scores)
	}
	open := Profile{
		Filesystem: Filesystem{Directories: "rw", Mounts: []Mount{{Access: "rw"}, {Access: "rw"}, {Access: "rw"}, {Access: "ro"}}},
		Network:    Network{Mode: "host"}, Syscalls: Syscalls{Base: defaultCalls, AuditOnly: true, Plus: []string{"bpf", "setns", "mount", "ptrace"}},
		Rlimits: Rlimits{Core: 1, MemLock: 1 << 30, MsgQueue: 1}, Limits: Limits{SwapMax: 1}, Landlock: Landlock{Mode: "off"},
		Environment: Environment{Pass: []string{"A", "B", "C"}},
	}
	if score, _ := Exposure(open); score != 10 {
		t.Errorf("everything open: got %v, want 10", score)
	}
	closed := Profile{
		Filesystem: Filesystem{Directories: "none"}, Network: Network{Mode: "none"}, Syscalls: Syscalls{Base: "@strict", Action: "kill"},
		Limits:  Limits{MemoryMax: 1, CPUMax: 1, PIDsMax: 1, IOMax: []IOMax{{}}},
		Rlimits: Rlimits{FSize: 1}, Time: Time{Run: 1}, Landlock: Landlock{Mode: "required"}, LSM: LSM{AppArmor: "a"},
	}
	if score, reasons := Exposure(closed); score != 0 || len(reasons) != 0 {
		t.Errorf("everything closed: got %v, %+v", score, reasons)
	}
	// Whatever of these changes makes a profile more exposed, with a reason that
	// names the key.
	for key, change := range map[string]func(p *Profile){
		"filesystem.directories": func(p *Profile) { p.Filesystem.Directories = "ro" },
		"filesystem.mounts":      func(p *Profile) { p.Filesystem.Mounts = []Mount{{Access: "ro"}, {Access: "ro"}} },
		"network.mode":           func(p *Profile) { p.Network.Mode = "allow" },
		"network.allow":          func(p *Profile) { p.Network.Allow = []string{"*.a.example:1"} },
		"network.private":        func(p *Profile) { p.Network.Private = []string{"10.0.0.0/8"} },
		"syscalls.base":          func(p *Profile) { p.Syscalls.Base = "@node" },
		"syscalls.plus":          func(p *Profile) { p.Syscalls.Plus = []string{"ptrace"} },
		"syscalls.action":        func(p *Profile) { p.Syscalls.Action = "errno" },
		"syscalls.audit_only":    func(p *Profile) { p.Syscalls.AuditOnly = true },
		"limits.memory_max":      func(p *Profile) { p.Limits.MemoryMax = 0 },
		"limits.swap_max":        func(p *Profile) { p.Limits.SwapMax = 1 },
		"limits.cpu_max":         func(p *Profile) { p.Limits.CPUMax = 0 },
		"limits.pids_max":        func(p *Profile) { p.Limits.PIDsMax = 0 },
		"limits.io_max":          func(p *Profile) { p.Limits.IOMax = nil },
		"rlimits.core":           func(p *Profile) { p.Rlimits.Core = 1 },
		"rlimits.fsize":          func(p *Profile) { p.Rlimits.FSize = 0 },
		"rlimits.memlock":        func(p *Profile) { p.Rlimits.MemLock = 1 << 30 },
		"rlimits.msgqueue":       func(p *Profile) { p.Rlimits.MsgQueue = 1 },
		"time.run":               func(p *Profile) { p.Time.Run = 0 },
		"environment.pass":       func(p *Profile) { p.Environment.Pass = []string{"A"} },
		"landlock.mode":          func(p *Profile) { p.Landlock.Mode = "available" },
		"lsm.apparmor":           func(p *Profile) { p.LSM.AppArmor = "" },
	} {
		p := closed
		change(&p)
		score, reasons := Exposure(p)
		if score == 0 || !slices.ContainsFunc(reasons, func(r Reason) bool { return r.Key == key && r.Points > 0 && r.Text != "" }) {
			t.Errorf("%s: got %v for %+v", key, score, reasons)
		}
	}
}

// A third party's judgement, and its parser's: systemd knows every directive.
func TestUnitScores(t *testing.T) {
	t.Parallel()
	set, _, err := load(t, map[string]string{"every.toml": everyKey})
	if err != nil {
		t.Fatal(err)
	}
	for name, most := range map[string]float64{"strict": 1.0, "node": 1.5, "default": 2, "every": 10} {
		e, _ := set.Get(name)
		file := filepath.Join(t.TempDir(), "x.service")
		if err := os.WriteFile(file, []byte(Unit(e, "/bin/true")), 0o600); err != nil {
			t.Fatal(err)
		}
		output, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=true", file).CombinedOutput()
		if err != nil {
			t.Fatalf("systemd-analyze: %v: %s", err, output)
		}
		found := regexp.MustCompile(`Overall exposure level for x\.service: ([0-9.]+)`).FindSubmatch(output)
		if found == nil {
			t.Fatalf("%s: got %s, want a score", name, output)
		}
		if score, _ := strconv.ParseFloat(string(found[1]), 64); score > most {
			t.Errorf("%s: got %v, want at most %v", name, score, most)
		}
		// Calls that are newer than this systemd are no mistake.
		for _, line := range regexp.MustCompile(`(?m)^/.*: .*$`).FindAllString(string(output), -1) {
			if !strings.Contains(line, "Failed to parse system call, ignoring: ") {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
}

// What the unit says is refused is: no call of those groups is in the list that
// the default set is made of, but for what the sandbox removes from it.
func TestUnitRefusesOnlyWhatIsRefused(t *testing.T) {
	t.Parallel()
	allowed := make(map[string]bool)
	for _, rule := range moby.DefaultProfile().Syscalls {
		only := rule.Includes
		if rule.Action != "SCMP_ACT_ALLOW" || only != nil && (len(only.Caps) > 0 || len(only.Arches) > 0 && !slices.Contains(only.Arches, runtime.GOARCH)) {
			continue
		}
		for _, name := range rule.Names {
			allowed[name] = true
		}
	}
	if !allowed["openat"] {
		t.Fatal("the list is not as it is read here")
	}
	removed := []string{"ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "modify_ldt"}
	output, err := exec.CommandContext(t.Context(), "systemd-analyze", append([]string{"syscall-filter"}, strings.Fields(refusedGroups)...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	names := append(strings.Fields(refusedCalls), regexp.MustCompile(`(?m)^    [a-z_0-9]+$`).FindAllString(string(output), -1)...)
	if len(names) < 90 {
		t.Fatalf("got %d names, want those of the groups, too: %s", len(names), output)
	}
	for _, name := range names {
		if name = strings.TrimSpace(name); allowed[name] && !slices.Contains(removed, name) {
			t.Errorf("%s is not refused", name)
		}
	}
}
