package sandbox_test

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"mcpgateway/images"
	"mcpgateway/sandbox"
)

// hides are files of the kernel that a runtime hides by default, and those that we do.
const hides = "acpi asound bootconfig bus cmdline config.gz diskstats driver fs interrupts iomem ioports irq kallsyms kcore key-users keys kmsg " +
	"latency_stats modules partitions sched_debug schedstat scsi slabinfo softirqs swaps sysrq-trigger sysvipc timer_list timer_stats tty vmallocinfo zoneinfo"

// report is a program that tells what the kernel says of it.
const report = `
echo == status; cat /proc/self/status
echo == limits; cat /proc/self/limits
echo == ids; cat /proc/self/uid_map /proc/self/gid_map
echo == groups; cat /proc/self/setgroups
echo == namespaces; for n in user mnt pid net ipc uts cgroup; do echo $n $(readlink /proc/self/ns/$n); done
echo == descriptors; ls /proc/self/fd
echo == score; cat /proc/self/oom_score_adj
echo == session; set -- $(cat /proc/self/stat); echo $(($5 == $6)) terminal $7
echo == host; cat /proc/sys/kernel/hostname
echo == cgroups; cut -d: -f3 /proc/self/cgroup | sort -u
echo == mounts; cat /proc/self/mountinfo
echo == devices; stat -c '%n %F,%t:%T,%a' /dev/*
echo == hidden; for f in ` + hides + `; do { [ -d /proc/$f ] && ls /proc/$f || head -c 1 /proc/$f; } 2>/dev/null | grep -q . && echo $f shown || echo $f hidden; done
echo == settings; for f in kernel/core_pattern kernel/hostname vm/drop_caches net/ipv4/ip_forward kernel/shmmax; do { echo x >/proc/sys/$f; } 2>/dev/null && echo $f written || echo $f refused; done
echo == loopback; grep -c ' lo$' /proc/net/if_inet6`

// stricter are differences, and why ours leave a server no more. Each must be one, and
// anything else must be the same, or narrower by itself.
var stricter = map[string]string{
	"status Seccomp":                 "a filter of ours; runc was told none, and would compile it at each start",
	"status Seccomp_filters":         "the same",
	"mounts /run/mcp-gateway-launch": "ours alone: root's program, which can't be written",
	"mounts /dev/tty":                "runc's alone: a server has no terminal",
	"devices /dev/tty":               "the same",
}

// narrower reports whether a difference is one that leaves a server less: what is hidden,
// refused, or mounted with more restrictions.
func narrower(name, ours, theirs string) bool {
	switch section, _, _ := strings.Cut(name, " "); section {
	case "hidden":
		return ours == "hidden"
	case "settings":
		return ours == "refused"
	case "mounts":
		if ours == "" || theirs == "" {
			return false
		}
		our, their := strings.Fields(ours), strings.Fields(theirs)
		for _, restriction := range []string{"ro", "nosuid", "nodev", "noexec"} {
			if slices.Contains(their, restriction) && !slices.Contains(our, restriction) {
				return false
			}
		}
		isFlag := func(f string) bool { return slices.Contains([]string{"ro", "rw", "nosuid", "nodev", "noexec"}, f) }
		// What is mounted on the host later, where its mounts are shared, does not come in.
		isTie := func(f string) bool { return strings.HasPrefix(f, "master:") }
		return slices.Equal(slices.DeleteFunc(our, isFlag), slices.DeleteFunc(slices.DeleteFunc(their, isFlag), isTie))
	}
	return false
}

// TestAgainstRunc starts one program by runc and by us, with the same ids, limits and
// mounts, and compares what the kernel tells it of itself.
func TestAgainstRunc(t *testing.T) {
	if _, err := exec.LookPath("runc"); err != nil {
		t.Fatal("runc is not on this host: install runc")
	}
	got := runToEnd(t, spec(t, "/bin/sh", "-c", report))
	if got.exit.Status != 0 && got.stdout == "" {
		t.Fatal(got.stderr)
	}
	ours, theirs := itemsOf(t, got.stdout), itemsOf(t, runByRunc(t, report))
	names := slices.Sorted(maps.Keys(ours))
	for name := range theirs {
		if _, both := ours[name]; !both {
			names = append(names, name)
		}
	}
	if len(names) < 100 {
		t.Errorf("compared %d items only", len(names))
	}
	for _, name := range names {
		if ours[name] != theirs[name] && stricter[name] == "" && !narrower(name, ours[name], theirs[name]) {
			t.Errorf("%s: ours %q, runc's %q", name, ours[name], theirs[name])
		}
	}
	for name := range stricter {
		if ours[name] == theirs[name] {
			t.Errorf("%s: both %q, and it is said that they differ", name, ours[name])
		}
	}
}

// itemsOf are what a report says, each thing by its name.
func itemsOf(t *testing.T, text string) map[string]string {
	t.Helper()
	items := map[string]string{}
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "== "); ok {
			section = name
			continue
		}
		name, value := itemOf(t, section, line)
		if name != "" {
			items[strings.TrimSpace(section+" "+name)] += value
		}
	}
	return items
}

// statusItems are those fields of status that are not counts and numbers of the process.
var statusItems = []string{
	"Umask", "TracerPid", "Uid", "Gid", "Groups", "SigBlk", "SigIgn", "SigCgt", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp",
	"Seccomp_filters", "CoreDumping", "Speculation_Store_Bypass", "SpeculationIndirectBranch", "Cpus_allowed_list",
}

