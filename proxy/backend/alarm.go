package backend

import "time"

// alarm is the one timer of all calls of a Conn. It rings at the earliest of their
// deadlines, or for one of a call that has been answered since: then nothing happens but
// that it is set for the next. So an answered call stops no timer, and few calls set it.
type alarm struct {
	timer *time.Timer
	at    time.Time // when it rings; zero: not at all
}

// setLocked makes sure that it rings at a time. The Conn's mu must be held.
func (a *alarm) setLocked(at time.Time) {
	if a.at.IsZero() || at.Before(a.at) {
		a.at = at
		a.timer.Reset(time.Until(at))
	}
}

// expire ends the calls that took too long.
func (c *Conn) expire() {
	type late struct {
		*Call
		limit time.Duration
	}
	var over []late
	c.mu.Lock()
	c.alarm.at = time.Time{}
	var next time.Time
	now := time.Now()
	for _, call := range c.calls {
		switch {
		case call.deadline.IsZero():
		case !call.deadline.After(now):
			over = append(over, late{call, call.limit})
		case next.IsZero() || call.deadline.Before(next):
			next = call.deadline
		}
	}
	for _, call := range over {
		c.takeLocked(call.id)
	}
	if !next.IsZero() {
		c.alarm.setLocked(next)
	}
	c.mu.Unlock()
	for _, call := range over {
		call.late(call.limit)
	}
}
