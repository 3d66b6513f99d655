package inspect

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"mcpgateway/policy/profile"
)

// limit is a line of /proc/PID/limits.
type limit struct {
	soft, hard string
}

// limitLine has a name, which may hold spaces, and columns.
var limitLine = regexp.MustCompile(`^(Max [a-z ]+?) {2,}(\S+) +(\S+) *(?:[a-z]+)? *$`)

func parseLimits(text string) (map[string]limit, error) {
	limits := map[string]limit{}
	for line := range strings.Lines(text) {
		found := limitLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		switch {
		case found != nil:
			limits[found[1]] = limit{found[2], found[3]}
		case !strings.HasPrefix(line, "Limit "):
			return nil, fmt.Errorf("limits has a line %.100q", line)
		}
	}
	return limits, nil
}

// checkRlimits compares the hard limits: a process sets its soft ones itself, and
// may lower both.
func (a *audit) checkRlimits() {
	r := a.Profile.Rlimits
	for _, l := range []struct {
		name string
		want int64
		none bool // zero is no limit
	}{
		{"Max core file size", int64(r.Core), false},
		{"Max open files", int64(r.NoFile), false},
		{"Max locked memory", int64(r.MemLock), false},
		{"Max msgqueue size", int64(r.MsgQueue), false},
		{"Max file size", int64(r.FSize), true},
		{"Max stack size", int64(r.Stack), true},
		{"Max cpu time", int64(a.Profile.Time.CPU.Seconds()), true},
		{"Max realtime priority", 0, false},
		{"Max nice priority", 0, false},
	} {
		want := strconv.FormatInt(l.want, 10)
		if l.none && l.want == 0 {
			want = "unlimited"
		}
		within := func(v string) bool {
			n, err := strconv.ParseInt(v, 10, 64)
			return v == want || want == "unlimited" && err == nil || err == nil && n <= l.want
		}
		f := fact{"limits of each process", strings.TrimPrefix(l.name, "Max "), want, "limits", 2}
		a.every(f, func(p process) []string { return []string{p.limits[l.name].hard} }, within)
	}
}

// hierarchy is where a process is in one of the cgroup trees.
type hierarchy struct {
	controllers []string // "" is cgroup v2
	path        string
}

// parseCgroup reads /proc/PID/cgroup (cgroups(7)).
func parseCgroup(text string) ([]hierarchy, error) {
	var found []hierarchy
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			return nil, fmt.Errorf("cgroup has a line %.100q", line)
		}
		found = append(found, hierarchy{strings.Split(parts[1], ","), parts[2]})
	}
	return found, nil
}

// cgroupSuffix is how the path of a sandbox's cgroup ends, in every tree.
func (a *audit) cgroupSuffix() string { return "/project-" + a.Project + "/" + a.ID }

// folder finds a hierarchy's cgroup as a folder of this process's mounts.
func (a *audit) folder(h hierarchy) (string, error) {
	for _, m := range a.host {
		v2 := m.Type == "cgroup2" && h.controllers[0] == ""
		v1 := m.Type == "cgroup" && slices.Contains(m.Super, h.controllers[0])
		if rest, ok := strings.CutPrefix(h.path, strings.TrimSuffix(m.Root, "/")); ok && (v1 || v2) {
			return filepath.Join(m.Target, rest), nil
		}
	}
	return "", fmt.Errorf("no mount shows the cgroup %s of %q", h.path, strings.Join(h.controllers, ","))
}

// control is a limit as a cgroup's file holds it: on cgroup v1 the file v1 of a
// controller, on v2 the file v2.
type control struct {
	name           string
	controller     string
	v1, v2         string
	wantV1, wantV2 string
}

// noLimit is what v1 shows for none: the largest multiple of a page.
var noLimit = strconv.FormatInt((1<<63-1)/int64(os.Getpagesize())*int64(os.Getpagesize()), 10)

