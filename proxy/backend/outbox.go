package backend

import (
	"context"
	"runtime"
	"sync"
	"time"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/telemetry"
)

// outbox collects lines for a server's standard input. Callers wait for room under
// their own context. Whoever adds a line to an empty one writes it, with what others add
// meanwhile, as far as the server takes it at once; it is the writer's turn for the rest,
// and for all while the server is halted.
type outbox struct {
	filled chan struct{} // holds a token if the writer shall look
	// try writes what is taken at once, and returns how much that is. nil: nobody but the
	// writer writes.
	try func(lines []byte) (int, error)
	// broken is told of an error of try.
	broken func()

	mu      sync.Mutex
	pending []byte
	spare   []byte        // room for pending
	lines   int           // in pending
	used    bool          // some of them are not the gateway's own questions
	writing bool          // somebody is
	turn    bool          // it is the writer's
	last    time.Time     // when lines were written that count as use
	room    chan struct{} // closed when lines are taken; nil if nobody waits
	end     error
}

const (
	// maxTurns is how often one caller writes what others have added.
	maxTurns = 4
	// fewLines are not many: more are not waited for.
	fewLines = 16
	// maxSpare is how much room an outbox keeps that is empty.
	maxSpare = 16 << 10
)

func newOutbox() *outbox { return &outbox{filled: make(chan struct{}, 1), last: time.Now()} }

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
	mine, room, err := o.add(m, id)
	if mine {
		// Other callers that can run add theirs first: a write, which may wake the server,
		// costs more than all that was done for the call till here. If some have, but not
		// many, others may be about to.
		runtime.Gosched()
		if lines := o.len(); 1 < lines && lines < fewLines {
			runtime.Gosched()
		}
		o.flush()
	}
	return room, err
}

// add is offer without the write, which is the caller's to do if it is mine.
func (o *outbox) add(m mcp.Message, id []byte) (mine bool, room <-chan struct{}, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.end != nil {
		return false, nil, &link.EndedError{Cause: o.end}
	}
	if len(o.pending) > 0 && len(o.pending)+len(m.Raw()) > maxOutbox {
		if o.room == nil {
			o.room = make(chan struct{})
		}
		return false, o.room, nil
	}
	if id == nil {
		o.pending = append(o.pending, m.Raw()...)
	} else {
		o.pending = m.AppendWithID(o.pending, id)
	}
	o.pending = append(o.pending, '\n')
	o.lines++
	o.used = true
	return o.beginLocked(), nil, nil
}

// beginLocked makes the write the caller's, or the writer's.
func (o *outbox) beginLocked() (mine bool) {
	switch {
	case o.writing: // who does writes this, too
		return false
	case o.turn || o.try == nil:
		o.wakeLocked()
		return false
	}
	o.writing = true
	return true
}

// flush writes what is there, as far as it is taken at once.
func (o *outbox) flush() {
	for range maxTurns {
		lines := o.take()
		if lines == nil {
			return
		}
		n, err := o.try(lines)
		if err != nil {
			o.broken()
		}
		if n < len(lines) {
			o.leave(lines, n)
			return
		}
		o.give(lines)
	}
	o.leave(nil, 0)
}

// tell adds a message if there is room at once, and drops it if not: for what
// nobody waits for.
func (o *outbox) tell(m mcp.Message) { _, _ = o.offer(m, nil) }

// question adds a line of the gateway's own, which does not count as use.
func (o *outbox) question(line []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.end != nil {
		return
	}
	o.pending = append(o.pending, line...)
	o.lines++
	o.wakeLocked()
}

// take returns all bytes that are there, for who is writing; nil if there are none, and
// then nobody is any more.
func (o *outbox) take() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.pending) == 0 {
		o.writing = false
		return nil
	}
	if o.used {
		o.last = time.Now()
	}
	lines := o.pending
	o.pending, o.spare, o.lines, o.used = o.spare[:0], nil, 0, false
	o.freeLocked()
	return lines
}

// give gives the room of lines that are written back.
func (o *outbox) give(lines []byte) {
	if cap(lines) > maxSpare {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.spare = lines[:0]
}

// leave has the writer write what is left of lines, and what else there is.
func (o *outbox) leave(lines []byte, written int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writing = false
	if o.end != nil {
		return
	}
	if written < len(lines) {
		o.pending = append(lines[written:], o.pending...)
		o.lines++
	}
	if len(o.pending) > 0 {
		o.turn = true
		o.wakeLocked()
	}
}

// seize makes it the writer's turn if there is nothing to write; until release, nothing
// is written but by it.
func (o *outbox) seize() (ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.writing || len(o.pending) > 0 || o.end != nil {
		return false
	}
	o.turn = true
	return true
}

// release ends the writer's turn, unless there is something to write.
func (o *outbox) release() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.turn = len(o.pending) > 0
	if o.turn {
		o.wakeLocked()
	}
}

// begin makes the writer the one who writes; ok is false if somebody else does, who leaves
// it the rest.
func (o *outbox) begin() (ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.writing {
		return false
	}
	o.writing = true
	return true
}

// ended reports whether nothing more is to be written.
func (o *outbox) ended() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.end != nil
}

// lastUsed is when something was written last that counts as use.
func (o *outbox) lastUsed() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last
}

// len is how many messages are not on their way.
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
		o.pending, o.spare, o.lines = nil, nil, 0
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
