package retry

import (
	"context"
	"math"
	"slices"
	"strconv"
	"sync"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// call is a request that is made again if its instance ends. Until then it is its first
// attempt and costs nothing; from then on a goroutine makes the next attempt, and wakes
// whoever reads by the first attempt's Ready. Messages stay in the queue of their
// attempt until they are taken, so that it is bounded as ever.
type call struct {
	first    link.Call
	parent   context.Context //nolint:containedctx // that the call came by, for what it carries
	attempts *attempts       // of the goroutine, once there is one
	failed   chan struct{}   // holds a token if an attempt failed that shall be made again
	over     chan struct{}   // closed when nobody needs the goroutine

	mu        sync.Mutex
	cancel    context.CancelFunc // of further attempts; nil before the first failed
	current   link.Call          // nil between attempts
	failure   mcp.Message        // of the attempt before
	final     bool               // no attempt follows
	cancelled bool
	reason    string        // why
	told      float64       // the last progress of the attempts so far
	detached  bool          // nobody reads
	ended     bool          // over is closed
	left      []mcp.Message // of a call that was cancelled, whose reader may not come again
}

func start(ctx context.Context, a *attempts, first link.Call) *call {
	return &call{first: first, parent: ctx, attempts: a, current: first, final: a.left == 0, told: math.Inf(-1)}
}

// repeatLocked has the goroutine make the next attempt.
func (c *call) repeatLocked() {
	c.current = nil
	if c.cancel != nil {
		c.failed <- struct{}{} // it waits for nothing else
		return
	}
	// The call does not end with the request that it came by.
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.parent))
	c.cancel, c.failed, c.over = cancel, make(chan struct{}, 1), make(chan struct{})
	go c.run(ctx) // ends with the call
}

func (c *call) run(ctx context.Context) {
	current := c.again(ctx)
	for {
		select {
		case <-current.Ready():
			if c.drain() {
				return
			}
		case <-c.failed:
			current = c.again(ctx)
		case <-c.over:
			return
		}
	}
}

// drain tells the reader that there is something. If the call was cancelled it also
// takes it, and reports whether that was all.
func (c *call) drain() (done bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancelled {
		done = c.drainLocked()
	}
	c.first.Wake()
	return done
}

func (c *call) drainLocked() (done bool) {
	c.left = append(c.left, c.current.Take()...)
	return answered(c.left)
}

// answered reports whether messages end with a response.
func answered(messages []mcp.Message) bool {
	return len(messages) > 0 && messages[len(messages)-1].Kind() == mcp.Response
}

// again makes the next attempt; if there is none, the call ends with the failure of
// the one before, which says most.
func (c *call) again(ctx context.Context) link.Call {
	var next link.Call
	why, _ := c.failure.Text(c.failure.InError("message"))
	if c.attempts.wait(ctx, why) {
		next, _ = c.attempts.do(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.final = c.final || next == nil || c.attempts.left == 0
	switch {
	case next == nil && c.cancelled:
		next = link.Answered(mcp.NewFailure(c.attempts.request.ID(), mcp.FailureCancelled, "the request was cancelled: "+c.reason))
	case next == nil:
		next = link.Answered(c.failure)
	case c.cancelled || c.detached:
		next.Cancel(c.reason)
	}
	c.current = next
	return next
}

// Ready gives a value when Take may have messages.
func (c *call) Ready() <-chan struct{} { return c.first.Ready() }

// Wake makes it give one.
func (c *call) Wake() { c.first.Wake() }

// Leave says that nobody reads for now. What comes waits, and no attempt is made.
func (*call) Leave() {}

// Take returns what has come, but for a failure after which there is another attempt.
func (c *call) Take() []mcp.Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	messages := c.left
	c.left = nil
	if c.current != nil && !answered(messages) {
		messages = append(messages, c.current.Take()...)
	}
	messages = c.onwardLocked(messages)
	if !answered(messages) {
		return messages
	}
	last := len(messages) - 1
	if c.final || messages[last].Failure() != mcp.FailureEnded {
		c.endLocked()
		return messages
	}
	c.failure = messages[last]
	c.repeatLocked()
	return messages[:last]
}

// onwardLocked leaves out what a further attempt says of its progress that was said
// before: it must increase (2025-11-25 and 2026-07-28, "Progress").
func (c *call) onwardLocked(messages []mcp.Message) []mcp.Message {
	repeated := c.cancel != nil
	return slices.DeleteFunc(messages, func(m mcp.Message) bool {
		if m.Method() != mcp.MethodProgress {
			return false
		}
		progress, err := strconv.ParseFloat(string(m.At(m.Param("progress"))), 64)
		if err != nil {
			return false // the client may say what is wrong with it
		}
		if repeated && progress <= c.told {
			return true
		}
		c.told = progress
		return false
	})
}

// endLocked ends the goroutine.
func (c *call) endLocked() {
	if c.cancel != nil && !c.ended {
		c.ended = true
		c.cancel()
		close(c.over)
	}
}

// Cancel ends the call, whatever attempt it is at.
func (c *call) Cancel(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancelled, c.reason, c.final = true, reason, true
	switch {
	case c.cancel == nil:
		c.current.Cancel(reason)
	case c.current == nil: // the goroutine sees to it
		c.cancel()
	default:
		c.current.Cancel(reason)
		if c.drainLocked() { // the goroutine may have been told of the response before
			c.endLocked()
		}
		c.first.Wake()
	}
}

// Detach says that nobody reads the messages any more; no attempt follows.
func (c *call) Detach() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.detached, c.final = true, true
	if c.current != nil {
		c.current.Detach()
	}
	c.endLocked()
}
