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
}

// lasting is a call that its session ends if nobody else does.
type lasting struct {
	link.Call
	of *passages
}

func (p *passages) add(call link.Call) link.Call {
	l := &lasting{call, p}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open == nil {
		p.open = map[*lasting]struct{}{}
	}
	p.open[l] = struct{}{}
	return l
}

// end reads what is left when the session is over: each call has its response then.
func (p *passages) end() {
	p.mu.Lock()
	left := p.open
	p.open = nil
	p.mu.Unlock()
	for l := range left {
		l.Call.Take()
		l.Call.Detach()
	}
}

func (l *lasting) Take() []mcp.Message {
	messages := l.Call.Take()
	if n := len(messages); n > 0 && messages[n-1].Kind() == mcp.Response {
		l.leave()
	}
	return messages
}

func (l *lasting) Cancel(reason string) {
	l.Call.Cancel(reason)
	l.leave()
}

func (l *lasting) Detach() {
	l.Call.Detach()
	l.leave()
}

func (l *lasting) leave() {
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	delete(l.of.open, l)
}
