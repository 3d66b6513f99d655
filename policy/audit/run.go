package audit

import (
	"context"
	"sync"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/chain"
)

// Run writes what is queued until ctx ends; then what is left, and has it signed.
func (l *Log) Run(ctx context.Context) error {
	if l == nil {
		<-ctx.Done()
		return nil
	}
	w := &writer{log: l.log, done: l.written, losses: &l.lost, notary: &notary{keeper: l.keeper, log: l.log, heads: make(chan chain.Head, 1)}}
	signing, stop := context.WithCancel(ctx)
	var notaries sync.WaitGroup
	notaries.Go(func() { w.notary.run(signing) })
	for ctx.Err() == nil {
		l.step(ctx, w)
	}
	stop()
	notaries.Wait()
	l.finish(context.WithoutCancel(ctx), w)
	return nil
}

// step waits for something to do, and does it.
func (l *Log) step(ctx context.Context, w *writer) {
	timer := time.NewTimer(w.wait(time.Now()))
	defer timer.Stop()
	some := l.queue.some
	if w.file == nil || w.stuck() {
		some = nil // what waits there has its slots
	}
	select {
	case <-some:
		l.gather(ctx, w)
		l.write(w, time.Now())
	case <-l.poke:
		l.take(ctx, w)
	case line := <-l.foreign:
		w.mirror([]byte(line))
	case <-timer.C:
	case <-ctx.Done():
		return
	}
	now := time.Now()
	if w.file != nil {
		if w.failing != nil {
			w.flush(now)
		}
		w.rotate(ctx, now)
		w.due(now)
	}
	l.blocked.Store(w.stuck())
	l.queue.remind()
}

// gather waits for more to write at once, unless there is enough of it, or what is written
// is to be on the disk as soon as can be.
func (l *Log) gather(ctx context.Context, w *writer) {
	if w.rules.Sync == policy.SyncAlways || l.queue.length.Load() >= maxBatch {
		return
	}
	timer := time.NewTimer(maxLag)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.queue.many:
	case <-ctx.Done():
	}
}

// stuck reports whether calls must wait until lines can be written.
func (w *writer) stuck() bool { return w.failing != nil && w.rules.OnFull != policy.OnFullDrop }

// write writes what is queued, as much as goes at once, and returns how much that was.
func (l *Log) write(w *writer, now time.Time) (taken int64) {
	failing := w.failing != nil
	for taken < maxBatch && (failing || w.batch.Len() < maxBatch) {
		e := l.queue.take()
		if e == nil {
			break
		}
		taken++
		if failing {
			w.lose(e)
			continue
		}
		w.addGap(now)
		w.add(e)
	}
	if !failing && taken > 0 {
		w.flush(now)
	}
	return taken
}

// lose counts a record that can't be written.
func (w *writer) lose(e *entry) {
	w.loses(1)
	w.done(e)
}

// loses counts records that can't be written.
func (w *writer) loses(n uint64) {
	w.lost += n
	w.losses.Add(n)
}

// written takes back an entry.
func (l *Log) written(e *entry) {
	if e.slot {
		l.slots.release()
		l.entries.Put(e)
	}
}

// take takes the next configuration. What was queued under the one before is
// written first.
func (l *Log) take(ctx context.Context, w *writer) {
	l.nextMu.Lock()
	next := l.next
	l.next = nil
	l.nextMu.Unlock()
	if next == nil {
		return
	}
	now := time.Now()
	l.drain(w, now)
	if next.policy != nil {
		w.reflect(w.rules, next.policy)
		w.rules = next.policy
		w.replace(ctx, next.file, now)
		return
	}
	next.file.Close()
	if w.file != nil {
		w.shut(ctx, now)
	}
}

// drain writes what is queued now.
func (l *Log) drain(w *writer, now time.Time) {
	for left := l.queue.length.Load(); left > 0 && w.file != nil && !w.stuck(); {
		taken := l.write(w, now)
		if taken == 0 {
			return
		}
		left -= taken
	}
}

// shut has what was written signed, and lets go of the file.
func (w *writer) shut(ctx context.Context, now time.Time) {
	w.flush(now)
	w.sync(now)
	w.loses(uint64(len(w.batch.Rewind()))) // there is no file for them any more
	for _, e := range w.entries {
		w.done(e)
	}
	if w.lost > 0 {
		w.log.Error("records of the audit log are lost", "lost", w.lost)
	}
	w.entries, w.failing, w.lost = nil, nil, 0
	if w.batch.Sequence > 0 {
		if _, err := w.notary.checkpoint(ctx, w.batch.Head()); err != nil {
			w.log.Error("the audit log is closed without a signature", "err", err)
		}
	}
	closeFile(w.file)
	w.reflect(w.rules, nil)
	w.file, w.rules, w.unsynced, w.unsigned = nil, nil, time.Time{}, time.Time{}
}

// finish writes all that is left.
func (l *Log) finish(ctx context.Context, w *writer) {
	l.take(ctx, w)
	if w.file != nil {
		now := time.Now()
		w.flush(now)
		l.drain(w, now)
		w.loses(uint64(max(0, l.queue.length.Load())))
		w.shut(ctx, now)
	}
}

// due does what the time has come for.
func (w *writer) due(now time.Time) {
	if w.rules.Sync == policy.SyncInterval && !w.unsynced.IsZero() && now.Sub(w.unsynced) >= policy.AuditSyncInterval {
		w.sync(now)
	}
	if w.unsigned.IsZero() || !w.batch.Empty() {
		return
	}
	age, lines := now.Sub(w.unsigned), w.batch.Sequence-w.signed
	if age >= checkpointInterval || age >= checkpointPause && lines >= checkpointLines {
		// A signed line that a crash takes away would look like a removed one.
		if w.sync(now) {
			w.unsigned, w.signed = time.Time{}, w.batch.Sequence
			w.notary.offer(w.batch.Head())
		}
	}
}
