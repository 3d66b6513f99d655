package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
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
	p.log.Info("operator", "did", r.MCPMethod, "server", r.Server, "status", r.Status, "reason", r.Reason)
	return err
}

// Start lifts what keeps a server from being started, and has an instance of it that
// works.
func (p asked) Start(ctx context.Context, server string) (done report.Done, err error) {
	err = p.act(ctx, &audit.Record{Server: server, MCPMethod: "start"}, func(ctx context.Context) (string, error) {
		p.fleet.Start(server)
		p.memory.stops.lift(server)
		if !p.runs(server) {
			if err := p.current.Load().Gate.Warm(ctx, server); err != nil {
				return "failed", err
			}
		}
		return "ok", nil
	})
	done.State, done.Sandboxes = p.stateOf(server)
	return done, err
}

// Stop has calls of a server be refused until Start, or until the gateway is started anew.
func (p asked) Stop(ctx context.Context, server string) (done report.Done, err error) {
	err = p.act(ctx, &audit.Record{Server: server, MCPMethod: "stop"}, func(context.Context) (string, error) {
		_, ending := p.stateOf(server)
		p.memory.stops.note(server)
		p.fleet.Stop(server)
		done.Ending = len(ending)
		return "ok", nil
	})
	done.State, _ = p.stateOf(server)
	done.Sandboxes = []string{}
	return done, err
}

// Restart replaces the instances of a server. One that is stopped is started.
func (p asked) Restart(ctx context.Context, server string) (done report.Done, err error) {
	if p.fleet.Stopped(server) || !p.runs(server) {
		return p.Start(ctx, server)
	}
	done.Sandboxes = []string{}
	err = p.act(ctx, &audit.Record{Server: server, MCPMethod: "restart"}, func(ctx context.Context) (status string, err error) {
		var started []string
		p.fleet.Clear(server)
		if done.Ending, started, err = p.current.Load().Gate.Replace(ctx, server); err != nil {
			return "failed", err
		}
		done.Sandboxes = append(done.Sandboxes, started...)
		return "ok", nil
	})
	done.State, _ = p.stateOf(server)
	return done, err
}

// runs reports whether a server has an instance that takes calls.
func (p asked) runs(server string) bool {
	_, sandboxes := p.stateOf(server)
	return len(sandboxes) > 0
}

// stateOf is the state of a server, and its instances that take calls.
func (p asked) stateOf(server string) (state report.State, sandboxes []string) {
	detail, _ := p.Server(server)
	sandboxes = []string{}
	for _, s := range detail.Sandboxes {
		if !s.Draining {
			sandboxes = append(sandboxes, s.Sandbox)
		}
	}
	return detail.State, sandboxes
}

// stops are when operators stopped servers.
type stops struct {
	mu sync.Mutex
	at map[string]time.Time
}

func (s *stops) note(server string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == nil {
		s.at = map[string]time.Time{}
	}
	if _, already := s.at[server]; !already {
		s.at[server] = time.Now()
	}
}

func (s *stops) lift(server string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.at, server)
}

func (s *stops) since(server string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at[server]
}

// instance takes note of the instance that a request goes to.
type instance struct{ name atomic.Pointer[string] }

// ServedBy takes note.
func (i *instance) ServedBy(name string, _ time.Time) { i.name.Store(&name) }

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
