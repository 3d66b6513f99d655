// Package exposure says how much a profile leaves open: as a score with its reasons,
// and as a systemd unit, for systemd to judge. It reads profiles and changes none.
//
// Runs in: CLI.
package exposure

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"mcpgateway/policy/profile"
)

// Reason is something that a profile leaves open, and how much it matters.
type Reason struct {
	Key    string  `json:"key"`
	Text   string  `json:"text"`
	Points float64 `json:"points"`
}

// dangerous are calls that are not in the default set, or only for some arguments:
// where the kernel has a mistake they lead out of a sandbox or into other processes.
var dangerous = []string{
	"bpf", "fsconfig", "fsmount", "fsopen", "keyctl", "kcmp", "mount", "move_mount", "name_to_handle_at", "open_by_handle_at", "open_tree",
	"perf_event_open", "pidfd_getfd", "pivot_root", "process_vm_readv", "process_vm_writev", "ptrace", "setns", "umount2", "unshare", "userfaultfd",
}

// Score says how much a profile leaves open, from 0.0, nothing, to 10.0, and
// for what reasons, the weightiest first. It judges profiles, not servers: what a
// server's own program could do with it is for people to say.
func Score(p profile.Profile) (score float64, reasons []Reason) {
	open := func(is bool, points float64, key, format string, args ...any) {
		if is && points > 0 {
			reasons = append(reasons, Reason{key, fmt.Sprintf(format, args...), math.Round(points*100) / 100})
		}
	}
	exposeFilesystem(p.Filesystem, open)
	exposeNetwork(p.Network, open)
	exposeCalls(p.Syscalls, open)
	l := p.Limits
	open(l.MemoryMax == 0, 0.5, "limits.memory_max", "can use up all memory")
	open(l.PIDsMax == 0, 0.5, "limits.pids_max", "can fill the host with processes")
	open(l.CPUMax == 0, 0.3, "limits.cpu_max", "can use all cores")
	open(l.SwapMax > 0, 0.1, "limits.swap_max", "its memory can get onto a disk")
	open(len(l.IOMax) == 0, 0.1, "limits.io_max", "can keep disks busy")
	open(p.Rlimits.Core > 0, 0.1, "rlimits.core", "leaves core files, which hold what was in memory")
	open(p.Rlimits.FSize == 0, 0.05, "rlimits.fsize", "can make files of any size")
	open(p.Rlimits.MemLock > 1<<20, 0.05, "rlimits.memlock", "can keep memory from being swapped out")
	open(p.Rlimits.MsgQueue > 0, 0.05, "rlimits.msgqueue", "can have message queues")
	open(p.Time.Run == 0, 0.05, "time.run", "can run for ever")
	open(p.Landlock.Mode == "available", 0.1, "landlock.mode", "starts without Landlock if the kernel has none")
	open(p.Landlock.Mode == "off", 0.3, "landlock.mode", "Landlock does not narrow it once more")
	open(p.LSM == profile.LSM{}, 0.1, "lsm.apparmor", "no security module has a label for it")
	open(len(p.Environment.Pass) > 0, min(0.3, 0.1*float64(len(p.Environment.Pass))), "environment.pass", "gets %s of the daemon's environment", strings.Join(p.Environment.Pass, ", "))

	slices.SortStableFunc(reasons, func(a, b Reason) int { return int(math.Copysign(1, b.Points-a.Points)) })
	for _, r := range reasons {
		score += r.Points
	}
	return min(10, math.Round(score*10)/10), reasons
}

type openFunc func(is bool, points float64, key, format string, args ...any)

func exposeFilesystem(f profile.Filesystem, open openFunc) {
	open(f.Directories == "rw", 0.4, "filesystem.directories", "can change its project's files")
	open(f.Directories == "ro", 0.1, "filesystem.directories", "can read its project's files")
	var readable, writable float64
	for _, m := range f.Mounts {
		if m.Access == "rw" {
			writable++
		} else {
			readable++
		}
	}
	open(writable > 0, min(0.6, 0.2*writable), "filesystem.mounts", "can change %v folders of the host", writable)
	open(readable > 0, min(0.2, 0.05*readable), "filesystem.mounts", "sees %v folders of the host", readable)
}

func exposeNetwork(n profile.Network, open openFunc) {
	open(n.Mode == "host", 3, "network.mode", "is on the host's network: reaches its loopback services and every address")
	open(n.Mode == "allow", 0.7, "network.mode", "can send what it knows to the names it is allowed")
	for _, entry := range n.Allow {
		open(strings.HasPrefix(entry, "*."), 0.1, "network.allow", "reaches every host of %s", entry)
	}
	open(len(n.Private) > 0, 0.3, "network.private", "allowed names may lead to %s", strings.Join(n.Private, ", "))
}

func exposeCalls(s profile.Syscalls, open openFunc) {
	plus, minus, err := s.Resolve()
	if s.AuditOnly || err != nil {
		open(true, 2.5, "syscalls.audit_only", "no system call is refused, only logged")
		minus = nil
	}
	for _, g := range profile.Groups() {
		left := slices.DeleteFunc(g.Calls, func(call string) bool { return slices.Contains(minus, call) })
		open(len(left) > 0, 0.05, "syscalls.base", "can make calls of %s: %s", g.Name, strings.Join(left, ", "))
	}
	var worst, others []string
	for _, call := range plus {
		if slices.Contains(dangerous, call) {
			worst = append(worst, call)
		} else {
			others = append(others, call)
		}
	}
	open(len(worst) > 0, min(2, 0.5*float64(len(worst))), "syscalls.plus", "can make dangerous calls: %s", strings.Join(worst, ", "))
	open(len(others) > 0, min(0.5, 0.1*float64(len(others))), "syscalls.plus", "can make more calls than usual: %s", strings.Join(others, ", "))
	open(s.Action == "errno" && !s.AuditOnly, 0.05, "syscalls.action", "a refused call does not end it")
}
