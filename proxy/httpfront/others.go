package httpfront

import (
	"mcpgateway/policy"
	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/restfront"
	"mcpgateway/proxy/wsfront"
)

// overREST serves what programs without MCP ask.
func (x *exchange) overREST() {
	restfront.Serve(x.out.w, x.r, restfront.Request{
		Origin: x.origin, Caller: x.caller, Policy: x.Policy, Gate: x.Gate, Challenge: x.challenge,
		Allowed: func(scope policy.Scope) bool {
			x.scope = scope
			return x.stillAllowed()
		},
		Body: func() ([]byte, *restfront.Problem) {
			body, refused := x.body()
			if refused != nil {
				return nil, refused.problem()
			}
			return body, nil
		},
	})
}

// streamOrigin is the origin of what a connection carries: each message has an id of
// its own.
func (x *exchange) streamOrigin() gate.Origin {
	return gate.Origin{Transport: x.origin.Transport, Source: x.origin.Source, Trace: x.origin.Trace}
}

// overWebSocket serves a connection of WebSocket to its end.
func (x *exchange) overWebSocket() {
	x.ws.Serve(x.out.w, x.r, wsfront.Admitted{
		Origin: x.streamOrigin(), Caller: x.caller, Scope: x.scope, Gate: func() *gate.Gate { return x.current().Gate }, Allowed: x.stillAllowed,
		MaxMessage: x.Policy.Limits.MaxBodyBytes, MaxOpen: x.Policy.Limits.MaxSessionsPerCaller, Closing: x.closing,
	})
}
