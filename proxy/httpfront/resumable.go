package httpfront

import (
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/resume"
)

// resumable is the flow of a call whose client may ask for the rest of it. There is a
// stream of it only once there is something to resume: most calls are answered by one
// message, and nothing is remembered of them.
type resumable struct {
	*exchange
	session  string // its id
	call     link.Call
	streamed bool // a result that comes first is an event, too

	reader   *resume.Reader  // nil before there is a stream
	answered bool            // before there was one
	one      [1]resume.Event // room for that answer
}

// stream begins the stream with what was taken from the call.
func (f *resumable) stream(taken []mcp.Message) *resume.Reader {
	if f.reader == nil {
		f.reader = f.sessions.of(f.Gate, f.caller, f.scope, f.session).Call(f.call, taken...)
	}
	return f.reader
}

// Start makes it the beginning of a stream.
func (f *resumable) Start() string { return f.stream(nil).Start() }

func (f *resumable) Ready() <-chan struct{} {
	if f.reader != nil {
		return f.reader.Ready()
	}
	return f.call.Ready()
}

func (f *resumable) Woken() <-chan struct{} {
	if f.reader != nil {
		return f.reader.Woken()
	}
	return nil
}

func (*resumable) Over() <-chan struct{} { return nil }

func (f *resumable) Take() (events []resume.Event, more bool) {
	if f.reader != nil {
		return f.reader.Take()
	}
	taken := f.call.Take()
	switch {
	case len(taken) == 0:
		return nil, true
	case taken[0].Kind() == mcp.Response && (!f.streamed || taken[0].Err() != nil):
		f.answered = true
		f.one[0].Message = taken[0]
		return f.one[:], false
	}
	return f.stream(taken).Take()
}

// close lets go of the call, of which something was sent or not.
func (f *resumable) close(sent bool) {
	switch {
	case f.reader != nil && sent:
		f.reader.Close()
	case f.reader != nil:
		f.reader.Forget()
	case !f.answered:
		f.call.Detach()
	}
}
