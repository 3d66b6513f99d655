package backend

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

// Bounds of long lines, which are those of more than a mebibyte.
const (
	maxLong     = 256 << 20        // bytes of them that all instances hold, while they are read and until nobody has them any more
	maxLongEach = maxLong / 2      // of those of one instance
	longWait    = 60 * time.Second // from a mebibyte on to the end of the line
	longLook    = time.Second      // between looks for room
	maxGarbage  = 16 << 20         // bytes of them between two collections of garbage
)

// longs is what the long lines of all instances hold, so that servers that write many of them, to
// callers who don't take them, can't make the gateway hold all that at a time. They wait.
type longs struct {
	collecting sync.Mutex // held by who has the garbage collected

	mu    sync.Mutex
	held  int64
	fresh int64         // since garbage was collected last
	freed chan struct{} // closed when something is given back; nil if nobody waits
}

// long is the share of one instance. It is an mcp.Long.
type long struct {
	all  *longs
	conn *Conn
	most int64 // bytes of one line

	// Guarded by all.mu:
	held  int64
	timer *time.Timer // of the line that is read; nil if none is
}

// Begin waits for room for the longest line that there may be, so that no two who have begun wait
// for each other.
func (l *long) Begin() error {
	if l.all.stale() {
		l.all.collect()
	}
	for {
		freed := l.take(l.most)
		if freed == nil {
			return nil
		}
		l.all.collect() // who else knows that a line is not held any more?
		look := time.NewTimer(longLook)
		select {
		case <-freed:
		case <-look.C:
		case <-l.conn.ending:
			look.Stop()
			return l.conn.Err()
		}
		look.Stop()
	}
}

// End gives back what the line does not hold, and the rest when the line is garbage.
func (l *long) End(line []byte) {
	l.all.mu.Lock()
	l.timer.Stop()
	l.timer = nil
	l.all.mu.Unlock()
	l.hold(line)
	l.give(l.most)
}

// hold holds what a line does until it is garbage: one that was read, or that was made of
// such a one.
func (l *long) hold(line []byte) {
	if cap(line) == 0 {
		return
	}
	size := int64(cap(line))
	l.all.mu.Lock()
	defer l.all.mu.Unlock()
	l.held += size
	l.all.held += size
	l.all.fresh += size
	runtime.AddCleanup(&line[:1][0], l.give, size)
}

// take holds so much for a line that is to be read; if there is no room for it, the channel
// is closed when there may be.
func (l *long) take(n int64) (freed <-chan struct{}) {
	l.all.mu.Lock()
	defer l.all.mu.Unlock()
	if l.held > 0 && l.held+n > maxLongEach || l.all.held > 0 && l.all.held+n > maxLong {
		if l.all.freed == nil {
			l.all.freed = make(chan struct{})
		}
		return l.all.freed
	}
	l.held += n
	l.all.held += n
	l.timer = time.AfterFunc(longWait, l.expire)
	return nil
}

func (l *long) give(n int64) {
	l.all.mu.Lock()
	defer l.all.mu.Unlock()
	l.held -= n
	l.all.held -= n
	if l.all.freed != nil {
		close(l.all.freed)
		l.all.freed = nil
	}
}

// stale reports whether so much may be garbage that it is worth a collection. Go's own would wait until
// the heap has doubled: the line before, and what was made of it, would be there beside the next one.
func (l *longs) stale() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fresh >= maxGarbage
}

// collect has the garbage collected, unless somebody else does.
func (l *longs) collect() {
	if !l.collecting.TryLock() {
		return
	}
	defer l.collecting.Unlock()
	l.mu.Lock()
	l.fresh = 0
	l.mu.Unlock()
	debug.FreeOSMemory()
}

// expire ends an instance that does not end a long line: it keeps room from others. One
// that is halted can't.
func (l *long) expire() {
	l.all.mu.Lock()
	timer := l.timer
	l.all.mu.Unlock()
	switch {
	case timer == nil: // it has ended meanwhile
		return
	case l.conn.halts.Load()%2 == 1:
		timer.Reset(longWait)
		return
	}
	l.conn.shut(&overError{fmt.Sprintf("server %q was stopped: it did not end a line of more than a mebibyte within %s", l.conn.spec().Server, longWait)})
}
