package audit

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"sync/atomic"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/chain"
	"mcpgateway/policy/journal"
	"mcpgateway/policy/mirror"
)

const (
	maxBatch      = 256                    // records that are written at once
	maxLag        = 5 * time.Millisecond   // for which one waits for others to be written with
	retryPause    = 250 * time.Millisecond // between attempts to write what could not be
	rotatePause   = 10 * time.Second       // after the daemon gave no other file
	complainPause = time.Minute            // between lines about one trouble
	keeperTimeout = 5 * time.Second
)

// writer makes lines of records and writes them. One goroutine has it.
type writer struct {
	log     *slog.Logger
	notary  *notary
	done    func(*entry)  // takes back what is written
	rules   *policy.Audit // nil: off
	file    *os.File      // nil: off
	number  uint64        // of the handover that the file came with
	size    int64
	mirrors []*mirror.Mirror
	batch   chain.Batch
	entries []*entry // that the batch's lines are made of

	failing    error          // why lines can't be written
	complained time.Time      // when that was last logged
	lost       uint64         // records since the last one that was written
	losses     *atomic.Uint64 // records in all
	unsynced   time.Time      // since when something written may not be on the disk; zero: nothing
	unsigned   time.Time      // since when there are lines after the last checkpoint; zero: there are none
	signed     uint64         // sequence of the last one
	rotateFrom time.Time      // not before
}

// add makes a line of an entry, which is the writer's until the line is written.
func (w *writer) add(e *entry) {
	w.batch.Add(e.members)
	w.entries = append(w.entries, e)
	w.mirror(w.batch.Newest())
}

// mirror sends a line elsewhere, too.
func (w *writer) mirror(line []byte) {
	for _, m := range w.mirrors {
		m.Offer(bytes.TrimSpace(line))
	}
}

// reflect starts the mirrors of a configuration, and ends those of the one before
// if they are others.
func (w *writer) reflect(before, next *policy.Audit) {
	same := before != nil && next != nil && before.Journald == next.Journald && reflect.DeepEqual(before.Syslog, next.Syslog)
	if same {
		return
	}
	for _, m := range w.mirrors {
		m.Close()
	}
	w.mirrors = nil
	if next == nil {
		return
	}
	if next.Journald {
		w.mirrors = append(w.mirrors, mirror.Journal(journal.Socket, w.log))
	}
	if next.Syslog != nil {
		w.mirrors = append(w.mirrors, mirror.Syslog(next.Syslog, w.log))
	}
}

// flush writes the batch. A part of it that was written is not written again.
func (w *writer) flush(now time.Time) {
	if !w.batch.Empty() {
		n, err := w.batch.Write(w.file)
		w.size += int64(n)
		if n > 0 {
			setOnce(&w.unsynced, now)
			setOnce(&w.unsigned, now)
		}
		if err != nil {
			w.fail(err, now)
			return
		}
		for _, e := range w.entries {
			w.done(e)
		}
		w.entries = w.entries[:0]
	}
	if always := w.rules.Sync == policy.SyncAlways || w.failing != nil; always && !w.sync(now) {
		return
	}
	if w.failing != nil {
		w.log.Info("the audit log is written again", "lost", w.lost)
		w.failing = nil
	}
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
	if w.size < w.rules.MaxSize || now.Before(w.rotateFrom) || w.failing != nil || ctx.Err() != nil {
		return
	}
	w.rotateFrom = now.Add(rotatePause)
	next, err := w.notary.rotate(ctx, w.batch.Head())
	if away(err) {
		return
	}
	if err != nil {
		w.log.Error("the audit log has no other file: it grows on", "bytes", w.size, "err", err)
		return
	}
	w.rotateFrom = time.Time{}
	w.open(next, next.After, nil, now)
}

// replace takes a file that came with a configuration. The chain goes on in it, unless
// there is another daemon now.
func (w *writer) replace(ctx context.Context, next Handover, now time.Time) {
	if next.File != nil && w.batch.ID != "" && next.Chain != w.batch.ID {
		w.begin(next, now)
		return
	}
	if next.File == nil || w.file != nil && (next.Number < w.number || sameFile(w.file, next.File)) {
		next.Close()
		return
	}
	left := w.batch.Rewind()
	after := next.After
	if w.batch.Sequence > 0 {
		head := w.batch.Head()
		signed, err := w.notary.checkpoint(ctx, head)
		if err != nil {
			w.log.Error("the audit log goes on in another file, without a signature", "err", err)
			signed = head
		}
		after = &signed
	}
	w.open(next, after, left, now)
}

// begin begins another chain, by a handover of a daemon that signs nothing of the one
// before. In the same file that names the last record, signed or not, so that what is
// signed from now on vouches for it. The first line of a file must name what was signed.
func (w *writer) begin(next Handover, now time.Time) {
	left := w.batch.Rewind()
	after := next.After
	if w.file != nil {
		w.sync(now)
	}
	if w.file != nil && w.batch.Sequence > 0 && sameFile(w.file, next.File) && fileSize(next.File) > 0 {
		head := w.batch.Head()
		after = &head
	}
	w.batch.Chain = chain.Chain{}
	w.unsigned, w.signed, w.rotateFrom = time.Time{}, 0, time.Time{}
	w.open(next, after, left, now)
}

// open goes on in another file, with the lines that are left of the one before.
func (w *writer) open(next Handover, after *chain.Head, left [][]byte, now time.Time) {
	closeFile(w.file)
	w.file, w.number, w.size, w.unsynced = next.File, next.Number, fileSize(next.File), time.Time{}
	if w.batch.Sequence == 0 {
		w.batch.ID = next.Chain
		if after != nil {
			if err := w.batch.Follow(*after); err != nil { // the daemon's own
				w.log.Error("start the audit log", "err", err)
			}
		}
	}
	w.batch.Open(chain.Calls, now, after, w.size == 0)
	w.mirror(w.batch.Newest())
	for _, members := range left {
		w.batch.Add(members)
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
