package backend

import (
	"context"
	"sync"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/telemetry"
)

// outbox collects lines for a server's standard input. Callers wait for room
// under their own context; the writer takes all that is there at once.
type outbox struct {
	filled chan struct{} // holds a token if there may be bytes or an end, or the writer shall look

	mu      sync.Mutex
	pending []byte
	lines   int           // in pending
	room    chan struct{} // closed when the writer takes; nil if nobody waits
	end     error
}

func newOutbox() *outbox { return &outbox{filled: make(chan struct{}, 1)} }

// put adds a message as one line, with another id unless id is nil.
func (o *outbox) put(ctx context.Context, m mcp.Message, id []byte) error {
	room, err := o.offer(m, id)
	if room == nil {
		return err
	}
	end := telemetry.Step(ctx, "queue")
	err = o.wait(ctx, room, m, id)
	end(err)
	return err
}

// wait is put for a message that there was no room for.
func (o *outbox) wait(ctx context.Context, room <-chan struct{}, m mcp.Message, id []byte) (err error) {
	for room != nil {
		select {
		case <-room:
			room, err = o.offer(m, id)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return err
}

// offer is put without the wait: if room is not nil, nothing was added, and it is
// closed when another try may do better.
func (o *outbox) offer(m mcp.Message, id []byte) (room <-chan struct{}, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.end != nil {
		return nil, &link.EndedError{Cause: o.end}
	}
	if len(o.pending) > 0 && len(o.pending)+len(m.Raw()) > maxOutbox {
		if o.room == nil {
			o.room = make(chan struct{})
		}
		return o.room, nil
	}
	if id == nil {
		o.pending = append(o.pending, m.Raw()...)
	} else {
		o.pending = m.AppendWithID(o.pending, id)
	}
	o.pending = append(o.pending, '\n')
	o.lines++
	o.wakeLocked()
	return nil, nil
}

// tell adds a message if there is room at once, and drops it if not: for what
// nobody waits for.
func (o *outbox) tell(m mcp.Message) { _, _ = o.offer(m, nil) }

// take returns all bytes that are there, after filled gave a token; ok is false
// after the end. used is a buffer that may be filled again.
func (o *outbox) take(used []byte) (lines []byte, ok bool) {
	if cap(used) > maxOutbox {
		used = nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.end != nil {
		return nil, false
	}
	lines, o.pending, o.lines = o.pending, used[:0], 0
	o.freeLocked()
	return lines, true
}

// len is how many messages the writer has not taken.
func (o *outbox) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lines
}

// wake makes the writer look, though there may be nothing to write.
func (o *outbox) wake() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wakeLocked()
}

// close refuses everything from now on, with a cause.
func (o *outbox) close(cause error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.end == nil {
		o.end = cause
		o.pending, o.lines = nil, 0
		o.freeLocked()
		o.wakeLocked()
	}
}

func (o *outbox) wakeLocked() {
	select {
	case o.filled <- struct{}{}:
	default:
	}
}

func (o *outbox) freeLocked() {
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
}
