package logbook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"time"

	"mcpgateway/policy/chain"
)

// Record writes a record of the daemon's own: an event, and names and values, in
// turn. It waits for the disk only if that can't be helped.
func (b *Book) Record(event string, pairs ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.recordLocked(event, time.Now(), pairs...)
}

// Refused is Record for what others can bring about as often as they like. So many
// of them are left out, and counted.
func (b *Book) Refused(event string, pairs ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refusedLocked(event, time.Now(), pairs...)
}

func (b *Book) refusedLocked(event string, now time.Time, pairs ...any) {
	if !b.refused.Allow() {
		b.suppressed++
		return
	}
	if b.suppressed > 0 {
		pairs = append(pairs, "suppressed", b.suppressed)
		b.suppressed = 0
	}
	b.recordLocked(event, now, pairs...)
}

// Blocked says why nothing may be done that must be recorded, if so it is.
func (b *Book) Blocked() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.place == nil || !b.place.Block || b.failing == nil {
		return nil
	}
	return fmt.Errorf("the audit log can't be written: %w", b.failing)
}

func (b *Book) recordLocked(event string, now time.Time, pairs ...any) {
	if b.file == nil {
		return
	}
	if b.own.Len() >= maxWaiting {
		b.lost++
		return
	}
	b.gapLocked(now)
	b.own.Add(members(event, now, pairs))
	b.told(bytes.TrimSpace(b.own.Newest()))
	b.flushLocked(now)
	if b.failing == nil && b.size >= b.place.MaxSize {
		b.rotateOwnLocked(now)
	}
}

// members are those of a record, but for empty texts. Values that can't be marshalled are a bug.
func members(event string, now time.Time, pairs []any) []byte {
	out := fmt.Appendf(nil, `"time":%q,"event":%q`, now.UTC().Format(time.RFC3339Nano), event)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			continue
		}
		value, err := json.Marshal(pairs[i+1])
		if err != nil {
			panic(err)
		}
		out = append(fmt.Appendf(out, ",%q:", pairs[i]), value...)
	}
	return out
}

func (b *Book) gapLocked(now time.Time) {
	if b.lost > 0 {
		b.own.Add(members(chain.EventGap, now, []any{"lost", b.lost}))
		b.lost = 0
	}
}

func (b *Book) flushLocked(now time.Time) {
	if b.own.Empty() {
		return
	}
	n, err := b.own.Write(b.file)
	b.size += int64(n)
	b.unsynced = b.unsynced || n > 0
	if b.unsigned.IsZero() {
		b.unsigned = now
	}
	if err != nil && (b.failing == nil || now.Sub(b.complained) >= complainPause) {
		slog.Error("the daemon's audit log can't be written", "lost", b.lost, "err", err)
		b.complained = now
	}
	b.failing = err
}

func (b *Book) syncLocked(now time.Time) {
	if !b.unsynced {
		return
	}
	err := b.file.Sync()
	b.unsynced = err != nil
	if err != nil && now.Sub(b.complained) >= complainPause {
		slog.Error("the daemon's audit log is not on the disk", "err", err)
		b.complained = now
	}
}

// tickLocked does what the time has come for.
func (b *Book) tickLocked(now time.Time) {
	if b.file == nil {
		return
	}
	b.flushLocked(now)
	if b.failing == nil && b.lost > 0 {
		b.gapLocked(now)
		b.flushLocked(now)
	}
	b.syncLocked(now)
	if b.failing == nil && !b.unsigned.IsZero() && now.Sub(b.unsigned) >= checkpointInterval {
		b.checkpointOwnLocked(now)
	}
}

// checkpointOwnLocked has the newest own head in the log itself, too.
func (b *Book) checkpointOwnLocked(now time.Time) {
	b.recordLocked(chain.EventCheckpoint, now, "log", chain.Daemon, "head", b.own.Head().Sign(b.key, now))
	if err := b.saveLocked(now); err != nil {
		slog.Error("sign the audit log", "err", err)
	}
}

// openLocked goes on in another file, with what could not be written to the one
// before.
func (b *Book) openLocked(file *os.File, now time.Time) {
	left := b.own.Rewind()
	after := b.heads.Own.Head
	if b.own.Sequence > 0 {
		head := b.own.Head().Sign(b.key, now)
		after = &head
	} else {
		b.own.ID = chain.NewID()
		if after != nil && b.own.Follow(*after) != nil {
			after = nil
		}
	}
	if b.file != nil {
		b.syncLocked(now)
		b.file.Close()
	}
	b.file, b.size = file, 0
	if info, err := file.Stat(); err == nil {
		b.size = info.Size()
	}
	b.own.Open(chain.Daemon, now, after, b.size == 0)
	for _, m := range left {
		b.own.Add(m)
	}
	b.flushLocked(now)
}

func (b *Book) rotateOwnLocked(now time.Time) {
	file, name, err := b.place.putAside(b.place.own, now)
	if err != nil {
		slog.Error("rotate the daemon's audit log", "err", err)
		return
	}
	head := b.own.Head().Sign(b.key, now)
	b.openLocked(file, now)
	b.recordLocked(chain.EventRotated, now, "file", b.path(name), "head", head)
	b.cleanLocked(b.place.own, now)
}

// shutLocked signs what was written, and closes the file. What could not be
// written goes to the next one, if there is one.
func (b *Book) shutLocked() {
	if b.file == nil {
		return
	}
	now := time.Now()
	b.flushLocked(now)
	b.checkpointOwnLocked(now)
	b.file.Close()
	b.file, b.unsynced, b.failing = nil, false, nil
	b.place.Close()
	b.place = nil
}
