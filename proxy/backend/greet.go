package backend

import (
	"context"
	"fmt"
	"time"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// Capabilities are what a client lets its server ask it, as a set.
type Capabilities uint8

// The members of Capabilities.
const (
	Roots Capabilities = 1 << iota
	Sampling
	SamplingTools   // sampling may carry tools
	Elicitation     // by a form
	ElicitationURLs // by sending the user to a page
)

// requests are the methods that a server may call.
func (s Capabilities) requests() (methods []string) {
	if s&Roots != 0 {
		methods = append(methods, mcp.MethodRoots)
	}
	if s&(Sampling|SamplingTools) != 0 {
		methods = append(methods, mcp.MethodSample)
	}
	if s&(Elicitation|ElicitationURLs) != 0 {
		methods = append(methods, mcp.MethodElicit)
	}
	return methods
}

// object is the set as the handshake era writes it (2025-11-25, lifecycle).
func (s Capabilities) object() string {
	text := ""
	add := func(member string) {
		if text != "" {
			text += ","
		}
		text += member
	}
	if s&Roots != 0 {
		add(`"roots":{}`)
	}
	switch {
	case s&SamplingTools != 0:
		add(`"sampling":{"tools":{}}`)
	case s&Sampling != 0:
		add(`"sampling":{}`)
	}
	switch s & (Elicitation | ElicitationURLs) {
	case Elicitation:
		add(`"elicitation":{"form":{}}`)
	case ElicitationURLs:
		add(`"elicitation":{"url":{}}`)
	case Elicitation | ElicitationURLs:
		add(`"elicitation":{"form":{},"url":{}}`)
	}
	return "{" + text + "}"
}

// RefusedError says that a server answered the gateway's first request with an
// error, or not in time, or ended: it may be of the other era.
type RefusedError struct {
	Cause error
	Late  bool // there was no answer at all
}

func (e *RefusedError) Error() string { return e.Cause.Error() }

// Unwrap returns the cause.
func (e *RefusedError) Unwrap() error { return e.Cause }

// Hello is the server's answer to the gateway's own first request. The instances of
// sessions have none.
func (c *Conn) Hello() mcp.Message { return c.hello }

// initialize opens the handshake era's session with the server in the gateway's
// own name.
func (c *Conn) initialize(ctx context.Context, offered Capabilities) error {
	params := fmt.Sprintf(`{"protocolVersion":%q,"capabilities":%s,"clientInfo":{"name":%s,"version":"1"}}`,
		mcp.Revision2025November, offered.object(), mcp.Quote(c.spec().Gateway))
	if err := c.greet(ctx, mcp.MethodInitialize, params); err != nil {
		return err
	}
	return c.Send(ctx, mcp.NewRequest(nil, mcp.MethodInitialized, nil))
}

// discover asks a server of the stateless era who it is. One that is of the other
// era may not answer at all, and gets wait.
func (c *Conn) discover(ctx context.Context, wait time.Duration) error {
	late := &RefusedError{Cause: fmt.Errorf("server %q did not answer server/discover within %s", c.spec().Server, wait), Late: true}
	ctx, cancel := context.WithTimeoutCause(ctx, wait, late)
	defer cancel()
	return c.greet(ctx, mcp.MethodDiscover, c.ownParams())
}

// ownParams are those of the gateway's own requests in the stateless era.
func (c *Conn) ownParams() string {
	return fmt.Sprintf(`{"_meta":{%q:%q,%q:{},%q:{"name":%s,"version":"1"}}}`,
		mcp.MetaRevision, mcp.Revision2026July, mcp.MetaCapabilities, mcp.MetaClientInfo, mcp.Quote(c.spec().Gateway))
}

// greet sends the first request and keeps its answer.
func (c *Conn) greet(ctx context.Context, method, params string) error {
	call, err := c.Ask(ctx, mcp.NewRequest([]byte("0"), method, []byte(params)), Wants{})
	if err != nil {
		return err
	}
	c.hello, err = link.Await(ctx, call)
	if err != nil {
		return err
	}
	if c.hello.Err() != nil {
		return &RefusedError{Cause: c.refused(call), Late: call.failure != nil && c.Err() == nil}
	}
	return nil
}

// refused explains an error answer to the first request; if the instance has
// ended, or the gateway itself gave up, that is the explanation.
func (c *Conn) refused(call *Call) error {
	switch {
	case c.Err() != nil:
		return &link.EndedError{Cause: c.Err()}
	case call.failure != nil:
		return call.failure
	}
	answer := c.hello
	text, _ := answer.Text(answer.InError("message"))
	code := string(answer.At(answer.InError("code")))
	return fmt.Errorf("server %q refused %s: code %s: %.*q", c.spec().Server, call.method, code, maxServerError, text)
}
