package audit

import (
	"context"
	"sync/atomic"
)

// entry is the members of a record on its way to the writer.
type entry struct {
	members []byte
	slot    bool   // it holds one
	next    *entry // in a queue
}

// queue is what waits for the writer. Whoever adds to it waits for nobody, and wakes the
// writer only if it has nothing to do.
type queue struct {
	newest atomic.Pointer[entry] // and, by next, those before it
	length atomic.Int64          // now and then one too few
	some   chan struct{}         // has a value if there are entries, and the writer may not know
	many   chan struct{}         // has a value if there are enough for a batch

	oldest *entry // the writer's own: and, by next, those after it
}

func newQueue() *queue {
	return &queue{some: make(chan struct{}, 1), many: make(chan struct{}, 1)}
}

// add adds an entry, which is the queue's from now on.
func (q *queue) add(e *entry) {
	var before *entry
	for {
		before = q.newest.Load()
		e.next = before
		if q.newest.CompareAndSwap(before, e) {
			break
		}
	}
	if q.length.Add(1) >= maxBatch {
		signal(q.many)
	}
	if before == nil {
		signal(q.some)
	}
}

// take takes out the entry that is there for longest; nil if there is none. Only the
// writer may use it.
func (q *queue) take() *entry {
	if q.oldest == nil {
		for e := q.newest.Swap(nil); e != nil; {
			before := e.next
			e.next, q.oldest = q.oldest, e
			e = before
		}
	}
	e := q.oldest
	if e != nil {
		q.oldest, e.next = e.next, nil
		q.length.Add(-1)
	}
	return e
}

// remind makes some have a value if there are entries. Only the writer may use it.
func (q *queue) remind() {
	if q.oldest != nil || q.newest.Load() != nil {
		signal(q.some)
	}
}

// signal puts a value into a channel that has room for one.
func signal(to chan struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

// slots are the records that there may be at a time.
type slots struct {
	free    atomic.Int64
	waiting atomic.Int64
	freed   chan struct{} // has a value if one of those who wait is to look again
}

func newSlots(n int64) *slots {
	s := &slots{freed: make(chan struct{}, 1)}
	s.free.Store(n)
	return s
}

// acquire takes one; it waits under ctx while there is none.
func (s *slots) acquire(ctx context.Context) error {
	if s.try() {
		return nil
	}
	s.waiting.Add(1)
	defer s.waiting.Add(-1)
	for !s.try() {
		select {
		case <-s.freed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if s.free.Load() > 0 { // there was one value, perhaps for several
		signal(s.freed)
	}
	return nil
}

func (s *slots) try() bool {
	for {
		free := s.free.Load()
		if free <= 0 {
			return false
		}
		if s.free.CompareAndSwap(free, free-1) {
			return true
		}
	}
}

func (s *slots) release() {
	s.free.Add(1)
	if s.waiting.Load() > 0 {
		signal(s.freed)
	}
}
