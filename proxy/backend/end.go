package backend

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"mcpgateway/runtime/control"
)

// Cause is what ended an instance, in a word.
type Cause string

// The causes.
const (
	CauseExit    Cause = "exit"    // it went by itself
	CauseSignal  Cause = "signal"  // a signal that nobody here sent
	CauseOOM     Cause = "oom"     // memory
	CauseLimit   Cause = "limit"   // another limit of its profile, or of the gateway
	CauseStopped Cause = "stopped" // the gateway, or an operator
)

// End is how an instance has ended, or is about to.
type End struct {
	Cause  Cause
	Failed bool  // nobody wanted it to end
	Err    error // a sentence for its callers
	Lived  time.Duration
}

// End is how the instance has ended or is about to; zero while it serves.
func (c *Conn) End() End {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended == nil {
		return End{}
	}
	end := End{Cause: CauseStopped, Err: c.ended, Lived: c.endedAt.Sub(c.started)}
	end.Cause, end.Failed = classify(c.ended)
	var unhealthy *UnhealthyError
	if c.draining != nil && errors.Is(c.ended, c.draining) && !errors.As(c.ended, &unhealthy) {
		end.Failed = false
	}
	return end
}

// Failed reports whether the instance has ended, or is about to, and nobody wanted it to.
func (c *Conn) Failed() bool { return c.End().Failed }

// Revision is what the instance was started from.
func (c *Conn) Revision() string { return c.files.Revision }

// endLocked keeps the first cause of the end. c.mu must be held.
func (c *Conn) endLocked(cause error) {
	if c.ended != nil {
		return
	}
	c.ended, c.endedAt = cause, time.Now()
	close(c.ending)
	if _, ok := errors.AsType[*LostError](cause); ok {
		c.known.Store(true) // before any call ends
	}
}

// LostError says that an instance has ended with the daemon that started it.
type LostError struct{ server string }

func (e *LostError) Error() string {
	return fmt.Sprintf("server %q has ended with the gateway's daemon, which started it; the next call starts it again", e.server)
}

// Lost reports whether the instance has ended, or is about to, with its daemon.
func (c *Conn) Lost() bool {
	var lost *LostError
	return errors.As(c.Err(), &lost)
}

// followDaemon ends the instance with its daemon. What is left of it must not be waited
// for: a daemon that is killed can't end what it has frozen.
func (c *Conn) followDaemon(ctx context.Context) {
	select {
	case <-c.files.Over:
		c.shut(&LostError{c.spec().Server})
	case <-ctx.Done():
	}
}

// Ended is whether the instance's end is known at its place, or is no fault of it: for
// who counts such ends.
func (c *Conn) Ended() *atomic.Bool { return &c.known }

// exitError is the end of a process, as the daemon tells it.
type exitError struct{ control.Exit }

func (e *exitError) Error() string { return describe(e.Exit) }

// overError is the end of an instance that came to a limit of the gateway's.
type overError struct{ text string }

func (e *overError) Error() string { return e.text }

// hungUpError is the end of an instance that takes nothing any more, or says nothing.
type hungUpError struct{ text string }

func (e *hungUpError) Error() string { return e.text }

// classify says what ended an instance, and whether nobody wanted it to.
func classify(err error) (cause Cause, failed bool) {
	var exit *exitError
	var over *overError
	var hungUp *hungUpError
	var changed *ChangedError
	var refused *RefusedError
	var lost *LostError
	switch {
	case errors.As(err, &exit):
		return causeOf(exit.Exit)
	case errors.As(err, &over):
		return CauseLimit, true
	case errors.As(err, &hungUp):
		return CauseExit, true
	case errors.As(err, &changed), errors.As(err, &refused), errors.As(err, &lost):
		return CauseStopped, false
	case Final(err):
		return CauseStopped, false
	}
	return CauseStopped, true // the gateway could not go on with it
}

func causeOf(e control.Exit) (cause Cause, failed bool) {
	switch {
	case e.OOM:
		return CauseOOM, true
	case e.TimeLimit > 0:
		return CauseLimit, true
	case e.Stopped:
		return CauseStopped, false
	case e.CPULimit > 0, e.FileLimit > 0:
		return CauseLimit, true
	case e.Signal > 0:
		return CauseSignal, true
	}
	return CauseExit, true
}

// Final reports whether an instance ended because nobody was to use it any more: it was
// idle, or its session or the gateway has ended.
func Final(err error) bool {
	return errors.Is(err, errIdle) || errors.Is(err, errSession) || errors.Is(err, errUnwanted) || errors.Is(err, errShutdown)
}

// Server is the name of the instance's server.
func (c *Conn) Server() string { return c.spec().Server }

// Project is the project of that server; "" without.
func (c *Conn) Project() string { return c.spec().Project }
