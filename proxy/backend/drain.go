package backend

import (
	"fmt"
	"time"

	"mcpgateway/proxy/mcp"
)

// ChangedError says that an instance was started from a configuration that is no
// longer in force. It takes no calls any more.
type ChangedError struct{ server string }

func (e *ChangedError) Error() string {
	return fmt.Sprintf("server %q was stopped: its configuration has changed", e.server)
}

// UnhealthyError says that an instance was given up because it failed its health
// checks.
type UnhealthyError struct{ server, why string }

func (e *UnhealthyError) Error() string {
	return fmt.Sprintf("server %q was stopped: %s", e.server, e.why)
}

// Leaving reports whether the instance takes no more calls: it drains, or has ended,
// or is about to.
func (c *Conn) Leaving() bool {
	select {
	case <-c.files.Over: // and followDaemon may not have noticed yet
		c.shut(&LostError{c.spec().Server})
	default:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended != nil || c.draining != nil
}

// drains is why an instance takes no more calls, though it serves those it has; nil
// if it takes them.
func (c *Conn) drains() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining
}

// longest is the longest wait for an answer, whatever it is for.
func (s *Spec) longest() time.Duration {
	longest := max(s.Timeout, s.MaxTimeout)
	for _, tool := range s.Tools {
		longest = max(longest, tool.Timeout, tool.MaxTimeout)
	}
	return longest
}

// adjust makes the Conn go by what is said of its server now.
func (c *Conn) adjust(spec Spec) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.settings.Swap(&spec)
	if spec.IdleTimeout != before.IdleTimeout && c.ended == nil {
		c.idle.Reset(max(0, spec.IdleTimeout-time.Since(c.lastUsed)))
	}
	if spec.FreezeAfter != before.FreezeAfter {
		c.outbox.wake() // the writer looks
	}
}

// GiveUp has the instance drain because it is not well, and returns the cause, which is
// a sentence for its callers.
func (c *Conn) GiveUp(why string) error {
	cause := &UnhealthyError{c.spec().Server, why}
	c.Drain(cause)
	return cause
}

// Drain ends the instance as soon as no call is in flight, at the latest when none
// may be, for a cause that its callers are told. Subscriptions, which have no end of
// their own, end now.
func (c *Conn) Drain(cause error) {
	c.mu.Lock()
	if c.ended != nil || c.draining != nil {
		c.mu.Unlock()
		return
	}
	c.draining = cause
	c.drained = time.AfterFunc(c.spec().longest(), func() { c.shut(cause) })
	watchers := c.watchers
	c.watchers = map[*watcher]struct{}{}
	var subscriptions []*Call
	for id, call := range c.calls {
		if call.method == mcp.MethodListen && c.mode == stateless {
			delete(c.calls, id)
			subscriptions = append(subscriptions, call)
		}
	}
	c.endIfDrainedLocked()
	c.mu.Unlock()
	for w := range watchers {
		w.ended(cause)
	}
	for _, call := range subscriptions {
		call.complete()
	}
}

// endIfDrainedLocked ends an instance that drains and has nothing to do any more.
// c.mu must be held.
func (c *Conn) endIfDrainedLocked() {
	if c.draining != nil && len(c.calls) == 0 {
		c.shutLocked(c.draining)
	}
}
