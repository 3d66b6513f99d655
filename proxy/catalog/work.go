package catalog

import (
	"context"
	"errors"
	"fmt"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// work is a call that the catalogue itself answers.
type work struct {
	*link.Queue
	cancel context.CancelCauseFunc
}

// begin starts the work of a request. do returns the response, soon after its
// context has ended; it may send notifications before.
func begin(ctx context.Context, id []byte, do func(ctx context.Context, to *link.Queue) mcp.Message) link.Call {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	w := &work{link.NewQueue(), cancel}
	go func() {
		defer cancel(nil)
		response := do(ctx, w.Queue)
		if ctx.Err() != nil {
			response = mcp.NewError(id, mcp.CodeInternal, fmt.Sprintf("the request was cancelled: %v", context.Cause(ctx)), nil)
		}
		w.Force(response)
	}()
	return w
}

// Cancel ends the call with a response that says so.
func (w *work) Cancel(reason string) { w.cancel(errors.New(reason)) }

// Detach ends the call, too: it does nothing but to bring messages to its caller.
func (w *work) Detach() { w.Cancel("nobody reads it") }
