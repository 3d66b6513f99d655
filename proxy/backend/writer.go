package backend

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"mcpgateway/runtime/control"
)

// writer writes to a server's standard input what callers could not write themselves, and
// freezes the server while there is nothing to do. While it freezes, and until it has
// thawed the server again, nobody else writes: what comes meanwhile waits in its order.
type writer struct {
	*Conn
	opener Opener
	idle   *time.Timer    // until the next look whether to freeze
	after  time.Duration  // that idle was set by
	frozen bool           // or perhaps: the daemon did not say
	giving sync.WaitGroup // memory back
}

func (c *Conn) write(ctx context.Context, opener Opener) {
	after := c.spec().FreezeAfter
	w := writer{Conn: c, opener: opener, idle: time.NewTimer(after), after: after}
	defer w.idle.Stop()
	defer w.giving.Wait()
	if after == 0 {
		w.idle.Stop()
	}
	for {
		select {
		case <-c.outbox.filled:
			if c.outbox.ended() || !w.thaw(ctx) || !w.put() {
				return
			}
			w.adjust()
		case line := <-c.asking:
			if !w.frozen { // a question to a server that is frozen is dropped
				c.outbox.question(line)
			}
		case <-w.idle.C:
			if w.frozen {
				w.reclaim(ctx)
			} else {
				w.freezeIfIdle(ctx)
			}
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

// put writes what there is and reports whether there may be more.
func (w *writer) put() bool {
	if !w.outbox.begin() {
		return true
	}
	for lines := w.outbox.take(); lines != nil; lines = w.outbox.take() {
		if _, err := w.input.Write(lines); err != nil {
			w.closedInput()
			return false
		}
		w.outbox.give(lines)
	}
	w.outbox.release()
	return true
}

// closedInput takes no more for a server that does not read. It may still be
// answering. Its exit, if that is what happened, ends its output too.
func (c *Conn) closedInput() {
	c.outbox.close(fmt.Errorf("server %q closed its input", c.spec().Server))
	expire(c.files.Stdout, time.Now().Add(exitWait))
}

// freezeIfIdle freezes a server that has had nothing to do for long enough, or
// looks again later.
func (w *writer) freezeIfIdle(ctx context.Context) {
	seized := w.outbox.seize()
	quiet := w.quietSince()
	if last := w.outbox.lastUsed(); quiet.Before(last) {
		quiet = last
	}
	if rest := w.after - time.Since(quiet); rest > 0 || !seized {
		if seized {
			w.outbox.release()
		}
		w.idle.Reset(max(rest, time.Millisecond))
		return
	}
	ctx, cancel := context.WithTimeout(ctx, freezeWait)
	defer cancel()
	w.halts.Add(1)
	err := w.opener.Freeze(ctx, w.files.Sandbox)
	var refused *control.Error
	if w.frozen = !errors.As(err, &refused); !w.frozen {
		w.halts.Add(1)
		w.outbox.release()
	}
	if err != nil && !errors.Is(err, control.ErrClosed) {
		w.log.Warn("instance not frozen, and not tried again", "err", err)
	}
	if after := w.spec().ReclaimAfter; w.frozen && after > 0 {
		w.idle.Reset(max(0, after-time.Since(quiet))) // its next use sets it anew
	}
}

// reclaim has a frozen server give back what memory it can do without. That may take a
// while, in which the server can be thawed.
func (w *writer) reclaim(ctx context.Context) {
	w.giving.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, freezeWait)
		defer cancel()
		if err := w.opener.Reclaim(ctx, w.files.Sandbox, 0); err != nil && ctx.Err() == nil && !errors.Is(err, control.ErrClosed) {
			w.log.Info("the memory of a frozen instance was not reclaimed", "err", err)
		}
	})
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
	case errors.Is(err, control.ErrClosed):
		w.shut(&LostError{w.spec().Server})
	default:
		w.shut(fmt.Errorf("server %q was stopped: it was frozen while it had nothing to do, and could not be thawed: %w", w.spec().Server, err))
	}
	return false
}
