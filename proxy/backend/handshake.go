package backend

import (
	"context"
	"fmt"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// Hello is the server's answer to the gateway's own initialize. Only instances
// of Pool.ForCaller have one.
func (c *Conn) Hello() mcp.Message { return c.hello }

// initialize opens the handshake era's session with the server in the gateway's
// own name and without any client capability.
func (c *Conn) initialize(ctx context.Context) error {
	params := fmt.Sprintf(`{"protocolVersion":%q,"capabilities":{},"clientInfo":{"name":%s,"version":"1"}}`,
		mcp.Revision2025November, mcp.Quote(c.spec.Gateway))
	call, err := c.call(ctx, mcp.NewRequest([]byte("0"), mcp.MethodInitialize, []byte(params)))
	if err != nil {
		return err
	}
	c.hello, err = link.Await(ctx, call)
	if err != nil {
		return err
	}
	if c.hello.Err() != nil {
		return c.refused(call)
	}
	return c.Send(ctx, mcp.NewRequest(nil, mcp.MethodInitialized, nil))
}

// refused explains an error answer to initialize; if the instance has ended, or
// the gateway itself gave up, that is the explanation.
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
	err := fmt.Errorf("server %q refused to initialize: code %s: %.*q", c.spec.Server, code, maxServerError, text)
	if code == "-32022" || code == "-32601" {
		err = fmt.Errorf("%w; servers that speak only revision %s are not supported yet", err, mcp.Revision2026July)
	}
	return err
}
