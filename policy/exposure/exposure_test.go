package exposure

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	moby "github.com/moby/profiles/seccomp"

	"mcpgateway/policy/profile"
)

func load(t *testing.T, dir string) *profile.Set {
	t.Helper()
	set, err := profile.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestScore(t *testing.T) {
	t.Parallel()
	set := load(t, t.TempDir())
	scores := make(map[string]float64)
	for _, name := range set.Names() {
		e, _ := set.Get(name)
		scores[name], _ = Score(e.Profile)
	}
	if s := scores["strict"]; s == 0 || s >= 0.7 {
		t.Errorf("strict: got %v, want well below 1, and not nothing", s)
	}
	if !(scores["strict"] < scores["node"] && scores["node"] < scores["default"] && scores["default"] < scores["network-client"]) {
		t.Errorf("got %v, want strict < node < default < network-client", scores)
	}
	open := profile.Profile{
		Filesystem: profile.Filesystem{Directories: "rw", Mounts: []profile.Mount{{Access: "rw"}, {Access: "rw"}, {Access: "rw"}, {Access: "ro"}}},
		Network:    profile.Network{Mode: "host"}, Syscalls: profile.Syscalls{Base: "@default", AuditOnly: true, Plus: []string{"bpf", "setns", "mount", "ptrace"}},
		Rlimits: profile.Rlimits{Core: 1, MemLock: 1 << 30, MsgQueue: 1}, Limits: profile.Limits{SwapMax: 1}, Landlock: profile.Landlock{Mode: "off"},
		Environment: profile.Environment{Pass: []string{"A", "B", "C"}},
	}
	if score, _ := Score(open); score != 10 {
		t.Errorf("everything open: got %v, want 10", score)
	}
	closed := profile.Profile{
		Filesystem: profile.Filesystem{Directories: "none"}, Network: profile.Network{Mode: "none"}, Syscalls: profile.Syscalls{Base: "@strict", Action: "kill"},
		Limits:  profile.Limits{MemoryMax: 1, CPUMax: 1, PIDsMax: 1, IOMax: []profile.IOMax{{}}},
		Rlimits: profile.Rlimits{FSize: 1}, Time: profile.Time{Run: 1}, Landlock: profile.Landlock{Mode: "required"}, LSM: profile.LSM{AppArmor: "a"},
	}
	if score, reasons := Score(closed); score != 0 || len(reasons) != 0 {
		t.Errorf("everything closed: got %v, %+v", score, reasons)
	}
	// Whatever of these changes makes a profile more exposed, with a reason that
	// names the key.
	for key, change := range map[string]func(p *profile.Profile){
		"filesystem.directories": func(p *profile.Profile) { p.Filesystem.Directories = "ro" },
		"filesystem.mounts":      func(p *profile.Profile) { p.Filesystem.Mounts = []profile.Mount{{Access: "ro"}, {Access: "ro"}} },
		"network.mode":           func(p *profile.Profile) { p.Network.Mode = "allow" },
		"network.allow":          func(p *profile.Profile) { p.Network.Allow = []string{"*.a.example:1"} },
		"network.private":        func(p *profile.Profile) { p.Network.Private = []string{"10.0.0.0/8"} },
		"syscalls.base":          func(p *profile.Profile) { p.Syscalls.Base = "@node" },
		"syscalls.plus":          func(p *profile.Profile) { p.Syscalls.Plus = []string{"ptrace"} },
		"syscalls.action":        func(p *profile.Profile) { p.Syscalls.Action = "errno" },
		"syscalls.audit_only":    func(p *profile.Profile) { p.Syscalls.AuditOnly = true },
		"limits.memory_max":      func(p *profile.Profile) { p.Limits.MemoryMax = 0 },
		"limits.swap_max":        func(p *profile.Profile) { p.Limits.SwapMax = 1 },
		"limits.cpu_max":         func(p *profile.Profile) { p.Limits.CPUMax = 0 },
		"limits.pids_max":        func(p *profile.Profile) { p.Limits.PIDsMax = 0 },
		"limits.io_max":          func(p *profile.Profile) { p.Limits.IOMax = nil },
		"rlimits.core":           func(p *profile.Profile) { p.Rlimits.Core = 1 },
		"rlimits.fsize":          func(p *profile.Profile) { p.Rlimits.FSize = 0 },
		"rlimits.memlock":        func(p *profile.Profile) { p.Rlimits.MemLock = 1 << 30 },
		"rlimits.msgqueue":       func(p *profile.Profile) { p.Rlimits.MsgQueue = 1 },
		"time.run":               func(p *profile.Profile) { p.Time.Run = 0 },
		"environment.pass":       func(p *profile.Profile) { p.Environment.Pass = []string{"A"} },
		"landlock.mode":          func(p *profile.Profile) { p.Landlock.Mode = "available" },
		"lsm.apparmor":           func(p *profile.Profile) { p.LSM.AppArmor = "" },
	} {
		p := closed
		change(&p)
		score, reasons := Score(p)
		if score == 0 || !slices.ContainsFunc(reasons, func(r Reason) bool { return r.Key == key && r.Points > 0 && r.Text != "" }) {
			t.Errorf("%s: got %v for %+v", key, score, reasons)
		}
	}
}

// A third party's judgement, and its parser's: systemd knows every directive.
func TestUnitScores(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../profile/testdata/every.toml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "every.toml"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	set := load(t, dir)
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
