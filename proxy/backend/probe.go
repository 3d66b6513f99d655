package backend

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"mcpgateway/proxy/mcp"
)

// ErrOccupied says that an instance was not asked, or that its silence says nothing: it
// has something to do, is frozen, or takes no more calls.
var ErrOccupied = errors.New("the instance has something to do, is frozen, or is about to end")

// Own reports whether the gateway itself is the client of the instance, rather than a
// client of the handshake era.
func (c *Conn) Own() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mode != ofSession && c.mode != untouched
}

// ToolChanges is how often the server has said that its tools are others.
func (c *Conn) ToolChanges() int64 { return c.changes.Load() }

// Alive asks an instance that has nothing to do whether it still answers, whatever it
// says. The errors are ErrOccupied, and one that says what was not answered before ctx
// ended. It counts as no use: the instance is idle, and is frozen, as if it were not
// asked.
func (c *Conn) Alive(ctx context.Context) error {
	method := mcp.MethodPing
	if c.mode == stateless {
		method = mcp.MethodDiscover
	}
	_, err := c.probe(ctx, method)
	return err
}

// ListTools asks as Alive does for the first of the server's tools.
func (c *Conn) ListTools(ctx context.Context) (mcp.Message, error) {
	return c.probe(ctx, mcp.MethodToolsList)
}

// probing is what is known of an instance when it is asked.
type probing struct {
	id     uint64
	used   time.Time
	halts  int64
	began  time.Time
	answer <-chan mcp.Message
}

func (c *Conn) probe(ctx context.Context, method string) (mcp.Message, error) {
	p, ok := c.beginProbe()
	if !ok {
		return mcp.Message{}, ErrOccupied
	}
	defer c.endProbe(p.id)
	var params []byte
	if c.mode == stateless {
		params = []byte(c.ownParams())
	}
	line := append(mcp.NewRequest(strconv.AppendUint(nil, p.id, 10), method, params).Raw(), '\n')
	select {
	case c.asking <- line:
	case <-ctx.Done(): // it has not read what was written before
		return mcp.Message{}, c.silence(p, method)
	case <-c.done:
		return mcp.Message{}, ErrOccupied
	}
	select {
	case answer := <-p.answer:
		return answer, nil
	case <-ctx.Done():
		return mcp.Message{}, c.silence(p, method)
	case <-c.done:
		return mcp.Message{}, ErrOccupied
	}
}

func (c *Conn) beginProbe() (p probing, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.restingLocked() {
		return p, false
	}
	answer := make(chan mcp.Message, 1)
	c.lastID++
	c.probes[c.lastID] = answer
	return probing{id: c.lastID, used: c.lastUsed, halts: c.halts.Load(), began: time.Now(), answer: answer}, true
}

func (c *Conn) endProbe(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.probes, id)
}

// restingLocked reports whether the instance runs and has nothing to do for anybody.
// Subscriptions are nothing to do. c.mu must be held.
func (c *Conn) restingLocked() bool {
	if c.ended != nil || c.draining != nil || c.lastID == 0 || c.tasks || c.halts.Load()%2 == 1 || time.Now().Before(c.abandoned) {
		return false
	}
	for _, call := range c.calls {
		if call.method != mcp.MethodListen || c.mode != stateless {
			return false
		}
	}
	return true
}

// silence is what an instance says that did not answer: nothing, if it has had anything
// to do meanwhile, or was halted.
func (c *Conn) silence(p probing, method string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.restingLocked() || c.lastUsed != p.used || c.halts.Load() != p.halts {
		return ErrOccupied
	}
	return fmt.Errorf("it did not answer %s within %s", method, time.Since(p.began).Round(time.Millisecond))
}

// answerProbe brings a response to the gateway's own question. One without a question
// came too late.
func (c *Conn) answerProbe(id uint64, response mcp.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if answer := c.probes[id]; answer != nil {
		delete(c.probes, id)
		answer <- response
	}
}

// abandon notes that a server may still be busy with a call that was given up, for as
// long as the call was allowed to take.
func (c *Conn) abandon(call *Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if call.deadline.After(c.abandoned) {
		c.abandoned = call.deadline
	}
}
