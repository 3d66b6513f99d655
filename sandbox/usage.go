package sandbox

import (
	"log/slog"
	"time"

	"github.com/opencontainers/cgroups"
)

// Usage is what a sandbox has used since its start, or uses now, as the kernel's
// cgroup files say. What the host does not tell is zero.
type Usage struct {
	CPU              time.Duration
	Throttled        time.Duration // that it had to wait for its CPU limit
	Periods          uint64        // of the CPU limit, in which it wanted CPU
	ThrottledPeriods uint64        // of those, in which it came to the limit
	Memory           int64         // bytes now
	MemoryPeak       int64         // most bytes; cgroup v2 has it since Linux 5.19
	PIDs             int64         // processes and threads now
	// Stalls are how long some of it waited for want of CPU, memory, disk (PSI's
	// "some"); cgroup v2 only.
	StalledCPU, StalledMemory, StalledIO time.Duration
}

// Usage reads what the sandbox uses. Once it has ended, that is what it used in all.
func (s *Sandbox) Usage() Usage {
	select {
	case <-s.done:
		return s.exit.Usage
	default:
		return s.measure()
	}
}

// measure reads the cgroup, which must be there still.
func (s *Sandbox) measure() Usage {
	stats, err := s.cgroup.GetStats()
	if err != nil { // it is ending: then what it used is told with its end
		slog.Debug("read usage of sandbox", "sandbox", s.spec.ID, "err", err)
		return Usage{}
	}
	cpu, memory := stats.CpuStats, stats.MemoryStats
	return Usage{
		CPU:       time.Duration(cpu.CpuUsage.TotalUsage),
		Throttled: time.Duration(cpu.ThrottlingData.ThrottledTime),
		Periods:   cpu.ThrottlingData.Periods, ThrottledPeriods: cpu.ThrottlingData.ThrottledPeriods,
		Memory: int64(memory.Usage.Usage), MemoryPeak: int64(memory.Usage.MaxUsage), PIDs: int64(stats.PidsStats.Current),
		StalledCPU: stalled(cpu.PSI), StalledMemory: stalled(memory.PSI), StalledIO: stalled(stats.BlkioStats.PSI),
	}
}

// stalled is the kernel's microseconds.
func stalled(psi *cgroups.PSIStats) time.Duration {
	if psi == nil {
		return 0
	}
	return time.Duration(psi.Some.Total) * time.Microsecond
}
