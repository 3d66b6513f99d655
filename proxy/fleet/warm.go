package fleet

import (
	"context"
	"slices"
	"time"

	"mcpgateway/proxy/backend"
)

// warmRetry is the wait before a spare instance that did not start is tried again.
const warmRetry = 30 * time.Second

// spares are the instances of a server that are started and nobody's. Those that are kept
// up are initialised if the server's instances are shared. If a session may have one of its own, whose
// client initialises it, they are untouched: such serve anybody.
type spares struct {
	spec   *Spec
	want   int
	have   []*instance
	filled chan struct{} // holds a token if there may be something to do
}

// Warm starts and initialises an instance ahead, to see that it works. The first
// caller without capabilities of its own gets it.
func (f *Fleet) Warm(ctx context.Context, spec *Spec) error {
	spare, err := f.start(ctx, spec, 0)
	if err != nil {
		return err
	}
	f.keep(spec.Server, spare)
	return nil
}

func (f *Fleet) keep(server string, spare *instance) {
	spare.conn.Hold(true)
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.spares[server]
	if s == nil {
		s = newSpares()
		f.spares[server] = s
	}
	s.have = append(s.have, spare)
}

func newSpares() *spares { return &spares{filled: make(chan struct{}, 1)} }

// spareLocked takes an initialised spare instance for a caller who offers the server
// nothing; nil if there is none. f.mu must be held.
func (f *Fleet) spareLocked(server string, offered backend.Capabilities) *instance {
	s := f.spares[server]
	if s == nil || offered != 0 {
		return nil
	}
	spare := s.takeLocked(false)
	if spare != nil {
		spare.conn.Hold(false)
	}
	return spare
}

// untouched takes a spare instance that nobody has spoken to; nil if there is none. What
// counts it as failed is whoever gets it.
func (f *Fleet) untouched(server string) *backend.Conn {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.spares[server]
	if s == nil {
		return nil
	}
	spare := s.takeLocked(true)
	if spare == nil {
		return nil
	}
	spare.counted.Store(true)
	return spare.conn
}

// takeLocked takes the oldest spare instance of a kind, and has another be started in its
// place. The fleet's mu must be held.
func (s *spares) takeLocked(untouched bool) (taken *instance) {
	s.have = slices.DeleteFunc(s.have, func(i *instance) bool {
		if i.conn.Leaving() {
			return true
		}
		if taken != nil || i.untouched() != untouched {
			return false
		}
		taken = i
		return true
	})
	s.wake()
	return taken
}

func (i *instance) untouched() bool { return i.server == nil }

func (s *spares) wake() {
	select {
	case s.filled <- struct{}{}:
	default:
	}
}

// KeepWarm keeps as many spare instances as each server's spec wants from now on.
// Those of servers that are gone, or want fewer, end.
func (f *Fleet) KeepWarm(specs map[string]*Spec) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for server, spec := range specs {
		s := f.spares[server]
		switch {
		case spec.Warm == 0:
		case s == nil || s.want == 0:
			if s == nil {
				s = newSpares()
				f.spares[server] = s
			}
			s.spec, s.want = spec, spec.Warm
			f.running.Go(func() { f.replenish(s) })
		default:
			s.spec, s.want = spec, spec.Warm
		}
		if s != nil {
			s.wake()
		}
	}
	for server, s := range f.spares {
		want := 0
		if spec := specs[server]; spec != nil {
			want = spec.Warm
		}
		if want < s.want {
			s.want = want
			s.wake()
		}
	}
}

// replenish keeps the spare instances of a server at their number until none is
// wanted.
func (f *Fleet) replenish(s *spares) {
	retry := time.NewTimer(warmRetry)
	defer retry.Stop()
	for {
		f.mu.Lock()
		spec, missing, surplus := s.reckonLocked(f.alone)
		done := s.want == 0 || f.closed
		f.mu.Unlock()
		for _, spare := range surplus {
			spare.conn.Discard()
		}
		if done {
			return
		}
		failed := false
		if missing {
			spare, err := f.startSpare(spec)
			if err == nil {
				f.keep(spec.Server, spare)
				f.running.Go(func() {
					<-spare.conn.Done()
					f.over(spare, spec) // before another is started
					s.wake()
				})
				continue
			}
			if failed = blames(err); failed {
				f.log.Warn("spare instance not started, and tried again later", "server", spec.Server, "after", warmRetry, "err", err)
			}
			retry.Reset(warmRetry)
		}
		select {
		case <-s.filled:
			if failed { // which waits its time
				select {
				case <-retry.C:
				case <-f.ctx.Done():
				}
			}
		case <-retry.C:
		case <-f.ctx.Done():
		}
	}
}

// startSpare starts a spare instance when its place may have one.
func (f *Fleet) startSpare(spec *Spec) (*instance, error) {
	at := spareOf(spec.Server)
	if err := f.pool.Barred(spec.Server); err != nil {
		return nil, err
	}
	if err := f.pause(f.ctx, at, spec); err != nil {
		return nil, err
	}
	start := f.start
	if f.alone(spec) {
		start = f.startUntouched
	}
	started, err := start(f.ctx, spec, 0)
	if err != nil && blames(err) && f.ctx.Err() == nil {
		f.restarts.Failed(at, spec.Restart, spec.Revision, err)
	}
	return started, err
}

// startUntouched starts an instance that nobody speaks to. That it was started is told
// when somebody gets it.
func (f *Fleet) startUntouched(ctx context.Context, spec *Spec, _ backend.Capabilities) (*instance, error) {
	began := time.Now()
	conn, err := f.pool.StartUntouched(ctx, spec.Spec)
	if err != nil {
		f.tellStart(spec, began, nil, err)
		return nil, err
	}
	started := &instance{conn: conn}
	f.follow(started, spec)
	return started, nil
}

// reckonLocked counts the spares that live, and of those of a server whose sessions can be alone the untouched
// ones: no session can have the others, which are there for another reason. The fleet's mu
// must be held.
func (s *spares) reckonLocked(alone func(*Spec) bool) (spec *Spec, missing bool, surplus []*instance) {
	kept, untouched := 0, alone(s.spec)
	s.have = slices.DeleteFunc(s.have, func(i *instance) bool {
		if i.conn.Leaving() {
			return true
		}
		if untouched && !i.untouched() {
			return false
		}
		if kept == s.want {
			surplus = append(surplus, i)
			return true
		}
		kept++
		return false
	})
	return s.spec, kept < s.want, surplus
}
