package daemon

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"mcpgateway/policy/profile"
	"mcpgateway/runtime/config"
	"mcpgateway/runtime/control"
	"mcpgateway/runtime/logbook"
	"mcpgateway/sandbox"
)

const (
	// grace is how long a server has to end by itself after SIGTERM.
	grace = 2 * time.Second

	// A captured proxy must not wear out the host by starting servers: this many
	// at once, or as many as there may be if that is more, and then so many a second.
	startBurst  = 128
	startPerSec = 20
	mostServers = 4096
)

// supervisor has the running instances.
type supervisor struct {
	runtime    *sandbox.Runtime
	retirement time.Duration
	book       *logbook.Book
	tag        string // of its sandboxes' names: a proxy, and the audit log, outlive the daemon

	mounts mountTable

	mu        sync.Mutex
	instances map[string]*instance
	supplies  map[string]*supply // by server
	preparing bool               // or about to
	closed    bool
	starting  int
	lastID    uint64
	starts    *rate.Limiter
	watching  sync.WaitGroup
}

// instance is one running sandbox and the peer it belongs to.
type instance struct {
	*sandbox.Sandbox
	owner    *monitor
	server   string
	revision string
	longest  time.Duration // that a call may take
	outdated time.Time     // since when its server has another revision, or none; guarded by the supervisor's mu
	project  string
	profile  *profile.Profile
	told     chan struct{} // closed when the owner knows of it, or is gone
	stopped  atomic.Bool
}

func newSupervisor(runtime *sandbox.Runtime, book *logbook.Book, retirement time.Duration) *supervisor {
	return &supervisor{runtime: runtime, book: book, retirement: retirement, tag: strings.ToLower(rand.Text()[:5]), instances: map[string]*instance{}, supplies: map[string]*supply{}, starts: rate.NewLimiter(startPerSec, mostServers)}
}

// setProjects makes each project's cgroup and its ceiling.
func (s *supervisor) setProjects(cfg *config.Config) error {
	for _, server := range cfg.Servers { // those of one project say the same
		if err := s.runtime.SetProject(server.Project, limits(cfg.Projects[server.Project].Resources)); err != nil {
			return err
		}
	}
	return nil
}

// open starts an instance for a peer and returns it and the peer's ends of its
// streams. Once the peer has been told, told must be closed. Its errors are *control.Error.
func (s *supervisor) open(ctx context.Context, owner *monitor, o order) (*instance, []*os.File, error) {
	id, err := s.reserve(o.name, o.most)
	if err != nil {
		return nil, nil, &control.Error{Code: control.CodeLimit, Text: err.Error()}
	}
	i, files, err := s.start(ctx, owner, id, o)
	if err != nil {
		return nil, nil, &control.Error{Code: control.CodeStart, Text: err.Error()}
	}
	return i, files, nil
}

// reserve counts a sandbox that is about to start.
func (s *supervisor) reserve(server string, most int) (id string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.instances)+s.starting >= most {
		return "", fmt.Errorf("%d servers run, as many as gateway.max_servers allows", most)
	}
	s.starts.SetBurst(max(startBurst, most))
	if !s.starts.Allow() {
		return "", fmt.Errorf("%d servers were started in a short while: wait a moment", s.starts.Burst())
	}
	s.starting++
	return s.nextIDLocked(server), nil
}

func (s *supervisor) start(ctx context.Context, owner *monitor, id string, o order) (*instance, []*os.File, error) {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.starting--
		s.prepareLocked()
	}()
	server := o.server
	spec, err := newSpec(id, server, o.image)
	defer closeMounts(spec)
	if err != nil {
		return nil, nil, err
	}
	streams, err := newStreams(server.Stdio == "pipes")
	if err != nil {
		return nil, nil, err
	}
	defer closeFiles(streams.own) // only the server shall hold them
	box, err := s.begin(ctx, o, spec, streams.inside)
	if err != nil {
		closeFiles(streams.outside)
		return nil, nil, err
	}
	i := &instance{
		Sandbox: box, owner: owner, server: o.name, revision: o.revision, longest: longest(server),
		project: server.Project, profile: &server.Sandbox.Profile, told: make(chan struct{}),
	}
	s.mu.Lock()
	s.instances[box.ID()] = i
	s.noteLocked(owner, o)
	s.mu.Unlock()
	slog.InfoContext(ctx, "server started", "server", o.name, "project", server.Project, "sandbox", box.ID(), "pid", box.PID(), "uid", box.UID())
	s.book.Record(eventStarted, "server", o.name, "project", server.Project, "sandbox", box.ID(), "correlation", control.Correlation(ctx), "pid", box.PID(), "uid", box.UID())
	s.watching.Go(func() { s.watch(ctx, i) })
	return i, streams.outside, nil
}

// longest is how long a call of a server may take.
func longest(server config.Server) time.Duration {
	longest := max(server.Timeout, server.MaxTimeout)
	for _, tool := range server.Tools {
		longest = max(longest, tool.Timeout, tool.MaxTimeout)
	}
	return longest
}

