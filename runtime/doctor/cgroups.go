package doctor

import (
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// mount is a mounted file system, of proc_pid_mountinfo(5).
type mount struct {
	point, kind string
	options     []string // the mount's, and then the file system's own
}

func (x *examination) mounts() (list []mount) {
	for line := range strings.Lines(x.read("proc/self/mountinfo")) {
		before, after, found := strings.Cut(line, " - ")
		own, of := strings.Fields(before), strings.Fields(after)
		if !found || len(own) < 6 || len(of) < 3 {
			continue
		}
		options := append(strings.Split(own[5], ","), strings.Split(of[2], ",")...)
		list = append(list, mount{point: own[4], kind: of[0], options: options})
	}
	return list
}

// tree is how the control groups of a host are mounted.
type tree struct {
	unified     string            // where version 2 is mounted; "": nowhere
	controllers []string          // that version 2 has
	legacy      map[string]string // mount points of version 1, by controller
}

func (x *examination) tree() tree {
	t := tree{legacy: map[string]string{}}
	for _, m := range x.mounts() {
		switch m.kind {
		case "cgroup2":
			if t.unified == "" || m.point == usual {
				t.unified = m.point
				t.controllers = strings.Fields(x.read(filepath.Join(m.point, "cgroup.controllers")))
			}
		case "cgroup":
			for _, option := range m.options {
				if slices.Contains(controllers, option) || option == "blkio" {
					t.legacy[option] = m.point
				}
			}
		}
	}
	return t
}

// controllers are those that limits are made with, as version 2 names them.
var controllers = []string{"memory", "cpu", "pids", "io"}

// legacyName is a controller's name in version 1.
func legacyName(controller string) string {
	if controller == "io" {
		return "blkio"
	}
	return controller
}

func (x *examination) cgroups() {
	t := x.tree()
	x.mode(t)
	for _, name := range controllers {
		x.controller(t, name)
	}
	if t.v2() {
		x.delegation(t)
		x.ending(t)
	}
	x.swap(t)
	x.pressure(t)
}

// usual is where version 2 is mounted if it is alone.
const usual = "/sys/fs/cgroup"

// v2 reports whether the gateway uses version 2: it does if that is alone.
func (t tree) v2() bool { return t.unified == usual && len(t.legacy) == 0 }

// alone is what makes a host have version 2 alone.
const alone = "systemd.unified_cgroup_hierarchy=1 cgroup_no_v1=all"

func (x *examination) mode(t tree) {
	lost := "limits.memory_high can't be used, and it is the daemon, not the kernel, that ends what is left of a server out of memory"
	switch {
	case t.v2():
		x.ok("mode", "version 2 at %s, with %s", t.unified, listOf(t.controllers))
	case t.unified != "" && len(t.legacy) == 0:
		x.find(Missing, "mode", x.bootWith("systemd.unified_cgroup_hierarchy=1"), "version 2 is mounted at %s, and nothing at %s, where the gateway looks for it", t.unified, usual)
	case t.unified != "":
		x.find(Warning, "mode", x.bootWith(alone), "hybrid: version 2 is mounted at %s with %s, version 1 holds %s: %s",
			t.unified, listOf(t.controllers), listOf(t.held()), lost)
	case len(t.legacy) > 0:
		x.find(Warning, "mode", x.bootWith(alone), "version 1 only, which holds %s; version 2 is not mounted: %s", listOf(t.held()), lost)
	default:
		x.find(Missing, "mode", "mount -t cgroup2 none /sys/fs/cgroup, or in a container, start it with --cgroupns=private and the host's cgroups writable",
			"no control groups are mounted: nothing can be limited")
	}
}

// held are the controllers of version 1, in their usual order.
func (t tree) held() (names []string) {
	for _, name := range controllers {
		if _, ok := t.legacy[legacyName(name)]; ok {
			names = append(names, legacyName(name))
		}
	}
	return names
}

func listOf(names []string) string {
	if len(names) == 0 {
		return "no controllers"
	}
	return strings.Join(names, ", ")
}

// controller says where one is bound, and if nowhere, why.
func (x *examination) controller(t tree, name string) {
	check := name + " controller"
	needed := Missing
	without := "servers can't be limited, so none may start"
	if name == "io" {
		needed, without = Note, "limits.io_max can't be used"
	}
	if at, ok := t.legacy[legacyName(name)]; ok {
		x.ok(check, "version 1, at %s", at)
		return
	}
	if len(t.legacy) == 0 && slices.Contains(t.controllers, name) {
		x.ok(check, "version 2, at %s", t.unified)
		return
	}
	switch {
	case slices.Contains(t.controllers, name):
		x.find(needed, check, x.bootWith(alone), "version 2 has it at %s, but other controllers are of version 1, and the gateway uses one version for all: %s", t.unified, without)
	case x.disabled(name):
		x.find(needed, check, x.without("cgroup_disable="+legacyName(name)), "the kernel's command line turns it off (cgroup_disable=%s): %s", legacyName(name), without)
	case x.off(legacyName(name)):
		fix := "use a kernel that has it"
		if name == "memory" {
			fix = x.bootWith("cgroup_enable=memory")
		}
		x.find(needed, check, fix, "the kernel has it, and it is off (/proc/cgroups): %s", without)
	default:
		fix := x.bootWith(alone)
		if t.v2() {
			fix = "use a kernel with it (CONFIG_MEMCG, CONFIG_CFS_BANDWIDTH, CONFIG_CGROUP_PIDS, CONFIG_BLK_CGROUP), or let the container or the unit that this runs in have it"
		}
		x.find(needed, check, fix, "neither version of control groups has it: %s", without)
	}
}

// disabled reports whether the kernel's command line turns a controller off.
func (x *examination) disabled(name string) bool {
	for word := range strings.FieldsSeq(x.read("proc/cmdline")) {
		if off, ok := strings.CutPrefix(word, "cgroup_disable="); ok && slices.Contains(strings.Split(off, ","), legacyName(name)) {
			return true
		}
	}
	return false
}

func (x *examination) without(parameter string) string {
	return "take " + parameter + " off the kernel's command line, and reboot"
}

// off reports whether /proc/cgroups has a controller as not enabled.
func (x *examination) off(legacy string) bool {
	for line := range strings.Lines(x.read("proc/cgroups")) {
		if fields := strings.Fields(line); len(fields) == 4 && fields[0] == legacy {
			return fields[3] == "0"
		}
	}
	return false
}

// delegation says whether the daemon's unit has the controllers that it needs.
func (x *examination) delegation(t tree) {
	unit := filepath.Join(t.unified, "system.slice/mcp-gatewayd.service")
	if !x.exists(unit) {
		return // the unit does not run; up takes the cgroup that it is started in
	}
	has := strings.Fields(x.read(filepath.Join(unit, "cgroup.controllers")))
	var lacks []string
	for _, name := range controllers {
		if slices.Contains(t.controllers, name) && !slices.Contains(has, name) {
			lacks = append(lacks, name)
		}
	}
	if len(lacks) > 0 {
		x.find(Missing, "delegation", "set Delegate=cpu memory pids io in mcp-gatewayd.service (systemctl edit mcp-gatewayd), and restart it",
			"mcp-gatewayd.service was not given %s", strings.Join(lacks, ", "))
		return
	}
	x.ok("delegation", "mcp-gatewayd.service has %s", listOf(has))
}

// ending looks for what ends all of a server at once. The root has no such files: those
// of any group below it tell.
func (x *examination) ending(t tree) {
	groups, err := filepath.Glob(filepath.Join(x.host.Root, t.unified, "*", "cgroup.procs"))
	if err != nil || len(groups) == 0 {
		return
	}
	dir := "/" + strings.TrimPrefix(strings.TrimPrefix(path.Dir(groups[0]), path.Clean(x.host.Root)), "/")
	if x.exists(filepath.Join(dir, "cgroup.kill")) {
		x.ok("cgroup.kill", "a server is ended at once")
	} else {
		x.find(Note, "cgroup.kill", "install Linux 5.14 or newer", "is not there: processes of a server are ended one by one")
	}
	if x.exists(filepath.Join(dir, "memory.max")) && !x.exists(filepath.Join(dir, "memory.oom.group")) {
		x.find(Warning, "memory.oom.group", "install Linux 4.19 or newer", "is not there: a server out of memory may go on by half")
	}
}

// swap says whether swap counts as memory.
func (x *examination) swap(t tree) {
	swaps := strings.Count(x.read("proc/swaps"), "\n") > 0
	at, legacy := t.legacy["memory"]
	counted := t.v2() || legacy && x.exists(filepath.Join(at, "memory.memsw.limit_in_bytes"))
	switch {
	case !legacy && !t.v2():
	case !swaps:
		x.ok("swap", "the host does not swap")
	case counted:
		x.ok("swap", "the host swaps, and servers' swap is limited")
	default:
		x.find(Missing, "swap", x.bootWith("swapaccount=1")+" (or turn swap off: swapoff -a)", "the host swaps, and its memory controller can't limit swap: no server may start")
	}
}

// pressure looks for pressure stall information, which tells of servers that wait.
func (x *examination) pressure(t tree) {
	switch {
	case !x.exists("proc/pressure/memory"):
		x.find(Note, "pressure (PSI)", x.bootWith("psi=1"), "the kernel keeps none: nobody is told how long servers wait for memory, CPU and disks")
	case t.unified == "":
		x.find(Note, "pressure (PSI)", x.bootWith(alone), "only of the whole host: that of servers needs version 2 of control groups")
	default:
		x.ok("pressure (PSI)", "is kept")
	}
}
