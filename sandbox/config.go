package sandbox

import (
	"slices"

	devices "github.com/opencontainers/cgroups/devices/config"
	"golang.org/x/sys/unix"
)

// Sizes of what a sandbox may write beside its mounts, where its spec says none.
// They count towards its memory limit too.
const (
	defaultTmpSize = 256 << 20
	defaultShmSize = 64 << 20
	// A process that may not trace another does not see it: the launcher is out of
	// sight (proc_pid(5)).
	procOption, procValue = "hidepid", "invisible"
)

// What every sandbox has of its own.
const (
	procPath     = "/proc"
	devPath      = "/dev"
	shmPath      = "/dev/shm"
	launcherPath = "/run/mcp-gateway-launch"
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

// readOnlyPath stays readable: programs look up limits there.
const readOnlyPath = "/proc/sys"

// deviceNodes are all of /dev but its links.
var deviceNodes = []struct {
	name         string
	major, minor int64
}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}}

// deviceLinks lead to what a process has itself.
var deviceLinks = []Link{
	{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"},
}

// deviceRules refuse every device but those, even if a node of one came in.
func deviceRules() []*devices.Rule {
	rules := []*devices.Rule{{Type: devices.WildcardDevice, Major: devices.Wildcard, Minor: devices.Wildcard, Permissions: "rwm"}}
	for _, d := range deviceNodes {
		rules = append(rules, &devices.Rule{Type: devices.CharDevice, Major: d.major, Minor: d.minor, Permissions: "rw", Allow: true})
	}
	return rules
}

// rlimits are those of every sandbox, and what its spec says of others.
func (s *Sandbox) rlimits() []Rlimit {
	list := []Rlimit{
		{Resource: unix.RLIMIT_CORE},
		{Resource: unix.RLIMIT_NOFILE, Soft: 1024, Hard: 4096},
		{Resource: unix.RLIMIT_MEMLOCK, Soft: 64 << 10, Hard: 64 << 10},
		{Resource: unix.RLIMIT_MSGQUEUE},
	}
	for _, limit := range s.spec.Rlimits {
		if i := slices.IndexFunc(list, func(other Rlimit) bool { return other.Resource == limit.Resource }); i >= 0 {
			list[i] = limit
		} else {
			list = append(list, limit)
		}
	}
	return list
}