// watch waits for an instance to end and tells its owner. ctx says for which request it
// was started.
func (s *supervisor) watch(ctx context.Context, i *instance) {
	<-i.Done()
	s.mu.Lock()
	delete(s.instances, i.ID())
	s.mu.Unlock()
	exit := i.exit()
	slog.InfoContext(ctx, "server ended", "server", i.server, "project", i.project, "sandbox", i.ID(), "status", exit.Status, "oom", exit.OOM, "time_limit", exit.TimeLimit, "lived", exit.Lived)
	s.book.Record(eventEnded, "server", i.server, "project", i.project, "sandbox", i.ID(), "correlation", control.Correlation(ctx), "end", exit)
	<-i.told
	if err := i.owner.conn.Send(control.Message{Kind: control.KindExited, Exit: &exit}); err != nil {
		slog.Debug("tell of an end", "sandbox", i.ID(), "err", err)
	}
}

// exit says how the instance ended, with the limits that it came to.
func (i *instance) exit() control.Exit {
	end := i.Exit()
	exit := control.Exit{
		Sandbox: i.ID(), Server: i.server, Status: end.Status, Signal: end.Signal, OOM: end.OOM, MemoryLimit: end.MemoryLimit,
		Stopped: i.stopped.Load() && !end.OOM && !end.TimeLimit, Lived: end.Lived, Usage: control.Usage(end.Usage),
	}
	if end.OfProject {
		exit.Project = i.project
	}
	if end.TimeLimit {
		exit.TimeLimit = i.profile.Time.Run
	}
	switch unix.Signal(end.Signal) {
	case unix.SIGXCPU:
		exit.CPULimit = i.profile.Time.CPU
	case unix.SIGXFSZ:
		exit.FileLimit = int64(i.profile.Rlimits.FSize)
	}
	if end.PIDLimit {
		exit.PIDLimit = int64(i.profile.Limits.PIDsMax)
	}
	return exit
}

// retire ends what has been out of date for so long that the proxy should have ended
// it: a captured one must not keep a server running with what was taken from it.
func (s *supervisor) retire(revisions map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.instances {
		switch {
		case i.revision == revisions[i.server]: // of what is offered to the proxy, too, once it is in force
			i.outdated = time.Time{}
		case i.outdated.IsZero():
			i.outdated = time.Now()
		case time.Since(i.outdated) > i.longest+s.retirement && !i.stopped.Load():
			slog.Warn("server stopped: its configuration has changed, and the proxy did not end it", "server", i.server, "sandbox", i.ID())
			s.watching.Go(func() { _ = i.end() }) // it never fails
		}
	}
}

// find returns an instance; a proxy finds its own only.
func (s *supervisor) find(by *monitor, id string) (*instance, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.instances[id]
	if !ok || !by.sees(i) {
		return nil, &control.Error{Code: control.CodeUnknown, Text: fmt.Sprintf("no sandbox %.128q runs", id)}
	}
	return i, nil
}

// end stops the instance and returns when every process of it is gone.
func (i *instance) end() error {
	i.stopped.Store(true)
	i.Stop(grace)
	return nil
}

func (m *monitor) sees(i *instance) bool { return m.role == roleAdmin || i.owner == m }

func (s *supervisor) list(by *monitor) []control.Sandbox {
	s.mu.Lock()
	instances := slices.Collect(maps.Values(s.instances))
	s.mu.Unlock()
	var list []control.Sandbox
	for _, i := range instances {
		if by.sees(i) {
			limits := &i.profile.Limits
			list = append(list, control.Sandbox{
				ID: i.ID(), Server: i.server, Project: i.project, PID: i.PID(), UID: i.UID(), Started: i.Started(),
				Frozen: i.Frozen(), Usage: control.Usage(i.Usage()),
				MemoryLimit: int64(limits.MemoryMax), CPULimit: limits.CPUMax, PIDLimit: int64(limits.PIDsMax),
			})
		}
	}
	return list
}

// killAll ends every instance of a peer that is gone, and returns when nothing of
// them is left. What is prepared for it ends soon.
func (s *supervisor) killAll(owner *monitor) {
	s.mu.Lock()
	var theirs []*instance
	for _, i := range s.instances {
		if i.owner == owner {
			theirs = append(theirs, i)
		}
	}
	for name, one := range s.supplies {
		if one.owner == owner {
			s.discardLocked(one, 0)
			delete(s.supplies, name)
		}
	}
	s.mu.Unlock()
	var killed sync.WaitGroup
	for _, i := range theirs {
		killed.Go(i.Kill)
	}
	killed.Wait()
}

// close discards what is prepared, waits for the last instance and removes the cgroups.
// All owners are gone by now, and their instances with them.
func (s *supervisor) close() error {
	defer s.watching.Wait()
	s.mu.Lock()
	s.closed = true
	for _, one := range s.supplies {
		s.discardLocked(one, 0)
	}
	s.mu.Unlock()
	defer s.mounts.close()
	return s.runtime.Close()
}
