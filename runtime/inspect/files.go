package inspect

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// devices are the device nodes that a server has, and their numbers.
var devices = map[string]uint64{
	"null": unix.Mkdev(1, 3), "zero": unix.Mkdev(1, 5), "full": unix.Mkdev(1, 7), "random": unix.Mkdev(1, 8), "urandom": unix.Mkdev(1, 9),
}

// deviceLinks may stand beside them: they lead to what a process has itself.
var deviceLinks = []string{"core", "fd", "ptmx", "stdin", "stdout", "stderr"}

// revealing are files and folders of /proc that tell of the host or reach into it.
var revealing = []string{
	"acpi", "asound", "bootconfig", "buddyinfo", "bus", "cmdline", "config.gz", "diskstats", "driver", "fs", "interrupts", "iomem", "ioports", "irq",
	"kallsyms", "kcore", "key-users", "keys", "kmsg", "kpagecgroup", "kpagecount", "kpageflags", "latency_stats", "modules",
	"pagetypeinfo", "partitions", "sched_debug", "schedstat", "scsi", "slabinfo", "softirqs", "swaps", "sysrq-trigger", "sysvipc",
	"timer_list", "timer_stats", "tty", "vmallocinfo", "zoneinfo",
}

// checkFiles looks at what shows inside beside the mounts.
func (a *audit) checkFiles() {
	const section = "files"
	var open []string
	var errs []error
	for _, name := range revealing {
		if _, err := os.Lstat(filepath.Join(a.proc, name)); err != nil {
			continue // this kernel has none
		}
		masked, err := a.masked("/proc/" + name)
		errs = append(errs, err)
		if !masked {
			open = append(open, name)
		}
	}
	a.judge(fact{section, "of the host in /proc", "none", "root/proc", 3}, orNone(strings.Join(open, ", ")), len(open) == 0, errors.Join(errs...))
	for _, path := range a.Profile.Filesystem.Hidden {
		masked, err := a.masked(path)
		got := "shows nothing"
		if !masked {
			got = "shows the host's"
		}
		a.expect(fact{section, path, "shows nothing", "root" + path, 2}, got, err)
	}

	a.holds(section, "/", a.topNames())
	a.holds(section, "/dev", slices.Concat(slices.Collect(maps.Keys(devices)), deviceLinks, []string{"shm"}))
	a.checkDevices(section)

	launcher, err := a.inside.look("/run/mcp-gateway-launch")
	a.judge(fact{section, "first program can be changed by", "the host's root", "root/run/mcp-gateway-launch", 4},
		fmt.Sprintf("user %d, mode %04o", launcher.uid, launcher.mode&0o7777), launcher.uid == 0 && launcher.mode&0o6022 == 0, err)

	for _, name := range []string{"root", "cwd"} {
		a.checkPlace(fact{section, name + " of each process", "in its mounts", name, 5}, name)
	}
}

// masked reports whether a path shows nothing inside: it is not there, or covered
// by the null device, or by an empty file or folder that can't be written.
func (a *audit) masked(path string) (bool, error) {
	e, err := a.inside.look(path)
	if vanished(err) {
		return true, nil
	}
	if err != nil || !e.mounted {
		return false, err
	}
	i := slices.IndexFunc(a.mounts, func(m mount) bool { return m.ID == e.mount })
	if i < 0 || a.mounts[i].Type == "proc" {
		return false, nil
	}
	if e.mode&unix.S_IFMT == unix.S_IFCHR {
		return e.number == devices["null"], nil
	}
	return a.mounts[i].has("ro") && e.empty, nil
}

// holds expects a folder to hold nothing but these names.
func (a *audit) holds(section, folder string, names []string) {
	entries, err := a.inside.list(folder)
	surplus := slices.DeleteFunc(entries, func(name string) bool { return slices.Contains(names, name) })
	a.judge(fact{section, "surplus in " + folder, "none", filepath.Join("root", folder), 3}, orNone(strings.Join(surplus, ", ")), len(surplus) == 0, err)
}

// topNames are what the root may hold: the way to each mount, and links.
func (a *audit) topNames() []string {
	var names []string
	for _, e := range a.expectedMounts() {
		top, _, _ := strings.Cut(e.target[1:], "/")
		names = append(names, top)
	}
	for _, link := range a.Links {
		names = append(names, strings.TrimPrefix(link, "/"))
	}
	return names
}

func (a *audit) checkDevices(section string) {
	for _, name := range slices.Sorted(maps.Keys(devices)) {
		number := devices[name]
		e, err := a.inside.look("/dev/" + name)
		got := "no device"
		if e.mode&unix.S_IFMT == unix.S_IFCHR {
			got = fmt.Sprintf("%d:%d", unix.Major(e.number), unix.Minor(e.number))
		}
		a.expect(fact{section, "/dev/" + name, fmt.Sprintf("%d:%d", unix.Major(number), unix.Minor(number)), "root/dev/" + name, 4}, got, err)
	}
}

// checkPlace wants a folder that each process holds to be on a mount of the
// sandbox's: one of the host would let it walk out (CVE-2024-21626).
func (a *audit) checkPlace(f fact, name string) {
	for _, p := range a.processes {
		place, err := a.place(a.path(p.pid, name))
		if vanished(err) {
			continue
		}
		if err != nil || !a.isOwnMount(place.mount) {
			a.judge(f, fmt.Sprintf("mount %d in %s", place.mount, p), false, err)
			return
		}
	}
	a.judge(f, f.want, true, nil)
}

func (a *audit) isOwnMount(id int) bool {
	return slices.ContainsFunc(a.mounts, func(m mount) bool { return m.ID == id })
}
