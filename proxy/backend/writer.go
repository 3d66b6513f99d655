package backend

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mcpgateway/runtime/control"
)

// writer writes to a server's standard input, and freezes the server while there
// is nothing to do. One goroutine does both, so nothing is ever written to a frozen
// server, and what comes while it is being frozen waits in its order.
type writer struct {
	*Conn
	opener Opener
	idle   *time.Timer   // until the next look whether to freeze
	after  time.Duration // that idle was set by
	last   time.Time     // when it last wrote
	frozen bool          // or perhaps: the daemon did not say
}

func (c *Conn) write(ctx context.Context, opener Opener) {
	after := c.spec().FreezeAfter
	w := writer{Conn: c, opener: opener, idle: time.NewTimer(after), after: after, last: time.Now()}
	defer w.idle.Stop()
	if after == 0 {
		w.idle.Stop()
	}
	var lines []byte
	for {
		select {
		case <-c.outbox.filled:
			var ok bool
			if lines, ok = c.outbox.take(lines); !ok {
				return
			}
			if !w.thaw(ctx) || !w.put(lines) {
				return
			}
			w.adjust()
		case line := <-c.asking:
			if !w.ask(line) {
				return
			}
		case <-w.idle.C:
			w.freezeIfIdle(ctx)
		}
	}
}

// adjust goes by another time to freeze after, if there is one.
func (w *writer) adjust() {
	after := w.spec().FreezeAfter
	if after == w.after {
		return
	}
	w.after = after
	w.idle.Stop()
	if after > 0 {
		w.idle.Reset(after)
	}
}

// put writes lines and reports whether there may be more.
func (w *writer) put(lines []byte) bool {
	if len(lines) == 0 {
		return true
	}
	if _, err := w.files.Stdin.Write(lines); err != nil {
		w.closedInput()
		return false
	}
	w.last = time.Now()
	return true
}

// ask puts a question of the gateway's own to a server that runs, which does not count
// as use, and reports whether there may be more. One to a server that is frozen is
// dropped.
func (w *writer) ask(line []byte) bool {
	if w.frozen {
		return true
	}
	if _, err := w.files.Stdin.Write(line); err != nil {
		w.closedInput()
		return false
	}
	return true
}

// closedInput takes no more for a server that does not read. It may still be
// answering. Its exit, if that is what happened, ends its output too.
func (w *writer) closedInput() {
	w.outbox.close(fmt.Errorf("server %q closed its input", w.spec().Server))
	expire(w.files.Stdout, time.Now().Add(exitWait))
}

// freezeIfIdle freezes a server that has had nothing to do for long enough, or
// looks again later.
func (w *writer) freezeIfIdle(ctx context.Context) {
	quiet := w.quietSince()
	if quiet.Before(w.last) {
		quiet = w.last
	}
	if rest := w.after - time.Since(quiet); rest > 0 {
		w.idle.Reset(rest)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, freezeWait)
	defer cancel()
	w.halts.Add(1)
	err := w.opener.Freeze(ctx, w.files.Sandbox)
	var refused *control.Error
	if w.frozen = !errors.As(err, &refused); !w.frozen {
		w.halts.Add(1)
	}
	if err != nil {
		w.log.Warn("instance not frozen, and not tried again", "err", err)
	}
}

// quietSince is since when the instance has had nothing to do; now, if it has. A
// listener may hear of what a server does by itself, and so it goes on.
func (c *Conn) quietSince() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tasks || c.inUseLocked() {
		return time.Now()
	}
	return c.lastUsed
}

// thaw makes sure that the server runs, and reports whether it can be written to.
// One that can't be thawed is lost.
func (w *writer) thaw(ctx context.Context) bool {
	if !w.frozen {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, freezeWait)
	defer cancel()
	err := w.opener.Thaw(ctx, w.files.Sandbox)
	var refused *control.Error
	switch {
	case err == nil:
		w.frozen = false
		w.halts.Add(1)
		w.idle.Reset(w.after)
		return true
	case errors.As(err, &refused) && refused.Code == control.CodeUnknown: // it has ended meanwhile
		w.closedInput()
	default:
		w.shut(fmt.Errorf("server %q was stopped: it was frozen while it had nothing to do, and could not be thawed: %w", w.spec().Server, err))
	}
	return false
}
