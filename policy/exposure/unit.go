package exposure

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"mcpgateway/policy/profile"
)

// refusedGroups are systemd's groups of which the default set has no call, and
// refusedCalls single ones of which it does not have them all (systemd.exec(5)).
const (
	refusedGroups = "@cpu-emulation @debug @keyring @module @mount @obsolete @raw-io @reboot @swap"
	refusedCalls  = "_sysctl acct bpf chroot clock_settime fanotify_init io_uring_enter io_uring_register io_uring_setup mbind migrate_pages move_pages " +
		"nfsservctl open_by_handle_at process_vm_readv process_vm_writev quotactl quotactl_fd set_mempolicy set_mempolicy_home_node setdomainname " +
		"sethostname setns settimeofday unshare userfaultfd vhangup"
)

// alwaysLines hold for every sandbox, whatever its profile says.
const alwaysLines = `# An identity of its own, and no way to another.
DynamicUser=yes
PrivateUsers=yes
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
RestrictSUIDSGID=yes
KeyringMode=private
RemoveIPC=yes
PrivateIPC=yes

# A root of its own that is empty but for what is named.
ProtectSystem=strict
ProtectHome=yes
PrivateMounts=yes
PrivateTmp=yes
TemporaryFileSystem=/:ro
BindReadOnlyPaths=/usr -/bin -/sbin -/lib -/lib32 -/lib64 -/libx32
ProtectProc=invisible
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectHostname=yes
PrivateDevices=yes
DevicePolicy=strict
DeviceAllow=/dev/null rw
DeviceAllow=/dev/zero rw
DeviceAllow=/dev/full rw
DeviceAllow=/dev/random rw
DeviceAllow=/dev/urandom rw
`

// unit is the text of a systemd unit as it grows.
type unit struct{ strings.Builder }

func (u *unit) set(is bool, directive, format string, args ...any) {
	if is {
		fmt.Fprintf(u, "%s=%s\n", directive, fmt.Sprintf(format, args...))
	}
}

func (u *unit) section(comment string) { fmt.Fprintf(u, "\n# %s\n", comment) }

// Unit writes the systemd service that confines command as the profile does, as
// far as systemd can: for others to read and to judge (systemd-analyze(1),
// security). What the sandbox does not enforce is not in it.
func Unit(e *profile.Effective, command string) string {
	u := new(unit)
	fmt.Fprintf(u, "# The profile %q as a systemd service. The gateway does not use it.\n[Unit]\nDescription=%s\n\n[Service]\n", e.Name, line(e.Description))
	u.set(true, "ExecStart", "%s", line(command))
	u.WriteString(alwaysLines)
	u.filesystem(&e.Filesystem)
	u.network(&e.Network)
	u.calls(e.Syscalls)
	u.limits(e)
	u.section("Further")
	u.set(len(e.Environment.Pass) > 0, "PassEnvironment", "%s", strings.Join(e.Environment.Pass, " "))
	u.set(e.LSM.AppArmor != "", "AppArmorProfile", "%s", line(e.LSM.AppArmor))
	u.set(e.LSM.SELinux != "", "SELinuxContext", "%s", line(e.LSM.SELinux))
	u.set(true, "UMask", "0022")
	return u.String()
}

func (u *unit) filesystem(f *profile.Filesystem) {
	noExec := []string{"/tmp", "/dev/shm"}
	for _, m := range f.Mounts {
		u.set(m.Access == "rw", "BindPaths", "%s:%s", quoted(m.Source), quoted(m.Target))
		u.set(m.Access != "rw", "BindReadOnlyPaths", "%s:%s", quoted(m.Source), quoted(m.Target))
		if m.NoExec {
			noExec = append(noExec, quoted(m.Target))
		}
	}
	u.set(true, "TemporaryFileSystem", "/tmp:size=%d", f.TmpSize)
	u.set(true, "TemporaryFileSystem", "/dev/shm:size=%d", f.ShmSize)
	for _, t := range f.Tmpfs {
		u.set(true, "TemporaryFileSystem", "%s:size=%d", quoted(t.Target), t.Size)
		noExec = append(noExec, quoted(t.Target))
	}
	u.set(true, "NoExecPaths", "%s", strings.Join(noExec, " "))
	for _, path := range f.Hidden {
		u.set(true, "InaccessiblePaths", "-%s", quoted(path))
	}
}

