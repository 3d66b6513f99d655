package backend

import (
	"sync"

	"mcpgateway/proxy/mcp"
)

// Queue holds messages toward one client until its front takes them. It is
// bounded, so that a client that does not read costs no more than that.
type Queue struct {
	ready chan struct{} // holds a token if there may be messages

	mu       sync.Mutex
	messages []mcp.Message
	bytes    int
}

func newQueue() *Queue { return &Queue{ready: make(chan struct{}, 1)} }

// Ready gives a value when Take may have messages.
func (q *Queue) Ready() <-chan struct{} { return q.ready }

// Take returns the messages in their order and empties the queue.
func (q *Queue) Take() []mcp.Message {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := q.messages
	q.messages, q.bytes = nil, 0
	return taken
}

// offer adds a message and reports false if there is no room for it.
func (q *Queue) offer(m mcp.Message) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	full := len(q.messages) >= maxQueue || q.bytes+len(m.Raw()) > maxQueueBytes
	if full && len(q.messages) > 0 {
		return false
	}
	q.addLocked(m)
	return true
}

// force adds a message in any case: a response, of which there is one.
func (q *Queue) force(m mcp.Message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.addLocked(m)
}

func (q *Queue) addLocked(m mcp.Message) {
	q.messages = append(q.messages, m)
	q.bytes += len(m.Raw())
	select {
	case q.ready <- struct{}{}:
	default:
	}
}
