package httpfront

import "sync"

// bodiesPerCaller is how many bytes of request bodies one caller may have in
// memory at a time; a single body may always have its own limit.
const bodiesPerCaller = 64 << 20

// requestsPerCaller is how many requests one caller may have under way at a time,
// streams among them: each costs memory, however small it is.
const requestsPerCaller = 512

// budget counts what each caller holds.
type budget struct {
	mu   sync.Mutex
	held map[string]int64
}

func newBudget() *budget { return &budget{held: map[string]int64{}} }

// take reports whether caller may hold n more, and counts it if so.
func (b *budget) take(caller string, n, limit int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held[caller]+n > limit {
		return false
	}
	b.held[caller] += n
	return true
}

func (b *budget) give(caller string, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held[caller] -= n; b.held[caller] == 0 {
		delete(b.held, caller)
	}
}
