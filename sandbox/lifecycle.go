package sandbox

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"syscall"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fscommon"
	"golang.org/x/sys/unix"
)

// Stop asks the server to end (SIGTERM), kills whatever is left after grace, and
// returns when nothing is.
func (s *Sandbox) Stop(grace time.Duration) {
	s.release(unix.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(grace):
		s.Kill()
	}
}

// Kill ends every process of the sandbox at once and returns when they are gone.
func (s *Sandbox) Kill() {
	s.kill()
	<-s.done
}

// kill ends the first process, and with it the kernel ends all of its pid
// namespace (pid_namespaces(7)). cgroup.kill does the same without asking who is
// in there; it is missing before Linux 5.14 and where there is no cgroup v2.
func (s *Sandbox) kill() {
	if path := s.cgroup.Path(""); path != "" {
		_ = cgroups.WriteFile(path, "cgroup.kill", "1")
	}
	s.release(unix.SIGKILL)
}

// release sends a signal to the first process and thaws what is frozen, for good:
// with the v1 freezer, nothing that is frozen ends.
func (s *Sandbox) release(sig syscall.Signal) {
	s.signal(sig)
	s.freezeMu.Lock()
	defer s.freezeMu.Unlock()
	s.ending = true
	if err := s.thawLocked(); err != nil {
		slog.Error("thaw sandbox to end it", "sandbox", s.spec.ID, "err", err)
	}
}

// Freeze halts every process of the sandbox until Thaw. Its limits hold all the
// same, that of its time among them.
func (s *Sandbox) Freeze() error {
	s.freezeMu.Lock()
	defer s.freezeMu.Unlock()
	if s.ending {
		return fmt.Errorf("freeze sandbox %q: it is being stopped", s.spec.ID)
	}
	s.frozen.Store(true)
	if err := s.cgroup.Freeze(cgroups.Frozen); err != nil {
		// Half a server that is frozen answers wrongly.
		return fmt.Errorf("freeze sandbox %q: %w", s.spec.ID, errors.Join(err, s.thawLocked()))
	}
	return nil
}

// Thaw lets a frozen sandbox go on. It is no error if it is not frozen.
func (s *Sandbox) Thaw() error {
	s.freezeMu.Lock()
	defer s.freezeMu.Unlock()
	return s.thawLocked()
}

func (s *Sandbox) thawLocked() error {
	if !s.frozen.Load() {
		return nil
	}
	if err := s.cgroup.Freeze(cgroups.Thawed); err != nil {
		return fmt.Errorf("thaw sandbox %q: %w", s.spec.ID, err)
	}
	s.frozen.Store(false)
	return nil
}

// Frozen reports whether the sandbox is frozen.
func (s *Sandbox) Frozen() bool { return s.frozen.Load() }

// Reclaim makes the kernel look for memory that the sandbox can do without, such
// as files it has read: so many bytes, zero for all. cgroup v1 knows only all.
// That there is less is no error.
func (s *Sandbox) Reclaim(bytes int64) error {
	file, amount := "memory.force_empty", int64(0)
	if s.runtime.hierarchy.unified {
		if file, amount = "memory.reclaim", bytes; amount == 0 {
			amount = s.Memory()
		}
	}
	err := cgroups.WriteFile(s.cgroup.Path("memory"), file, strconv.FormatInt(amount, 10))
	if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("reclaim memory of sandbox %q: %w", s.spec.ID, err)
	}
	return nil
}

// Memory returns how many bytes the sandbox uses, zero once it has ended.
func (s *Sandbox) Memory() int64 {
	file := "memory.usage_in_bytes"
	if s.runtime.hierarchy.unified {
		file = "memory.current"
	}
	n, _ := fscommon.GetCgroupParamInt(s.cgroup.Path("memory"), file)
	return n
}

// limitsReached finds out, of a server that has ended, which limits it had come
// to. Its cgroup must still be there.
func (s *Sandbox) limitsReached() {
	kills, err := s.cgroup.OOMKillCount()
	if err != nil {
		slog.Error("count memory kills", "sandbox", s.spec.ID, "err", err)
	}
	s.exit.OOM = kills > 0
	if s.exit.OOM {
		s.exit.MemoryLimit, s.exit.OfProject = s.memoryLimitReached()
	}
	refused, _ := fscommon.GetValueByKey(s.cgroup.Path("pids"), "pids.events", "max") // since Linux 4.3
	s.exit.PIDLimit = refused > 0
}

// memoryLimitReached tells the sandbox's limit from its project's. cgroup v2 counts
// at the cgroup whose limit it was. v1 does not where swap has a limit too, but
// tells the most that was ever used; the kernel charges in steps.
func (s *Sandbox) memoryLimitReached() (limit int64, ofProject bool) {
	const step = 2 << 20
	limit = s.spec.Limits.MemoryBytes
	var own bool
	if path := s.cgroup.Path("memory"); s.runtime.hierarchy.unified {
		n, _ := fscommon.GetValueByKey(path, "memory.events", "oom")
		own = n > 0
	} else {
		most, _ := fscommon.GetCgroupParamInt(path, "memory.max_usage_in_bytes")
		own = limit > 0 && most > limit-step
	}
	if own {
		return limit, false
	}
	return s.runtime.hierarchy.projectLimits(s.spec.Project).MemoryBytes, true
}
