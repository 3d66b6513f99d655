package link

import (
	"sync"

	"mcpgateway/proxy/mcp"
)

// Bounds of a queue, beside the one message that is over them.
const (
	MaxQueue      = 256     // messages
	MaxQueueBytes = 4 << 20 // bytes of them
)

// Queue holds messages toward one client until its front takes them. It is
// bounded, so that a client that does not read costs no more than that.
type Queue struct {
	ready chan struct{} // holds a token if there may be messages

	mu       sync.Mutex
	messages []mcp.Message
	bytes    int
	first    [1]mcp.Message // room for what most queues get in their whole life: a response
}

// NewQueue returns an empty queue.
func NewQueue() *Queue {
	q := new(Queue)
	q.Init()
	return q
}

// Init makes an empty queue of a zero one, which is a part of something else.
func (q *Queue) Init() {
	q.ready = make(chan struct{}, 1)
	q.messages = q.first[:0]
}

// Ready gives a value when Take may have messages.
func (q *Queue) Ready() <-chan struct{} { return q.ready }

// Wake makes Ready give a value, though nothing may have come.
func (q *Queue) Wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// Leave says that nobody reads for now. What comes waits.
func (*Queue) Leave() {}

// Take returns the messages in their order and empties the queue.
func (q *Queue) Take() []mcp.Message {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := q.messages
	q.messages, q.bytes = nil, 0
	return taken
}

// Offer adds a message and reports false if there is no room for it.
func (q *Queue) Offer(m mcp.Message) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	full := len(q.messages) >= MaxQueue || q.bytes+len(m.Raw()) > MaxQueueBytes
	if full && len(q.messages) > 0 {
		return false
	}
	q.addLocked(m)
	return true
}

// Drop takes the messages out that are not wanted any more.
func (q *Queue) Drop(unwanted func(mcp.Message) bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var kept []mcp.Message
	q.bytes = 0
	for _, m := range q.messages {
		if !unwanted(m) {
			kept = append(kept, m)
			q.bytes += len(m.Raw())
		}
	}
	q.messages = kept
}

// Force adds a message in any case: a response, of which there is one.
func (q *Queue) Force(m mcp.Message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.addLocked(m)
}

func (q *Queue) addLocked(m mcp.Message) {
	q.messages = append(q.messages, m)
	q.bytes += len(m.Raw())
	q.Wake()
}
