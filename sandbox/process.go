package sandbox

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
)

// Sandbox is a running sandbox.
type Sandbox struct {
	spec    Spec
	runtime *Runtime
	base    int // first host uid and gid
	process *os.Process
	pid     int
	cgroup  cgroups.Manager
	network []*os.File
	lookup  io.Closer // of the network; nil without

	frozen   atomic.Bool // or it is not known, because something failed
	freezeMu sync.Mutex  // of Freeze, Thaw and the end
	ending   bool        // it shall not be frozen any more

	timeMu  sync.Mutex
	started time.Time   // zero while it is prepared
	timer   *time.Timer // of its longest time; nil without
	over    bool        // its first process has ended

	done chan struct{} // closed when nothing of the sandbox is left
	exit Exit
}

// lastSignal is the highest number of a signal (signal(7)).
const lastSignal = 64

// Exit says how a sandbox ended.
type Exit struct {
	Status int  // the server's exit status; 128+n: ended by signal n
	Signal int  // the signal that ended it; SIGSYS: a system call that it may not make
	OOM    bool // ended for memory
	// MemoryLimit is what OOM was at: its own limit or, OfProject, that of its
	// project, in bytes. Zero: there is none, the host was out of memory.
	MemoryLimit int64
	OfProject   bool
	TimeLimit   bool // ended because its time was up
	PIDLimit    bool // was refused a process or thread for having as many as it may
	Lived       time.Duration
	Usage       Usage // in all
}

// ID returns the spec's ID.
func (s *Sandbox) ID() string { return s.spec.ID }

// PID returns the first process, in the host's numbering.
func (s *Sandbox) PID() int { return s.pid }

// UID returns the host uid of the processes inside.
func (s *Sandbox) UID() int { return s.base + s.spec.UID }

// Started returns when the sandbox was started.
func (s *Sandbox) Started() time.Time { return s.started }

// Network returns the sockets in the sandbox's network namespace, the caller's
// after Start: dns over udp, dns over tcp, listeners of tcp. Nil without egress.
func (s *Sandbox) Network() []*os.File { return s.network }

// Done is closed when the sandbox has ended and nothing of it is left.
func (s *Sandbox) Done() <-chan struct{} { return s.done }

// Exit says how the sandbox ended; it may be called after Done is closed.
func (s *Sandbox) Exit() Exit { return s.exit }

func (s *Sandbox) signal(sig syscall.Signal) {
	if err := s.process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		slog.Error("signal sandbox", "sandbox", s.spec.ID, "err", err)
	}
}

// launch makes the sandbox, up to a launcher that is told over streams what its server's
// streams are, and says there that it is ready. Once all but that is there, it does the rest,
// on another thread. It must run on the one that wait runs on later.
func (s *Sandbox) launch(then func(*stage) error) error {
	builder := s.build(then)
	parts, err := s.prepare()
	defer parts.close()
	var stage *stage
	if err == nil {
		stage, err = s.newStage(parts)
	}
	if err == nil {
		err = s.fork(stage)
	}
	builder.stage, builder.rules = stage, parts.rules
	close(builder.made)
	if err == nil {
		err = s.settle(stage)
	}
	builder.settled <- err
	// What the first process said is why it does not answer, and the builder has heard it.
	if result := <-builder.result; err == nil || result != nil && !errors.Is(result, errSilent) {
		err = result
	}
	if stage == nil {
		return err
	}
	stage.end()
	if err != nil {
		if s.process != nil {
			s.signal(unix.SIGKILL)
			_, _ = s.process.Wait() // its status is ours
		}
		err = stage.because(err)
		stage.conn.Close()
		closeFiles(s.network)
	}
	return err
}

// fork makes the cgroups, and the first process in them.
func (s *Sandbox) fork(stage *stage) (err error) {
	defer stage.inside.Close() // from then on, its end is that of the other side
	if s.cgroup, err = s.runtime.hierarchy.newCgroup(s.spec); err != nil {
		return err
	}
	pid := 0
	err = s.runtime.hierarchy.join(s.cgroup, func(unified *os.File) error {
		pid, err = stage.start(stage.namespaces, unified)
		return err
	})
	if pid == 0 {
		return err
	}
	s.pid = pid
	var findErr error
	if s.process, findErr = os.FindProcess(pid); findErr != nil { // it is not reaped yet, so it is there
		return errors.Join(err, findErr)
	}
	return err
}

