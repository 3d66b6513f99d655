package doctor

import (
	"slices"
	"strconv"
	"strings"
)

// enoughFiles is how many descriptors a process of the gateway should be able to have:
// each sandbox and each client costs a few.
const enoughFiles = 4096

func (x *examination) system() {
	if x.exists("run/systemd/system") {
		x.ok("systemd", "is the service manager")
	} else {
		x.find(Note, "systemd", "start it with mcp-gateway up, or with a service manager of your own", "does not run here: the units can't be used")
	}
	x.files()
	for _, m := range x.mounts() {
		if m.point == "/proc" && m.kind == "proc" && hides(m.options) {
			x.find(Warning, "/proc", "mount -o remount,hidepid=0 /proc, or hidepid=2,gid=… with the gateway's user in that group", "is mounted with hidepid: what is not root can't look at its own sandboxes")
		}
	}
}

// hides reports whether options of a /proc keep processes from others (proc(5)).
func hides(options []string) bool {
	return slices.ContainsFunc(options, func(option string) bool {
		value, found := strings.CutPrefix(option, "hidepid=")
		return found && value != "0" && value != "off"
	})
}

// files looks at the limit of open files, which the daemon inherits of whoever runs up.
func (x *examination) files() {
	for line := range strings.Lines(x.read("proc/self/limits")) {
		rest, found := strings.CutPrefix(line, "Max open files")
		fields := strings.Fields(rest)
		if !found || len(fields) < 2 {
			continue
		}
		if most, err := strconv.Atoi(fields[1]); err == nil && most < enoughFiles {
			x.find(Warning, "open files", "raise it: ulimit -Hn 65536, or LimitNOFILE=65536 in the units", "a process may have %d: each sandbox and each client needs some", most)
			return
		}
		x.ok("open files", "a process may have %s", fields[1])
	}
}

func (x *examination) users() {
	name := x.host.Proxy
	if x.hasUser(name) {
		x.ok("proxy's user", "%s", name)
	} else {
		x.find(Note, "proxy's user", "useradd --system --no-create-home --shell /usr/sbin/nologin "+name+", or install systemd/mcp-gateway.sysusers",
			"there is no user %s: the units need it, and up runs the proxy as nobody", name)
	}
	clean := true
	for _, file := range []string{"etc/subuid", "etc/subgid"} {
		for line := range strings.Lines(x.read(file)) {
			fields := strings.Split(strings.TrimSpace(line), ":")
			if len(fields) != 3 {
				continue
			}
			first, errA := strconv.Atoi(fields[1])
			count, errB := strconv.Atoi(fields[2])
			if errA != nil || errB != nil || !x.host.UIDPool.overlaps(Range{first, count}) {
				continue
			}
			clean = false
			x.find(Warning, "ids of sandboxes", "choose another sandbox.uid_pool.start, or another range in /"+file,
				"/%s gives %q ids from %d to %d, which are among the sandboxes' own (%d to %d)", file, fields[0], first, first+count-1,
				x.host.UIDPool.First, x.host.UIDPool.First+x.host.UIDPool.Count-1)
		}
	}
	if clean {
		x.ok("ids of sandboxes", "%d to %d are nobody else's", x.host.UIDPool.First, x.host.UIDPool.First+x.host.UIDPool.Count-1)
	}
}

func (r Range) overlaps(other Range) bool {
	return r.First < other.First+other.Count && other.First < r.First+r.Count
}

func (x *examination) hasUser(name string) bool {
	for line := range strings.Lines(x.read("etc/passwd")) {
		if strings.HasPrefix(line, name+":") {
			return true
		}
	}
	return false
}
