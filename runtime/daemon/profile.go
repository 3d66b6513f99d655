package daemon

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"mcpgateway/policy"
	"mcpgateway/policy/profile"
	"mcpgateway/runtime/config"
	"mcpgateway/sandbox"
)

// softFiles is the soft limit of open files at most: select(2) takes no more.
const softFiles = 1024

// confine lays a profile over spec. Every key of it ends up here or in environment,
// but for // filesystem.directories, which the configuration's check has applied.
func confine(spec *sandbox.Spec, p *profile.Profile) error {
	plus, minus, err := p.Syscalls.Resolve()
	if err != nil {
		return err
	}
	for _, m := range p.Filesystem.Mounts {
		mount, err := open(m)
		if err != nil {
			return fmt.Errorf("mount %s: %w", m.Source, err)
		}
		spec.Mounts = append(spec.Mounts, mount)
	}
	for _, t := range p.Filesystem.Tmpfs {
		spec.Tmpfs = append(spec.Tmpfs, sandbox.Tmpfs{Target: t.Target, Size: int64(t.Size)})
	}
	spec.TmpSize, spec.ShmSize, spec.Hidden = int64(p.Filesystem.TmpSize), int64(p.Filesystem.ShmSize), p.Filesystem.Hidden
	spec.IDs = p.Namespaces.IDs
	spec.Limits = profileLimits(p.Limits)
	spec.Rlimits = rlimits(p.Rlimits, p.Time.CPU)
	spec.Syscalls = sandbox.Syscalls{Plus: plus, Minus: minus, Kill: p.Syscalls.Action == "kill", AuditOnly: p.Syscalls.AuditOnly}
	spec.Network = networkMode(p.Network.Mode)
	spec.Landlock = sandbox.Landlock{Off: p.Landlock.Mode == "off", Required: p.Landlock.Mode == "required", Read: p.Landlock.Read}
	spec.AppArmor, spec.SELinux = p.LSM.AppArmor, p.LSM.SELinux
	spec.MaxTime = p.Time.Run
	return nil
}

// open opens what a mount of a profile shows. One that can be written belongs to
// its owner on disk, as an allowed directory does.
func open(m profile.Mount) (sandbox.Mount, error) {
	file, err := sandbox.Open(m.Source)
	if err != nil {
		return sandbox.Mount{}, err
	}
	mount := sandbox.Mount{Source: m.Source, Target: m.Target, File: file, NoExec: m.NoExec}
	if m.Access == string(config.AccessReadWrite) {
		if err := own(&mount, "", config.AccessReadWrite); err != nil {
			file.Close()
			return sandbox.Mount{}, err
		}
	}
	return mount, nil
}

// networkMode is strict where a mode is not known, though config knows them all.
func networkMode(mode string) sandbox.NetworkMode {
	switch mode {
	case "allow":
		return sandbox.NetworkEgress
	case "host":
		return sandbox.NetworkHost
	}
	return sandbox.NetworkNone
}

func profileLimits(l profile.Limits) sandbox.Limits {
	limits := sandbox.Limits{
		MemoryBytes: int64(l.MemoryMax), MemoryHighBytes: int64(l.MemoryHigh), SwapBytes: int64(l.SwapMax),
		CPU: l.CPUMax, CPUWeight: l.CPUWeight, PIDs: int64(l.PIDsMax),
	}
	for _, io := range l.IOMax {
		limits.IO = append(limits.IO, sandbox.IOLimit{
			Device: io.Device, ReadBytes: uint64(io.ReadBPS), WriteBytes: uint64(io.WriteBPS),
			ReadOps: uint64(io.ReadIOPS), WriteOps: uint64(io.WriteIOPS),
		})
	}
	return limits
}

func rlimits(r profile.Rlimits, cpu time.Duration) []sandbox.Rlimit {
	both := func(resource int, limit uint64) sandbox.Rlimit {
		return sandbox.Rlimit{Resource: resource, Soft: limit, Hard: limit}
	}
	list := []sandbox.Rlimit{
		both(unix.RLIMIT_CORE, uint64(r.Core)),
		{Resource: unix.RLIMIT_NOFILE, Soft: uint64(min(r.NoFile, softFiles)), Hard: uint64(r.NoFile)},
		both(unix.RLIMIT_MEMLOCK, uint64(r.MemLock)),
		both(unix.RLIMIT_MSGQUEUE, uint64(r.MsgQueue)),
		both(unix.RLIMIT_STACK, uint64(r.Stack)),
	}
	if r.FSize > 0 {
		list = append(list, both(unix.RLIMIT_FSIZE, uint64(r.FSize)))
	}
	if cpu > 0 {
		// At the soft limit comes SIGXCPU, which says why; at the hard one SIGKILL.
		hard := uint64(cpu.Seconds())
		list = append(list, sandbox.Rlimit{Resource: unix.RLIMIT_CPU, Soft: max(1, hard-1), Hard: hard})
	}
	return list
}

// network is the proxy's part of a profile, or nil if it has none.
func network(n profile.Network) *policy.Network {
	if n.Mode != "allow" {
		return nil
	}
	return &policy.Network{Allow: n.Allow, Private: n.Private, MaxConnections: n.MaxConnections, ConnectionsPerSecond: n.ConnectionsPerSecond}
}
