package sandbox

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Prepared is a sandbox that is complete, and in which nothing but the launcher runs
// yet: it waits for the streams. It takes up a range of ids and ends with the daemon.
// Whoever has one must Start it or Discard it, once.
type Prepared struct {
	box   *Sandbox
	stage *stage
}

// Prepare makes a sandbox without starting its program: that is left to a Start,
// which takes a small part of the time. Each is for one start.
func (r *Runtime) Prepare(spec Spec) (*Prepared, error) {
	return r.make(spec, func(*Prepared) error { return nil })
}

// Start is Prepare and the start of what was prepared.
func (r *Runtime) Start(spec Spec, stdio Stdio) (*Sandbox, error) {
	// The launcher finds the streams when it is ready, so that neither waits for the other.
	p, err := r.make(spec, func(p *Prepared) error { return p.pass(stdio) })
	if err != nil {
		return nil, err
	}
	p.stage.conn.Close()
	return p.box, nil
}

// fail leaves nothing of a sandbox that could not be started.
func (p *Prepared) fail(err error) error {
	p.Discard()
	return failure(p.box.spec, err)
}

func failure(spec Spec, err error) error { return fmt.Errorf("start sandbox %q: %w", spec.ID, err) }

// make makes a sandbox with a launcher that is ready; then is done as soon as all but that
// is there.
func (r *Runtime) make(spec Spec, then func(*Prepared) error) (*Prepared, error) {
	base, err := r.takeRange()
	if err != nil {
		return nil, failure(spec, err)
	}
	s := &Sandbox{spec: spec, runtime: r, base: base, done: make(chan struct{})}
	p := &Prepared{box: s}
	result := make(chan error, 1)
	// The kernel ends a sandbox when the *thread* that started it ends
	// (PR_SET_PDEATHSIG, prctl(2)), so it has a thread of its own.
	onThread(func() {
		defer r.running.Done()
		err := s.launch(func(stage *stage) error {
			p.stage = stage
			return then(p)
		})
		if err == nil {
			result <- nil
			s.wait()
		}
		s.cleanUp()
		if err != nil {
			result <- err
		}
	})
	if err := <-result; err != nil {
		return nil, failure(spec, err)
	}
	if _, err := p.stage.hear(); err != nil {
		return nil, p.fail(err)
	}
	return p, nil
}

// Start has the program run with these streams. It returns before that is executed,
// within a millisecond or two: if it can't be, the launcher says why to stderr.
// On an error nothing is left of the sandbox, whose launcher may have ended meanwhile.
func (p *Prepared) Start(stdio Stdio) (*Sandbox, error) {
	if err := p.pass(stdio); err != nil {
		return nil, p.fail(err)
	}
	p.stage.conn.Close()
	return p.box, nil
}

// Discard ends what has not been started, and returns when nothing of it is left.
func (p *Prepared) Discard() {
	p.stage.conn.Close()
	p.box.Kill()
	closeFiles(p.box.network)
}

// pass gives the launcher the streams, upon which it goes on. The time begins to count.
func (p *Prepared) pass(stdio Stdio) error {
	s := p.box
	s.timeMu.Lock()
	defer s.timeMu.Unlock()
	if s.over {
		return errors.New("it has ended while it was waiting")
	}
	s.started = time.Now()
	if s.spec.MaxTime > 0 {
		s.timer = time.AfterFunc(s.spec.MaxTime, s.kill)
	}
	rights := unix.UnixRights(int(stdio.Stdin.Fd()), int(stdio.Stdout.Fd()), int(stdio.Stderr.Fd()))
	if err := unix.Sendmsg(int(p.stage.conn.Fd()), []byte{0}, rights, nil, unix.MSG_NOSIGNAL); err != nil {
		return p.stage.because(fmt.Errorf("pass its streams: %w", err))
	}
	return nil
}

// end notes that the first process has ended, and reports whether that was for its
// time.
func (s *Sandbox) end() (timeUp bool) {
	s.freezeMu.Lock()
	s.ending = true
	s.frozen.Store(false)
	s.freezeMu.Unlock()
	s.timeMu.Lock()
	defer s.timeMu.Unlock()
	s.over = true
	if !s.started.IsZero() {
		s.exit.Lived = time.Since(s.started)
	}
	return s.timer != nil && !s.timer.Stop()
}
