package sandbox

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// Sandbox is a running sandbox.
type Sandbox struct {
	spec      Spec
	runtime   *Runtime
	base      int // first host uid and gid
	container *libcontainer.Container
	process   *libcontainer.Process
	pid       int
	started   time.Time
	cgroup    cgroups.Manager
	network   []*os.File
	lookup    io.Closer // of the network; nil without

	frozen   atomic.Bool // or it is not known, because something failed
	freezeMu sync.Mutex  // of Freeze, Thaw and the end
	ending   bool        // it shall not be frozen any more

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

func (s *Sandbox) rootDir() string { return filepath.Join(s.runtime.host.Dir, "roots", s.spec.ID) }

// launch starts the sandbox. It must run on the thread that wait runs on later.
func (s *Sandbox) launch(stdio Stdio) error {
	parts, err := s.prepare()
	defer parts.close()
	if err != nil {
		return err
	}
	if err := makeRoot(s.rootDir(), s.spec, parts.trees); err != nil {
		return fmt.Errorf("make root: %w", err)
	}
	config, err := s.config(s.rootDir())
	if err != nil {
		return err
	}
	container, err := libcontainer.Create(filepath.Join(s.runtime.host.Dir, "state"), s.spec.ID, config)
	if err != nil {
		return err
	}
	s.container = container
	if s.cgroup, err = manager.New(config.Cgroups); err != nil {
		return err
	}
	s.process = &libcontainer.Process{
		Init:       true,
		Args:       slices.Concat([]string{launcherPath}, parts.launcherFlags(), []string{s.spec.Dir, s.spec.Path}, s.spec.Args),
		UID:        s.spec.UID,
		GID:        s.spec.GID,
		Cwd:        "/",
		Stdin:      stdio.Stdin,
		Stdout:     stdio.Stdout,
		Stderr:     stdio.Stderr,
		ExtraFiles: parts.launcherFiles(), // from 3 on in the launcher
	}
	s.started = time.Now()
	if err := container.Start(s.process); err != nil {
		return err
	}
	if s.pid, err = s.process.Pid(); err != nil {
		return err
	}
	// libcontainer has made the namespaces and waits before it executes the launcher:
	// nothing that is not ours has run inside yet.
	err = inside(s.pid, func() error { return s.complete(parts) })
	if err == nil && len(s.network) > 0 {
		s.lookup, err = answerAll(s.network[len(s.network)-1], s.pid)
	}
	if err == nil {
		err = container.Exec()
	}
	if err != nil {
		s.signal(unix.SIGKILL)
		_, _ = s.process.Wait() // its status is ours
		closeFiles(s.network)
	}
	return err
}

// wait waits for the end of the first process and says how it was.
func (s *Sandbox) wait() {
	watched := s.watchMemory()
	timeUp := s.limitTime()
	state, err := s.process.Wait()
	s.exit.TimeLimit = timeUp()
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
	s.exit.Lived = time.Since(s.started)
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
	events, err := s.container.NotifyOOM()
	if err != nil {
		// Its cgroup is gone already, or will be: the limit holds all the same.
		slog.Debug("watch memory", "sandbox", s.spec.ID, "err", err)
		close(watched)
		return watched
	}
	go func() {
		defer close(watched)
		for range events {
			if s.lostProcess() {
				s.kill()
			}
		}
	}()
	return watched
}

// lostProcess reports whether the kernel ends a process of this sandbox for
// memory. Its event comes before the deed, and to every sandbox of a project at
// its limit, though only one of them is hit.
func (s *Sandbox) lostProcess() bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 200 {
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
	if s.container == nil {
		return
	}
	if err := s.container.Destroy(); err != nil {
		slog.Error("remove sandbox", "sandbox", s.spec.ID, "err", err)
	}
	s.container = nil
}

// cleanUp removes what the sandbox had on the host and gives its ids back.
func (s *Sandbox) cleanUp() {
	s.destroy()
	if s.lookup != nil {
		s.lookup.Close()
	}
	if err := os.RemoveAll(s.rootDir()); err != nil {
		slog.Error("remove sandbox", "sandbox", s.spec.ID, "err", err)
	}
	s.runtime.releaseRange(s.base)
	close(s.done)
}