func (u *unit) network(n *profile.Network) {
	u.section("The network: its own sockets, and of netlink only what lists interfaces")
	u.set(true, "RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK")
	if n.Mode == "host" {
		return
	}
	u.set(true, "PrivateNetwork", "yes")
	u.set(true, "IPAddressDeny", "any")
	u.set(true, "IPAddressAllow", "localhost")
	if n.Mode == "allow" {
		fmt.Fprintf(u, "# The gateway's proxy connects to these names, over listeners inside; systemd has no such thing: %s\n", strings.Join(n.Allow, ", "))
	}
}

func (u *unit) calls(s profile.Syscalls) {
	plus, minus, err := s.Resolve()
	if err != nil {
		return // of no loaded profile
	}
	u.section("System calls")
	directive := "SystemCallFilter"
	if s.AuditOnly {
		directive = "SystemCallLog"
	}
	u.set(true, "SystemCallArchitectures", "native")
	u.set(true, directive, "~%s", refusedGroups)
	u.set(true, directive, "~%s", refusedCalls)
	u.set(len(minus) > 0, directive, "~%s", strings.Join(minus, " "))
	u.set(len(plus) > 0, directive, "%s", strings.Join(plus, " "))
	u.set(s.Action == "errno", "SystemCallErrorNumber", "EPERM")
	refused := func(calls ...string) bool {
		return !s.AuditOnly && !slices.ContainsFunc(calls, func(call string) bool { return !slices.Contains(minus, call) })
	}
	u.set(!s.AuditOnly && !slices.Contains(plus, "unshare") && !slices.Contains(plus, "setns"), "RestrictNamespaces", "yes")
	u.set(refused("personality"), "LockPersonality", "yes")
	u.set(refused("sched_setattr", "sched_setparam", "sched_setscheduler"), "RestrictRealtime", "yes")
	u.set(refused("adjtimex", "clock_adjtime"), "ProtectClock", "yes")
}

func (u *unit) limits(e *profile.Effective) {
	u.section("Limits")
	l, r := e.Limits, e.Rlimits
	u.set(l.MemoryMax > 0, "MemoryMax", "%d", l.MemoryMax)
	u.set(l.MemoryHigh > 0, "MemoryHigh", "%d", l.MemoryHigh)
	u.set(true, "MemorySwapMax", "%d", l.SwapMax)
	u.set(l.CPUMax > 0, "CPUQuota", "%s%%", strconv.FormatFloat(l.CPUMax*100, 'f', -1, 64))
	u.set(true, "CPUWeight", "%d", l.CPUWeight)
	u.set(l.PIDsMax > 0, "TasksMax", "%d", l.PIDsMax)
	for _, m := range l.IOMax {
		u.set(m.ReadBPS > 0, "IOReadBandwidthMax", "%s %d", quoted(m.Device), m.ReadBPS)
		u.set(m.WriteBPS > 0, "IOWriteBandwidthMax", "%s %d", quoted(m.Device), m.WriteBPS)
		u.set(m.ReadIOPS > 0, "IOReadIOPSMax", "%s %d", quoted(m.Device), m.ReadIOPS)
		u.set(m.WriteIOPS > 0, "IOWriteIOPSMax", "%s %d", quoted(m.Device), m.WriteIOPS)
	}
	u.set(true, "LimitCORE", "%d", r.Core)
	u.set(true, "LimitNOFILE", "%d:%d", min(1024, r.NoFile), r.NoFile)
	u.set(true, "LimitMEMLOCK", "%d", r.MemLock)
	u.set(true, "LimitMSGQUEUE", "%d", r.MsgQueue)
	u.set(r.FSize > 0, "LimitFSIZE", "%d", r.FSize)
	u.set(true, "LimitSTACK", "%d", r.Stack)
	u.set(e.Time.Run > 0, "RuntimeMaxSec", "%d", int64(e.Time.Run.Seconds()))
	u.set(e.Time.CPU > 0, "LimitCPU", "%d", int64(e.Time.CPU.Seconds()))
}

// line keeps a text on its line, and systemd from reading "%" as a specifier.
func line(text string) string {
	return strings.NewReplacer("\n", " ", "\r", " ", "%", "%%").Replace(text)
}

// quoted is a path as one word of a list (systemd.syntax(7)).
func quoted(path string) string {
	if strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./") == "" {
		return path
	}
	return line(strconv.Quote(strings.ReplaceAll(path, ":", `\:`)))
}
