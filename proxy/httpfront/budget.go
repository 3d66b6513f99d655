package httpfront

import "sync"

// bodiesPerCaller is how many bytes of request bodies one caller may have in
// memory at a time; a single body may always have its own limit.
const bodiesPerCaller = 64 << 20

// requestsPerCaller is how many requests one caller may have under way at a time,
// streams among them: each costs memory, however small it is.
const requestsPerCaller = 512

// budgets count what each caller has under way.
type budgets struct {
	mu sync.Mutex
	of map[string]*budget // of those who have something
}

// budget is what one caller has.
type budget struct {
	*budgets
	caller   string
	requests int
	bytes    int64 // of bodies
}

func newBudgets() *budgets { return &budgets{of: map[string]*budget{}} }

// take counts requests of a caller; nil if it may not have so many. give must follow.
func (b *budgets) take(caller string, requests int) *budget {
	b.mu.Lock()
	defer b.mu.Unlock()
	of := b.of[caller]
	switch {
	case of == nil:
		of = &budget{budgets: b, caller: caller}
		b.of[caller] = of
	case of.requests+requests > requestsPerCaller:
		return nil
	}
	of.requests += requests
	return of
}

// hold reports whether the caller may have a body, and counts it if so.
func (b *budget) hold(bytes, limit int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bytes+bytes > limit {
		return false
	}
	b.bytes += bytes
	return true
}

// give counts requests that are over, and their bodies.
func (b *budget) give(requests int, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bytes -= bytes
	if b.requests -= requests; b.requests == 0 {
		delete(b.of, b.caller)
	}
}
