package gate

import "sync"

// maxRoom is how many requests one caller may have under way that will be recorded: a
// quarter of those that the audit log has room for, so that there is some for others.
const maxRoom = 2048

// crowd counts them for each caller.
type crowd struct {
	mu   sync.Mutex
	held map[string]int // by subject
}

// enter reports whether a caller may have one more, and counts it if so.
func (c *crowd) enter(subject string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		c.held = map[string]int{}
	}
	if c.held[subject] >= maxRoom {
		return false
	}
	c.held[subject]++
	return true
}

func (c *crowd) leave(subject string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held[subject]--; c.held[subject] <= 0 {
		delete(c.held, subject)
	}
}

// makeRoom says that a request of the guard's caller holds no room any more.
func (g *guard) makeRoom() {
	if g.rules.Audit != nil {
		g.sessions.crowd.leave(g.caller.Subject)
	}
}
