package gate

import (
	"sync"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// ending is a call that tells once that it is over for whoever has it: it is answered,
// or cancelled, or nobody reads it any more.
type ending struct {
	link.Call
	over func()
}

func newEnding(call link.Call, over func()) *ending { return &ending{call, sync.OnceFunc(over)} }

// Take returns what has come.
func (e *ending) Take() []mcp.Message {
	messages := e.Call.Take()
	if answered(messages) {
		e.over()
	}
	return messages
}

// Cancel ends the call.
func (e *ending) Cancel(reason string) {
	e.Call.Cancel(reason)
	e.over()
}

// Detach says that nobody reads the messages any more.
func (e *ending) Detach() {
	e.Call.Detach()
	e.over()
}

// answered reports whether messages end with a response.
func answered(messages []mcp.Message) bool {
	return len(messages) > 0 && messages[len(messages)-1].Kind() == mcp.Response
}