// wait waits for the end of the first process and says how it was.
func (s *Sandbox) wait() {
	if err := keepBack(); err != nil {
		slog.Error("keep memory back", "err", err)
	}
	watched := s.watchMemory()
	state, err := s.process.Wait()
	s.exit.TimeLimit = s.end()
	if state == nil {
		slog.Error("wait for sandbox", "sandbox", s.spec.ID, "err", err)
		s.exit.Status = 255
	} else {
		s.exit.Status = exitStatus(state)
	}
	// The launcher tells a server's end as a shell would.
	if n := s.exit.Status - 128; n > 0 && n <= lastSignal {
		s.exit.Signal = n
	}
	s.limitsReached()
	s.exit.Usage = s.measure()
	s.destroy() // ends the watch: the kernel wakes it when the cgroup goes
	<-watched
}

// watchMemory ends the sandbox once the kernel has ended a process of it for
// memory, on cgroup v1 only: v2 does that by itself (memory.oom.group). The
// channel it returns is closed when it has ended.
func (s *Sandbox) watchMemory() <-chan struct{} {
	watched := make(chan struct{})
	if s.runtime.hierarchy.unified {
		close(watched)
		return watched
	}
	events, err := memoryEvents(s.cgroup.Path("memory"))
	if err != nil {
		// Its cgroup is gone already, or will be: the limit holds all the same.
		slog.Debug("watch memory", "sandbox", s.spec.ID, "err", err)
		close(watched)
		return watched
	}
	go func() {
		defer close(watched)
		defer events.Close()
		// The server ran before anybody watched: of a process that was lost then comes no event.
		if kills, err := s.cgroup.OOMKillCount(); err == nil && kills > 0 {
			s.kill()
		}
		for {
			if _, err := events.Read(make([]byte, 8)); err != nil {
				return
			}
			if _, err := os.Lstat(s.cgroup.Path("memory")); err != nil {
				return // the last event is the cgroup's own end
			}
			if s.lostProcess() {
				s.kill()
			}
		}
	}()
	return watched
}

// memoryEvents is readable whenever the memory of a cgroup of version 1 is not enough.
func memoryEvents(cgroup string) (*os.File, error) {
	control, err := os.Open(filepath.Join(cgroup, "memory.oom_control"))
	if err != nil {
		return nil, err
	}
	defer control.Close()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	events := os.NewFile(uintptr(fd), "eventfd")
	if err := cgroups.WriteFile(cgroup, "cgroup.event_control", fmt.Sprint(fd, " ", control.Fd())); err != nil {
		events.Close()
		return nil, err
	}
	return events, nil
}

// lostProcess reports whether the kernel ends a process of this sandbox for
// memory. Its event comes before the deed, and to every sandbox of a project at
// its limit, though only one of them is hit.
func (s *Sandbox) lostProcess() bool {
	tick := time.NewTicker(time.Millisecond) // what is left must not go on meanwhile
	defer tick.Stop()
	for range 1000 {
		kills, err := s.cgroup.OOMKillCount()
		if err != nil || kills > 0 {
			return err == nil
		}
		<-tick.C
	}
	return false
}

func exitStatus(state *os.ProcessState) int {
	status, ok := state.Sys().(syscall.WaitStatus)
	switch {
	case ok && status.Signaled():
		return 128 + int(status.Signal())
	case ok:
		return status.ExitStatus()
	default:
		return 255
	}
}

func (s *Sandbox) destroy() {
	if s.cgroup == nil {
		return
	}
	// By path: the manager would forget them, and others may still ask.
	for _, path := range s.cgroup.GetPaths() {
		if err := cgroups.RemovePath(path); err != nil {
			slog.Error("remove sandbox", "sandbox", s.spec.ID, "err", err)
		}
	}
}

// cleanUp removes what the sandbox had on the host and gives its ids back.
func (s *Sandbox) cleanUp() {
	s.destroy()
	if s.lookup != nil {
		s.lookup.Close()
	}
	s.runtime.releaseRange(s.base)
	close(s.done)
}
