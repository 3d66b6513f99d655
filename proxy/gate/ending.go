package gate

import (
	"sync"

	"mcpgateway/policy/ratelimit"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// ending is a call that does something once when it is over for whoever has it: it is
// answered, or cancelled, or nobody reads it any more.
type ending struct {
	link.Call
	place ratelimit.Pass // that it leaves
	over  chan struct{}  // that it closes; nil for none
	once  sync.Once
}

func (e *ending) end() {
	e.once.Do(func() {
		e.place.Leave()
		if e.over != nil {
			close(e.over)
		}
	})
}

// Take returns what has come.
func (e *ending) Take() []mcp.Message {
	messages := e.Call.Take()
	if answered(messages) {
		e.end()
	}
	return messages
}

// Cancel ends the call.
func (e *ending) Cancel(reason string) {
	e.Call.Cancel(reason)
	e.end()
}

// Detach says that nobody reads the messages any more.
func (e *ending) Detach() {
	e.Call.Detach()
	e.end()
}

// answered reports whether messages end with a response.
func answered(messages []mcp.Message) bool {
	return len(messages) > 0 && messages[len(messages)-1].Kind() == mcp.Response
}