// controls are the profile's limits as both versions write them.
func controls(l profile.Limits) []control {
	pages := func(size profile.Size) string {
		page := int64(os.Getpagesize())
		return strconv.FormatInt(int64(size)/page*page, 10)
	}
	bytes := func(size profile.Size, none string) string {
		if size == 0 {
			return none
		}
		return pages(size)
	}
	both := profile.Size(0)
	if l.MemoryMax > 0 {
		both = l.MemoryMax + l.SwapMax
	}
	const period = 100_000
	quota := strconv.Itoa(int(l.CPUMax * period))
	v2quota := quota
	if l.CPUMax == 0 {
		quota, v2quota = "-1", "max"
	}
	pids := "max"
	if l.PIDsMax > 0 {
		pids = strconv.Itoa(l.PIDsMax)
	}
	weight := cmp.Or(l.CPUWeight, 100)
	return []control{
		{"memory", "memory", "memory.limit_in_bytes", "memory.max", bytes(l.MemoryMax, noLimit), bytes(l.MemoryMax, "max")},
		{"memory and swap", "memory", "memory.memsw.limit_in_bytes", "memory.swap.max", bytes(both, noLimit), pages(l.SwapMax)},
		{"memory, slowed down above", "memory", "memory.soft_limit_in_bytes", "memory.high", bytes(l.MemoryHigh, noLimit), bytes(l.MemoryHigh, "max")},
		{"cpu", "cpu", "cpu.cfs_quota_us", "cpu.max", quota, v2quota + " 100000"},
		{"cpu period", "cpu", "cpu.cfs_period_us", "", "100000", ""},
		{"cpu weight", "cpu", "cpu.shares", "cpu.weight", strconv.Itoa(weight * 1024 / 100), strconv.Itoa(weight)},
		{"processes", "pids", "pids.max", "pids.max", pids, pids},
		{"out of memory ends all", "memory", "", "memory.oom.group", "", "1"},
	}
}

// checkCgroups compares the limits of the sandbox as a whole, and who is under
// them.
func (a *audit) checkCgroups() {
	const section = "limits of the sandbox"
	trees, err := parseCgroup(a.first.cgroup)
	if err != nil || len(trees) == 0 {
		a.judge(fact{section, "cgroup", "some", "cgroup", 10}, orNone(a.first.cgroup), false, err)
		return
	}
	f := fact{section, "cgroup of each process", "that of the first", "cgroup", 5}
	a.every(f, func(p process) []string { return []string{cmp.Or(a.elsewhere(p), f.want)} }, func(v string) bool { return v == f.want })
	trees = a.limiting(trees)
	outside := slices.DeleteFunc(slices.Clone(trees), func(h hierarchy) bool { return strings.HasSuffix(h.path, a.cgroupSuffix()) })
	var places []string
	for _, h := range outside {
		places = append(places, strings.Join(h.controllers, ",")+":"+h.path)
	}
	a.judge(fact{section, "cgroup", "…" + a.cgroupSuffix(), "cgroup", 5}, cmp.Or(strings.Join(places, ", "), "…"+a.cgroupSuffix()), len(outside) == 0, nil)

	for _, c := range controls(a.Profile.Limits) {
		a.checkControl(section, trees, c)
	}
	a.checkIO(section, trees)
	a.checkDeviceRules(section, trees)
	a.checkMembers(section, trees)
	a.checkFreezer(section, trees)
}

// limiting are the trees in which a sandbox has a cgroup of its own: in the others of cgroup
// v1, which limit nothing of it, it is where the daemon is.
func (a *audit) limiting(trees []hierarchy) []hierarchy {
	limits := func(controller string) bool {
		return slices.Contains([]string{"", "memory", "cpu", "pids", "devices", "freezer"}, controller) || controller == "blkio" && len(a.Profile.Limits.IOMax) > 0
	}
	return slices.DeleteFunc(trees, func(h hierarchy) bool { return !slices.ContainsFunc(h.controllers, limits) })
}

// elsewhere are the cgroups of a process that are not the first one's.
func (a *audit) elsewhere(p process) string {
	own := strings.Split(a.first.cgroup, "\n")
	others := slices.DeleteFunc(strings.Split(p.cgroup, "\n"), func(line string) bool { return slices.Contains(own, line) })
	return strings.Join(others, ", ")
}

// find returns the folder of a controller's tree, and whether that is v2.
func (a *audit) find(trees []hierarchy, controller string) (dir string, v2 bool, err error) {
	for _, h := range trees {
		if slices.Contains(h.controllers, controller) {
			dir, err = a.folder(h)
			return dir, false, err
		}
	}
	for _, h := range trees {
		if h.controllers[0] == "" {
			dir, err = a.folder(h)
			return dir, true, err
		}
	}
	return "", false, fmt.Errorf("no cgroup tree has the controller %s", controller)
}

func readTrimmed(path string) (string, error) {
	content, err := os.ReadFile(path)
	return strings.TrimSpace(string(content)), err
}

func (a *audit) checkControl(section string, trees []hierarchy, c control) {
	dir, v2, err := a.find(trees, c.controller)
	name, want := c.v1, c.wantV1
	if v2 {
		name, want = c.v2, c.wantV2
	}
	if err == nil && name == "" {
		return // that version has no such thing
	}
	f := fact{section, c.name, want, filepath.Join(dir, name), 3}
	if err != nil {
		a.judge(f, "", false, err)
		return
	}
	got, err := readTrimmed(f.where)
	if name == "memory.memsw.limit_in_bytes" && vanished(err) {
		a.checkNoSwap(f)
		return
	}
	a.expect(f, got, err)
}

