package gate

import (
	"sync"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// passages are the calls of a session that nobody may ever read to their end: in its
// era a client may go away from a call and come back, or not.
type passages struct {
	mu   sync.Mutex
	open map[*lasting]struct{}
	over bool // the session
}

// lasting is a call that its session ends if nobody else does.
type lasting struct {
	link.Call
	of *passages

	mu   sync.Mutex
	left []mcp.Message // of a session that is over, for whoever reads it yet
}

func (p *passages) add(call link.Call) link.Call {
	l := &lasting{Call: call, of: p}
	p.mu.Lock()
	over := p.over
	if !over {
		if p.open == nil {
			p.open = map[*lasting]struct{}{}
		}
		p.open[l] = struct{}{}
	}
	p.mu.Unlock()
	if over {
		l.end()
	}
	return l
}

// end ends what is left when the session is over: each call has its response then, or
// is about to.
func (p *passages) end() {
	p.mu.Lock()
	left := p.open
	p.open, p.over = nil, true
	p.mu.Unlock()
	for l := range left {
		l.end()
	}
}

// end reads a call to its end, so that what it takes up is free, and keeps what there
// is to read: somebody may be about to.
func (l *lasting) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left = append(l.left, l.Call.Take()...)
	l.Wake()
}

// Take returns what has come.
func (l *lasting) Take() []mcp.Message {
	l.mu.Lock()
	messages := l.Call.Take()
	if len(l.left) > 0 {
		messages = append(l.left, messages...)
		l.left = nil
	}
	l.mu.Unlock()
	if answered(messages) {
		l.leave()
	}
	return messages
}

// Cancel ends the call.
func (l *lasting) Cancel(reason string) {
	l.Call.Cancel(reason)
	l.leave()
}

// Detach says that nobody reads the messages any more.
func (l *lasting) Detach() {
	l.Call.Detach()
	l.leave()
}

func (l *lasting) leave() {
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	delete(l.of.open, l)
}
