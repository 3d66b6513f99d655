package audit

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/chain"
)

const (
	maxBatch      = 512                    // records that are written at once
	retryPause    = 250 * time.Millisecond // between attempts to write what could not be
	rotatePause   = 10 * time.Second       // after the daemon gave no other file
	complainPause = time.Minute            // between lines about one trouble
	keeperTimeout = 5 * time.Second
)

// writer makes lines of records and writes them. One goroutine has it.
type writer struct {
	log    *slog.Logger
	notary *notary
	done   func(*entry)  // takes back what is written
	rules  *policy.Audit // nil: off
	file   *os.File      // nil: off
	number uint64        // of the handover that the file came with
	size   int64
	chain  chain.Chain

	lines   []byte // of the batch
	written int    // bytes of lines that are in the file
	batch   []line // what lines are made of, until all of them are written

	failing    error     // why lines can't be written
	complained time.Time // when that was last logged
	lost       uint64    // records since the last one that was written
	unsynced   time.Time // since when something written may not be on the disk; zero: nothing
	unsigned   time.Time // since when there are lines after the last checkpoint; zero: there are none
	signed     uint64    // sequence of the last one
	rotateFrom time.Time // not before
}

// line is a line of the batch: what it is made of, nil if it opens a file, and
// where it ends.
type line struct {
	entry  *entry
	end    int
	before chain.Chain // what the chain was
}

// add makes a line of an entry, which is the writer's until the line is written.
func (w *writer) add(e *entry) {
	before := w.chain
	w.lines = w.chain.Append(w.lines, e.members)
	w.batch = append(w.batch, line{e, len(w.lines), before})
}

// flush writes the batch. A part of it that was written is not written again.
func (w *writer) flush(now time.Time) (done bool) {
	if w.written < len(w.lines) {
		n, err := w.file.Write(w.lines[w.written:])
		w.written += n
		w.size += int64(n)
		if n > 0 {
			setOnce(&w.unsynced, now)
			setOnce(&w.unsigned, now)
		}
		if err != nil {
			w.fail(err, now)
			return false
		}
	}
	for _, l := range w.batch {
		if l.entry != nil {
			w.done(l.entry)
		}
	}
	w.lines, w.batch, w.written = w.lines[:0], w.batch[:0], 0
	if always := w.rules.Sync == policy.SyncAlways || w.failing != nil; always && !w.sync(now) {
		return false
	}
	if w.failing != nil {
		w.log.Info("the audit log is written again", "lost", w.lost)
		w.failing = nil
	}
	return true
}

// sync has on the disk what was written.
func (w *writer) sync(now time.Time) (done bool) {
	if w.unsynced.IsZero() || w.rules.Sync == policy.SyncNever {
		return true
	}
	if err := w.file.Sync(); err != nil {
		w.fail(err, now)
		return false
	}
	w.unsynced = time.Time{}
	return true
}

func (w *writer) fail(err error, now time.Time) {
	if w.failing == nil || now.Sub(w.complained) >= complainPause {
		w.log.Error("the audit log can't be written", "rule", w.rules.OnFull, "lost", w.lost, "err", err)
		w.complained = now
	}
	w.failing = err
}

// addGap says how many records were lost.
func (w *writer) addGap(now time.Time) {
	if w.lost > 0 {
		w.add(&entry{members: fmt.Appendf(nil, `"time":%q,"event":%q,"lost":%d`, now.UTC().Format(time.RFC3339Nano), chain.EventGap, w.lost)})
		w.lost = 0
	}
}

// rotate asks for another file if this one is as large as it may be.
func (w *writer) rotate(ctx context.Context, now time.Time) {
	if w.size < w.rules.MaxSize || now.Before(w.rotateFrom) || w.failing != nil {
		return
	}
	w.rotateFrom = now.Add(rotatePause)
	next, err := w.notary.rotate(ctx, w.chain.Head())
	if err != nil {
		w.log.Error("the audit log has no other file: it grows on", "bytes", w.size, "err", err)
		return
	}
	w.rotateFrom = time.Time{}
	w.open(next, next.After, now)
}

// replace takes a file that came with a configuration. The chain goes on in it.
func (w *writer) replace(ctx context.Context, next Handover, now time.Time) {
	if next.File == nil || w.file != nil && (next.Number < w.number || sameFile(w.file, next.File)) {
		closeFile(next.File)
		return
	}
	w.rewind()
	after := next.After
	if w.chain.Sequence > 0 {
		head := w.chain.Head()
		signed, err := w.notary.checkpoint(ctx, head)
		if err != nil {
			w.log.Error("the audit log goes on in another file, without a signature", "err", err)
			signed = head
		}
		after = &signed
	}
	w.open(next, after, now)
}

// rewind makes the chain what the file has of it: lines that are not whole in it
// will be made anew.
func (w *writer) rewind() {
	whole := 0
	for ; whole < len(w.batch) && w.batch[whole].end <= w.written; whole++ {
		if e := w.batch[whole].entry; e != nil {
			w.done(e)
		}
	}
	if w.batch = w.batch[whole:]; len(w.batch) > 0 {
		w.chain = w.batch[0].before
	}
}

// open goes on in another file, and makes the lines anew that are left.
func (w *writer) open(next Handover, after *chain.Head, now time.Time) {
	left := w.batch
	closeFile(w.file)
	w.file, w.number, w.size = next.File, next.Number, fileSize(next.File)
	w.lines, w.batch, w.written, w.unsynced = w.lines[:0], nil, 0, time.Time{}
	if w.chain.Sequence == 0 {
		w.chain.ID = next.Chain
		if after != nil {
			if err := w.chain.Follow(*after); err != nil { // the daemon's own
				w.log.Error("start the audit log", "err", err)
			}
		}
	}
	before := w.chain
	w.lines = w.chain.AppendOpened(w.lines, chain.Calls, now, after, w.size == 0)
	w.batch = append(w.batch, line{nil, len(w.lines), before})
	for _, l := range left {
		if l.entry != nil {
			w.add(l.entry)
		}
	}
	w.flush(now)
}

// wait is how long nothing is due.
func (w *writer) wait(now time.Time) time.Duration {
	if w.failing != nil {
		return retryPause
	}
	wait := time.Hour
	if !w.unsynced.IsZero() && w.rules != nil && w.rules.Sync != policy.SyncNever {
		wait = min(wait, policy.AuditSyncInterval-now.Sub(w.unsynced))
	}
	if !w.unsigned.IsZero() {
		wait = min(wait, checkpointInterval-now.Sub(w.unsigned))
	}
	return max(wait, 0)
}

func setOnce(t *time.Time, now time.Time) {
	if t.IsZero() {
		*t = now
	}
}

func sameFile(a, b *os.File) bool {
	first, err := a.Stat()
	if err != nil {
		return false
	}
	second, err := b.Stat()
	return err == nil && os.SameFile(first, second)
}

func fileSize(f *os.File) int64 {
	info, err := f.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

func closeFile(f *os.File) {
	if f != nil {
		f.Close()
	}
}
