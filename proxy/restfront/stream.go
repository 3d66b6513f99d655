package restfront

import (
	"time"

	"mcpgateway/proxy/httpio"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// stream writes what a tool says while it works as events, and its result or
// problem as the last. A problem that comes first and soon is a plain answer.
func (x *exchange) stream(call link.Call) *Problem {
	quiet := time.NewTimer(x.waits.quiet)
	defer quiet.Stop()
	// By a clock of its own: a tool that keeps talking must not keep a key in force.
	beat := time.NewTicker(x.waits.quiet)
	defer beat.Stop()
	for {
		var err error
		select {
		case <-call.Ready():
			for _, m := range call.Take() {
				if m.Kind() == mcp.Response {
					return x.lastEvent(m)
				}
				if err = x.notice(m); err != nil {
					break
				}
			}
		case <-beat.C:
			if !x.Allowed(x.scope) {
				call.Cancel("the caller may no longer have it")
				return nil
			}
			continue
		case <-quiet.C:
			err = x.event(":\n\n")
		case <-x.r.Context().Done():
			err = x.r.Context().Err()
		}
		if err != nil {
			call.Cancel("the client has disconnected")
			return nil
		}
		quiet.Reset(x.waits.quiet)
	}
}

// notice writes a notification that relates to the call.
func (x *exchange) notice(m mcp.Message) error {
	switch m.Method() {
	case mcp.MethodProgress:
		return x.event("event: progress\ndata: ", m.Params(), []byte("\n\n"))
	case mcp.MethodLogged:
		return x.event("event: log\ndata: ", m.Params(), []byte("\n\n"))
	}
	return nil
}

// lastEvent ends a stream. A client that has gone is told nothing.
func (x *exchange) lastEvent(m mcp.Message) *Problem {
	problem := x.failure(m)
	switch {
	case problem == nil:
		_ = x.event("event: result\ndata: ", m.Result(), []byte("\n\n"))
	case x.w.Begun():
		_ = x.event("event: problem\ndata: ", problem.json(x.r), []byte("\n\n"))
	default:
		return problem
	}
	return nil
}

// event writes a part of the stream, which it begins if need be.
func (x *exchange) event(first string, more ...[]byte) error {
	if !x.w.Begun() {
		h := x.w.Header()
		h.Set("Content-Type", httpio.TypeEvents)
		h.Set("X-Accel-Buffering", "no") // or else nginx holds events back
	}
	for _, data := range append([][]byte{[]byte(first)}, more...) {
		if _, err := x.w.Write(data); err != nil {
			return err
		}
	}
	return x.w.Flush()
}