// checkNoSwap is for kernels that do not count swap: then there must be none.
func (a *audit) checkNoSwap(f fact) {
	content, err := os.ReadFile(a.proc + "/swaps")
	f.want, f.where = "no swap on this host", "/proc/swaps"
	devices := strings.Count(string(content), "\n") - 1
	if vanished(err) {
		devices, err = 0, nil
	}
	got := f.want
	if devices > 0 {
		got = fmt.Sprintf("%d swap devices, and no limit", devices)
	}
	a.expect(f, got, err)
}

// checkIO compares the limits of block devices.
func (a *audit) checkIO(section string, trees []hierarchy) {
	for _, io := range a.Profile.Limits.IOMax {
		f := fact{section, "i/o of " + io.Device, "", "", 2}
		var st unix.Stat_t
		if err := unix.Stat(io.Device, &st); err != nil {
			a.judge(f, "", false, &os.PathError{Op: "stat", Path: io.Device, Err: err})
			continue
		}
		number := fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		dir, v2, err := a.find(trees, "blkio")
		values := []struct {
			v1, v2 string
			want   int64
		}{
			{"blkio.throttle.read_bps_device", "rbps", int64(io.ReadBPS)}, {"blkio.throttle.write_bps_device", "wbps", int64(io.WriteBPS)},
			{"blkio.throttle.read_iops_device", "riops", int64(io.ReadIOPS)}, {"blkio.throttle.write_iops_device", "wiops", int64(io.WriteIOPS)},
		}
		for _, v := range values {
			f := f
			f.name += ", " + v.v2
			f.where = filepath.Join(dir, v.v1)
			if v2 {
				f.where = filepath.Join(dir, "io.max")
			}
			f.want = "max"
			if v.want > 0 {
				f.want = strconv.FormatInt(v.want, 10)
			}
			text, readErr := readTrimmed(f.where)
			if err == nil {
				err = readErr
			}
			a.expect(f, ioLimit(text, number, v.v2), err)
		}
	}
}

// ioLimit finds a device's limit: "8:0 1048576" on v1, "8:0 rbps=1048576 …" on v2.
func ioLimit(text, device, key string) string {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != device {
			continue
		}
		for _, field := range fields[1:] {
			name, value, named := strings.Cut(field, "=")
			switch {
			case !named:
				return name
			case name == key:
				return value
			}
		}
	}
	return "max"
}

// checkDeviceRules wants the kernel to refuse every device but the few: by a list
// on v1, by a program on v2.
func (a *audit) checkDeviceRules(section string, trees []hierarchy) {
	dir, v2, err := a.find(trees, "devices")
	f := fact{section, "devices", "", filepath.Join(dir, "devices.list"), 4}
	if v2 || err != nil {
		f.want, f.where = "decided by a program", dir
		count := 0
		if err == nil {
			count, err = a.devicePrograms(dir)
		}
		a.judge(f, fmt.Sprintf("%d programs", count), count > 0, err)
		return
	}
	var want []string
	for _, number := range devices {
		want = append(want, fmt.Sprintf("c %d:%d rw", unix.Major(number), unix.Minor(number)))
	}
	slices.Sort(want)
	f.want = strings.Join(want, ", ")
	text, err := readTrimmed(f.where)
	got := strings.Split(text, "\n")
	slices.Sort(got)
	a.expect(f, strings.Join(got, ", "), err)
}

// checkMembers wants no process but the sandbox's to be counted with it.
func (a *audit) checkMembers(section string, trees []hierarchy) {
	var strangers []string
	var err error
	for _, h := range trees {
		dir, folderErr := a.folder(h)
		text, readErr := readTrimmed(filepath.Join(dir, "cgroup.procs"))
		err = cmp.Or(err, folderErr, readErr)
		for pid := range strings.FieldsSeq(text) {
			known := slices.ContainsFunc(a.processes, func(p process) bool { return strconv.Itoa(p.pid) == pid })
			if _, gone := os.Lstat(filepath.Join(a.proc, pid)); !known && gone == nil && !slices.Contains(strangers, pid) {
				strangers = append(strangers, pid)
			}
		}
	}
	a.judge(fact{section, "strangers in its cgroup", "none", "cgroup.procs", 2}, orNone(strings.Join(strangers, ", ")), len(strangers) == 0, err)
}

// checkFreezer tells whether the sandbox rests. Both are right.
func (a *audit) checkFreezer(section string, trees []hierarchy) {
	dir, v2, err := a.find(trees, "freezer")
	f := fact{section, "state", "frozen or not", filepath.Join(dir, "freezer.self_freezing"), 1}
	if v2 {
		f.where = filepath.Join(dir, "cgroup.freeze")
	}
	got, readErr := readTrimmed(f.where)
	state, ok := map[string]string{"0": "not frozen", "1": "frozen"}[got]
	a.judge(f, state, ok, cmp.Or(err, readErr))
}
