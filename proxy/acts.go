package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/audit"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/report"
)

// subjectOfRoot is who the audit log says did what operators do: nobody else can.
const subjectOfRoot = "root"

// maxQuoted is the most bytes of a server's own error that an operator is told.
const maxQuoted = 1000

// act does something for an operator and has the audit log know of it. Without room
// there it is not done.
func (p asked) act(ctx context.Context, r *audit.Record, do func(context.Context) (status string, err error)) error {
	var rules *policy.Policy
	if now := p.current.Load(); now != nil {
		rules = now.Policy
	}
	if rules == nil {
		return errors.New("there is no configuration yet")
	}
	server, known := rules.Servers[r.Server]
	if !known {
		return fmt.Errorf("server %q is not there any more", r.Server)
	}
	slot, err := p.audit.Reserve(ctx)
	if err != nil {
		return err
	}
	r.Time, r.Event, r.Subject, r.Project, r.Decision = time.Now(), audit.EventOperator, subjectOfRoot, server.Project, audit.Allow
	r.Status, err = do(ctx)
	if err != nil {
		r.Reason = err.Error()
	}
	r.Duration = time.Since(r.Time)
	slot.Write(r)
	p.log.Info("operator", "did", r.MCPMethod, "server", r.Server, "status", r.Status, "err", err)
	return err
}

// instance takes note of the instance that a request goes to.
type instance struct{ name atomic.Pointer[string] }

// ServedBy takes note.
func (i *instance) ServedBy(name string) { i.name.Store(&name) }

// Call calls a tool, past all that is decided about callers. It is nobody's call: nobody's
// limits know of it, and it is counted nowhere.
func (p asked) Call(ctx context.Context, server string, call report.Call) (result json.RawMessage, err error) {
	request, err := toolCall(call)
	if err != nil {
		return nil, err
	}
	r := &audit.Record{Server: server, MCPMethod: mcp.MethodToolsCall, Name: call.Tool, BytesIn: int64(len(request.Raw())), Arguments: request.At(request.Param("arguments"))}
	err = p.act(ctx, r, func(ctx context.Context) (string, error) {
		var by instance
		answer, err := p.ask(link.WithWatcher(ctx, &by), server, request)
		if name := by.name.Load(); name != nil {
			r.Instance = *name
		}
		if err != nil {
			return "failed", fmt.Errorf("call tool %.100q of server %q: %w", call.Tool, server, err)
		}
		result = answer.Result()
		r.BytesOut = int64(len(result))
		if string(answer.At(answer.InResult("isError"))) == "true" {
			return "tool-error", nil
		}
		return "ok", nil
	})
	return result, err
}

func toolCall(call report.Call) (mcp.Message, error) {
	params := append([]byte(`{"_meta":`), mcp.OwnMeta()...)
	params = append(append(params, `,"name":`...), mcp.Quote(call.Tool)...)
	if len(call.Arguments) > 0 {
		arguments, err := mcp.ParseObject(call.Arguments)
		if err != nil {
			return mcp.Message{}, fmt.Errorf("read the arguments: %w", err)
		}
		params = append(append(params, `,"arguments":`...), arguments...)
	}
	return mcp.NewRequest([]byte("1"), mcp.MethodToolsCall, append(params, '}')), nil
}

// ask has a server answer a request, with a result that is the end of it.
func (p asked) ask(ctx context.Context, server string, request mcp.Message) (answer mcp.Message, err error) {
	to, known := p.current.Load().Gate.Operator(server)
	if !known {
		return answer, errors.New("it is not there any more")
	}
	call, err := to.Do(ctx, request)
	if err != nil {
		return answer, err
	}
	if answer, err = link.Await(ctx, call); err != nil {
		return answer, err
	}
	if answer.Err() != nil {
		text, _ := answer.Text(answer.InError("message"))
		return answer, fmt.Errorf("error %.10s: %s", answer.At(answer.InError("code")), text[:min(len(text), maxQuoted)])
	}
	if kind, _ := answer.Text(answer.InResult("resultType")); kind == "input_required" {
		return answer, errors.New("it asks its client for input, which an operator can't give")
	}
	if !mcp.IsObject(answer.Result()) {
		return answer, errors.New("it answered without a result")
	}
	return answer, nil
}
