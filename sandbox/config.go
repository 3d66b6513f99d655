package sandbox

import (
	"cmp"
	"fmt"
	"slices"

	devices "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"
)

// Sizes of what a sandbox may write beside its mounts, where its spec says none.
// They count towards its memory limit too.
const (
	defaultTmpSize = 256 << 20
	defaultShmSize = 64 << 20
	devOptions     = "mode=755,size=64k,nr_inodes=64"
	// A process that may not trace another does not see it: the launcher is out of
	// sight (proc_pid(5)).
	procOptions = "hidepid=invisible"
)

// inodes bounds the number of files by the space: without a bound of their own,
// empty files would cost kernel memory alone.
func inodes(size int64) int64 { return max(16, min(size/4096, 1<<20)) }

// maskedPaths are files of /proc that tell of the host rather than of the
// sandbox, or reach into it.
var maskedPaths = []string{
	"/proc/acpi", "/proc/asound", "/proc/buddyinfo", "/proc/bootconfig", "/proc/bus", "/proc/cmdline", "/proc/config.gz", "/proc/diskstats",
	"/proc/driver", "/proc/fs", "/proc/interrupts", "/proc/iomem", "/proc/ioports", "/proc/irq", "/proc/kallsyms",
	"/proc/kcore", "/proc/key-users", "/proc/keys", "/proc/kmsg", "/proc/kpagecgroup", "/proc/kpagecount",
	"/proc/kpageflags", "/proc/latency_stats", "/proc/modules", "/proc/pagetypeinfo", "/proc/partitions",
	"/proc/sched_debug", "/proc/schedstat", "/proc/scsi", "/proc/slabinfo", "/proc/softirqs", "/proc/swaps",
	"/proc/sysrq-trigger", "/proc/sysvipc", "/proc/timer_list", "/proc/timer_stats", "/proc/tty",
	"/proc/vmallocinfo", "/proc/zoneinfo", "/sys",
}

// readOnlyPaths stay readable: programs look up limits there.
var readOnlyPaths = []string{"/proc/sys"}

// deviceNodes are all of /dev but its links.
var deviceNodes = []struct {
	name         string
	major, minor int64
}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}}

func deviceList() []*devices.Device {
	var list []*devices.Device
	for _, d := range deviceNodes {
		list = append(list, &devices.Device{
			Path:     "/dev/" + d.name,
			FileMode: 0o666,
			Rule:     devices.Rule{Type: devices.CharDevice, Major: d.major, Minor: d.minor, Permissions: "rw", Allow: true},
		})
	}
	return list
}

// deviceRules refuse every device but those, even if a node of one came in.
func deviceRules() []*devices.Rule {
	rules := []*devices.Rule{{Type: devices.WildcardDevice, Major: devices.Wildcard, Minor: devices.Wildcard, Permissions: "rwm"}}
	for _, d := range deviceList() {
		rules = append(rules, &d.Rule)
	}
	return rules
}

// config returns what libcontainer makes of the sandbox. Its own system-call
// filter stays off: it compiles it at every start (25 ms of 35), and could not
// have it cover the launcher.
func (s *Sandbox) config(root string) (*configs.Config, error) {
	cgroup, err := s.runtime.hierarchy.config(s.spec)
	if err != nil {
		return nil, err
	}
	ids := []configs.IDMap{{ContainerID: 0, HostID: int64(s.base), Size: int64(cmp.Or(s.spec.IDs, idRange))}}
	namespaces := configs.Namespaces{
		{Type: configs.NEWUSER}, {Type: configs.NEWNS}, {Type: configs.NEWPID},
		{Type: configs.NEWIPC}, {Type: configs.NEWUTS}, {Type: configs.NEWCGROUP},
	}
	var networks []*configs.Network
	if s.spec.Network != NetworkHost {
		namespaces.Add(configs.NEWNET, "")
		networks = []*configs.Network{{Type: "loopback"}}
	}
	return &configs.Config{
		Rootfs:          root,
		Readonlyfs:      true,
		RootPropagation: unix.MS_PRIVATE | unix.MS_REC,
		NoNewPrivileges: true,
		Capabilities:    &configs.Capabilities{},
		Namespaces:      namespaces,
		UIDMappings:     ids,
		GIDMappings:     ids,
		Hostname:        "mcp",
		Networks:        networks,
		Cgroups:         cgroup,
		Devices:         deviceList(),
		ReadonlyPaths:   readOnlyPaths,
		Mounts:          s.mounts(),
		Rlimits:         s.rlimits(),
		AppArmorProfile: s.spec.AppArmor,
		ProcessLabel:    s.spec.SELinux,
	}, nil
}

// rlimits are those of every sandbox, and what its spec says of others.
func (s *Sandbox) rlimits() []configs.Rlimit {
	list := []configs.Rlimit{
		{Type: unix.RLIMIT_CORE},
		{Type: unix.RLIMIT_NOFILE, Soft: 1024, Hard: 4096},
		{Type: unix.RLIMIT_MEMLOCK, Soft: 64 << 10, Hard: 64 << 10},
		{Type: unix.RLIMIT_MSGQUEUE},
	}
	for _, l := range s.spec.Rlimits {
		limit := configs.Rlimit{Type: l.Resource, Soft: l.Soft, Hard: l.Hard}
		if i := slices.IndexFunc(list, func(other configs.Rlimit) bool { return other.Type == l.Resource }); i >= 0 {
			list[i] = limit
		} else {
			list = append(list, limit)
		}
	}
	return list
}

// mounts are those that libcontainer makes: file systems of the kernel, and the
// launcher, whose folder only root can write. What the host shows beside it is
// mounted by descriptor (mounts.go).
func (s *Sandbox) mounts() []*configs.Mount {
	const none = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	shm := cmp.Or(s.spec.ShmSize, defaultShmSize)
	return []*configs.Mount{
		{Device: "proc", Source: "proc", Destination: "/proc", Flags: none, Data: procOptions},
		{Device: "tmpfs", Source: "tmpfs", Destination: "/dev", Flags: none | unix.MS_RDONLY, Data: devOptions},
		{Device: "tmpfs", Source: "tmpfs", Destination: "/dev/shm", Flags: none, Data: fmt.Sprintf("mode=1777,size=%d,nr_inodes=%d", shm, inodes(shm))},
		{
			Device: "bind", Source: s.runtime.launcher(), Destination: launcherPath, Flags: unix.MS_BIND,
			RecAttr: &unix.MountAttr{Attr_set: attributes(Mount{})},
		},
	}
}
