package breaker

import (
	"errors"
	"strconv"
	"sync/atomic"

	"mcpgateway/policy"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// Pass is a request on its way to a place. One of its methods must be called.
type Pass struct {
	set  *Set
	at   Place
	by   *policy.Breaker // nil: there is no breaker
	of   *breaker        // nil: there was none, for nothing had failed
	done func(error)
	over atomic.Bool
}

// Drop says that the request says nothing of the place: it was cancelled, or refused
// by the gateway.
func (p *Pass) Drop() { p.end(errUncounted, "") }

// Fail says that the place failed, by a sentence that any caller may read.
func (p *Pass) Fail(cause string) { p.end(errFailed, cause) }

func (p *Pass) end(outcome error, cause string) {
	if p.by == nil || p.over.Swap(true) {
		return
	}
	if p.of == nil && !errors.Is(outcome, errUncounted) {
		p.of, p.done = p.set.join(p.at, p.by, outcome != nil)
	}
	if p.of == nil {
		return
	}
	p.of.mu.Lock()
	if cause != "" {
		p.of.cause = cause
	}
	p.done(outcome)
	p.of.mu.Unlock()
	p.set.leave(p.at, p.of)
}

// Answered judges a response of an instance. ended is whether the end of that very
// instance was counted: however many requests end with it, it is one failure.
func (p *Pass) Answered(response mcp.Message, ended *atomic.Bool) {
	if p.by == nil {
		return
	}
	text, _ := response.Text(response.InError("message"))
	text = text[:min(len(text), maxCause)] // a server can say that it is the gateway
	switch failure := response.Failure(); {
	case failure == mcp.FailureEnded && ended.Swap(true):
		p.Drop()
	case failure == mcp.FailureEnded, failure == mcp.FailureLate:
		p.Fail(text)
	case failure == "" && p.internal(response): // its text is for who asked, and for nobody else
		p.Fail("it answered with an internal error")
	case failure == mcp.FailureCancelled:
		p.Drop()
	default:
		p.end(nil, "")
	}
}

const maxCause = 500 // bytes

// internal reports whether a response is an error of the server itself, and those are
// failures.
func (p *Pass) internal(response mcp.Message) bool {
	return p.by.InternalErrors && response.Err() != nil &&
		string(response.At(response.InError("code"))) == strconv.Itoa(mcp.CodeInternal)
}

// Watch returns a call whose end ends the pass.
func (p *Pass) Watch(call link.Call, ended *atomic.Bool) link.Call {
	if p.by == nil {
		return call
	}
	return &watched{call, p, ended}
}

type watched struct {
	link.Call
	pass  *Pass
	ended *atomic.Bool
}

func (w *watched) Take() []mcp.Message {
	messages := w.Call.Take()
	if n := len(messages); n > 0 && messages[n-1].Kind() == mcp.Response {
		w.pass.Answered(messages[n-1], w.ended)
	}
	return messages
}

func (w *watched) Cancel(reason string) {
	w.pass.Drop()
	w.Call.Cancel(reason)
}

func (w *watched) Detach() {
	w.pass.Drop()
	w.Call.Detach()
}
