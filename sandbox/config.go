package sandbox

import (
	"path/filepath"

	devices "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"
)

// Sizes of what a sandbox may write beside its directories. They count towards
// its memory limit too.
const (
	tmpOptions = "mode=1777,size=256m,nr_inodes=65536"
	shmOptions = "mode=1777,size=64m,nr_inodes=4096"
	devOptions = "mode=755,size=64k,nr_inodes=64"
)

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
	ids := []configs.IDMap{{ContainerID: 0, HostID: int64(s.base), Size: idRange}}
	return &configs.Config{
		Rootfs:          root,
		Readonlyfs:      true,
		RootPropagation: unix.MS_PRIVATE | unix.MS_REC,
		NoNewPrivileges: true,
		Capabilities:    &configs.Capabilities{},
		Namespaces: configs.Namespaces{
			{Type: configs.NEWUSER}, {Type: configs.NEWNS}, {Type: configs.NEWPID}, {Type: configs.NEWNET},
			{Type: configs.NEWIPC}, {Type: configs.NEWUTS}, {Type: configs.NEWCGROUP},
		},
		UIDMappings:   ids,
		GIDMappings:   ids,
		Hostname:      "mcp",
		Networks:      []*configs.Network{{Type: "loopback"}},
		Cgroups:       cgroup,
		Devices:       deviceList(),
		MaskPaths:     maskedPaths,
		ReadonlyPaths: readOnlyPaths,
		Mounts:        s.mounts(),
		Rlimits: []configs.Rlimit{
			{Type: unix.RLIMIT_CORE},
			{Type: unix.RLIMIT_NOFILE, Soft: 1024, Hard: 4096},
			{Type: unix.RLIMIT_MEMLOCK, Soft: 64 << 10, Hard: 64 << 10},
			{Type: unix.RLIMIT_MSGQUEUE},
		},
	}, nil
}

func (s *Sandbox) mounts() []*configs.Mount {
	const none = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	list := []*configs.Mount{
		{Device: "proc", Source: "proc", Destination: "/proc", Flags: none},
		{Device: "tmpfs", Source: "tmpfs", Destination: "/dev", Flags: none | unix.MS_RDONLY, Data: devOptions},
		{Device: "tmpfs", Source: "tmpfs", Destination: "/dev/shm", Flags: none, Data: shmOptions},
		{Device: "tmpfs", Source: "tmpfs", Destination: "/tmp", Flags: none, Data: tmpOptions},
	}
	directories := map[string]Directory{}
	for _, d := range s.spec.Directories {
		directories[d.Path] = d
	}
	for _, m := range binds(s.spec) {
		if d, ok := directories[m.Target]; ok && m.Source == m.Target {
			list = append(list, s.directoryMount(d))
		} else {
			list = append(list, bind(m, unix.MOUNT_ATTR_RDONLY))
		}
	}
	return append(list, bind(Mount{Source: s.runtime.launcher(), Target: launcherPath}, unix.MOUNT_ATTR_RDONLY))
}

// bind shows m with attributes for itself and every mount below it.
func bind(m Mount, attributes uint64) *configs.Mount {
	return &configs.Mount{
		Device:      "bind",
		Source:      m.Source,
		Destination: filepath.Clean(m.Target),
		Flags:       unix.MS_BIND | unix.MS_REC,
		RecAttr:     &unix.MountAttr{Attr_set: attributes | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV},
	}
}

// directoryMount maps the owner on disk to the user inside, and nobody else:
// files of other users show as nobody's and can't be made.
func (s *Sandbox) directoryMount(d Directory) *configs.Mount {
	// A file that can be written can't be executed by its name: programs come in by
	// read-only mounts.
	attributes := uint64(unix.MOUNT_ATTR_NOEXEC)
	if !d.Writable {
		attributes |= unix.MOUNT_ATTR_RDONLY
	}
	m := bind(Mount{Source: d.Path, Target: d.Path}, attributes)
	if d.UID != 0 {
		m.IDMapping = &configs.MountIDMapping{
			Recursive:   true,
			UIDMappings: []configs.IDMap{{ContainerID: int64(d.UID), HostID: int64(s.base + s.spec.UID), Size: 1}},
			GIDMappings: []configs.IDMap{{ContainerID: int64(d.GID), HostID: int64(s.base + s.spec.GID), Size: 1}},
		}
	}
	return m
}