func itemOf(t *testing.T, section, line string) (name, value string) {
	t.Helper()
	fields := strings.Fields(line)
	if len(fields) == 0 {
		return "", ""
	}
	rest := strings.Join(fields[1:], " ")
	switch section {
	case "status":
		name = strings.TrimSuffix(fields[0], ":")
		if !slices.Contains(statusItems, name) {
			return "", ""
		}
		return name, rest
	case "limits":
		return strings.TrimSpace(line[:25]), strings.Join(strings.Fields(line[25:]), " ")
	case "ids":
		return "maps", fields[0] + " and " + fields[2] + " more; "
	case "namespaces":
		if outside, err := os.Readlink("/proc/self/ns/" + fields[0]); err != nil || outside == rest {
			return fields[0], "the host's"
		}
		return fields[0], "its own"
	case "mounts":
		if strings.HasPrefix(fields[4], "/proc/") && fields[4] != "/proc/sys" {
			return "", "" // what hides something: see "hidden"
		}
		separator := slices.Index(fields, "-")
		flags := slices.DeleteFunc(strings.Split(fields[5], ","), func(f string) bool { return f == "relatime" || f == "noatime" })
		kind := fields[separator+1]
		if fields[4] == "/" || strings.HasPrefix(fields[4], "/dev/") && fields[4] != "/dev/shm" {
			kind = "" // whatever the host has
		}
		return fields[4], strings.Join(slices.Concat([]string{kind}, flags, fields[6:separator]), " ")
	case "devices", "hidden", "settings":
		return fields[0], rest
	}
	return "all", line + "; "
}

// runByRunc runs a script as runc would be told to run it in our stead.
func runByRunc(t *testing.T, script string) string {
	t.Helper()
	bundle, err := os.MkdirTemp(filepath.Dir(bin), "runc-")
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(bundle, "rootfs")
	t.Cleanup(func() { os.RemoveAll(bundle) })
	err = errors.Join(os.Chmod(bundle, 0o711), os.Mkdir(root, 0o755))
	for _, dir := range []string{"proc", "dev", "usr", "etc", "tmp", "run"} {
		err = errors.Join(err, os.Mkdir(filepath.Join(root, dir), 0o755))
	}
	s := spec(t, "/bin/sh")
	for _, link := range s.Links {
		err = errors.Join(err, os.Symlink(link.Target, filepath.Join(root, link.Name)))
	}
	content, jsonErr := json.Marshal(runcSpec(s, root, script))
	if err = errors.Join(err, jsonErr, os.WriteFile(filepath.Join(bundle, "config.json"), content, 0o600)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("runc", "--root", filepath.Join(bundle, "state"), "run", "--bundle", bundle, s.ID)
	var problem strings.Builder
	cmd.Stderr = &problem
	stdout, err := cmd.Output()
	if len(stdout) == 0 {
		t.Fatalf("runc: %v: %s", err, &problem)
	}
	return string(stdout)
}

type object = map[string]any

// runcSpec is the OCI specification of the same sandbox.
func runcSpec(s sandbox.Spec, root, script string) object {
	var mounts []object
	mount := func(target, kind, source string, options ...string) {
		mounts = append(mounts, object{"destination": target, "type": kind, "source": source, "options": options})
	}
	mount("/proc", "proc", "proc", "nosuid", "nodev", "noexec")
	mount("/dev", "tmpfs", "tmpfs", "nosuid", "noexec", "nodev", "mode=755", "size=64k")
	mount("/dev/shm", "tmpfs", "tmpfs", "nosuid", "nodev", "noexec", "mode=1777")
	mount("/tmp", "tmpfs", "tmpfs", "nosuid", "nodev", "noexec", "mode=1777")
	for _, m := range s.Mounts {
		mount(m.Target, "bind", m.Source, "rbind", "ro", "nosuid", "nodev")
	}
	var namespaces, rlimits []object
	for _, kind := range []string{"user", "mount", "pid", "network", "ipc", "uts", "cgroup"} {
		namespaces = append(namespaces, object{"type": kind})
	}
	for kind, l := range map[string][2]int{"RLIMIT_CORE": {}, "RLIMIT_NOFILE": {1024, 4096}, "RLIMIT_MEMLOCK": {64 << 10, 64 << 10}, "RLIMIT_MSGQUEUE": {}} {
		rlimits = append(rlimits, object{"type": kind, "soft": l[0], "hard": l[1]})
	}
	masked := []string{"/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi"}
	ids := []object{{"containerID": 0, "hostID": uidStart + (uidRanges-1)*65536, "size": 65536}}
	return object{
		"ociVersion": "1.0.2", "hostname": "mcp", "root": object{"path": root, "readonly": true}, "mounts": mounts,
		"process": object{
			"args": []string{"/bin/sh", "-c", script}, "env": s.Env, "cwd": s.Dir, "noNewPrivileges": true, "rlimits": rlimits, "capabilities": object{},
			"user": object{"uid": images.UID, "gid": images.GID, "umask": 0o022},
		},
		"linux": object{
			"namespaces": namespaces, "uidMappings": ids, "gidMappings": ids, "maskedPaths": masked,
			"readonlyPaths": []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
			"cgroupsPath":   "/mcp-gateway-runc-" + s.ID + "-" + strconv.Itoa(os.Getpid()),
			"resources":     object{"devices": []object{{"allow": false, "access": "rwm"}}},
		},
	}
}
