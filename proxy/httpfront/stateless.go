package httpfront

import (
	"net/http"
	"time"

	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/headers"
	"mcpgateway/proxy/mcp"
)

// listenPatience is how long a subscription may take to be refused with the status
// of its error, or to be acknowledged, before its stream begins.
const listenPatience = 50 * time.Millisecond

// stateless serves a message of the stateless era. Its headers were checked.
func (x *exchange) stateless(m mcp.Message) {
	if refused := x.parameters(m); refused != nil {
		x.out.refuse(*refused)
		return
	}
	reply, err := x.Gate.Do(x.r.Context(), gate.Request{Origin: x.origin, Caller: x.caller, Scope: x.scope, Stateless: true, Message: m})
	switch {
	case err != nil:
		x.out.refuse(*x.refusalOf(err, idOf(m)))
		return
	case reply.Call == nil:
		x.out.w.WriteHeader(http.StatusAccepted)
		return
	}
	how := manner{stateless: true, streamed: x.wishes.EventsFirst, patience: quietWait}
	if m.Method() == mcp.MethodListen {
		how.patience, how.lasting = listenPatience, true
	}
	// The end of the connection is the end of the call (2026-07-28, streamable HTTP,
	// "Cancellation").
	if x.write(&plain{Call: reply.Call}, how) != complete {
		reply.Call.Cancel("the client has disconnected")
	}
}

// parameters checks the headers that repeat the parameters of a tool, by the tool's
// definition. One that is remembered may be outdated: nothing is refused by it.
func (x *exchange) parameters(m mcp.Message) *refusal {
	if m.Method() != mcp.MethodToolsCall {
		return nil
	}
	name, _ := m.Text(m.Param("name"))
	var problem *headers.Problem
	ctx := gate.Because(x.r.Context(), x.origin, m)
	for _, fresh := range []bool{false, true} {
		tool, err := x.Gate.Tool(ctx, x.caller, x.scope, name, fresh)
		switch {
		case err != nil && headers.HaveParameters(x.r.Header):
			return x.refusalOf(err, idOf(m)) // what nobody can judge is not let through
		case err != nil:
			return nil // what ails the server, its answer to the call says better
		}
		if problem = headers.ParametersOf(tool).Check(x.r.Header, m); problem == nil {
			return nil
		}
	}
	return malformed(problem, idOf(m))
}
