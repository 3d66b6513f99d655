package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/breaker"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// Open starts an instance for one session of the handshake era of a caller and passes
// the client's initialize to it as it is. The session is nil if the server refused. ok
// is false if the server's instances are not for one session each, or if it does
// not speak this era: then the session needs a translation, over Server.
func (f *Fleet) Open(ctx context.Context, spec *Spec, subject string, initialize mcp.Message) (opened link.Session, answer mcp.Message, ok bool, err error) {
	if !f.alone(spec) {
		return nil, mcp.Message{}, false, nil
	}
	at := placeOfCaller(spec.Server, subject)
	if err := f.resting(at, spec); err != nil {
		return nil, mcp.Message{}, true, err
	}
	if err := f.enter(spec, subject); err != nil {
		return nil, mcp.Message{}, true, err
	}
	defer func() {
		if opened == nil {
			f.leave(subject)
		}
	}()
	end := f.begin(ctx, spec.Server, "session")
	conn, answer, ok, err := f.firstOf(ctx, at, spec, initialize)
	end(err)
	if err != nil && ctx.Err() == nil {
		f.failed(at, spec, err)
	}
	if answer.Failure() != "" { // a handshake that succeeds says nothing: a server that ends with every call does too
		f.failedAs(at, spec, answer)
	}
	if err != nil || conn == nil {
		return nil, answer, ok, err
	}
	return f.newSession(spec, at, conn, initialize, answer, func() { f.leave(subject) }), answer, true, nil
}

// enter takes the place of a session that has an instance for itself.
func (f *Fleet) enter(spec *Spec, subject string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if spec.MaxPerCaller > 0 && f.alones[subject] >= spec.MaxPerCaller {
		return fmt.Errorf("open a session with server %q: one caller may have %d that have an instance for themselves: %w", spec.Server, spec.MaxPerCaller, link.ErrBusy)
	}
	f.alones[subject]++
	return nil
}

func (f *Fleet) leave(subject string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.alones[subject]--; f.alones[subject] == 0 {
		delete(f.alones, subject)
	}
}

// failedAs counts a start that failed with the gateway's own answer to initialize.
func (f *Fleet) failedAs(at breaker.Place, spec *Spec, answer mcp.Message) {
	text, _ := answer.Text(answer.InError("message"))
	f.failed(at, spec, errors.New(text))
}

// firstOf starts the first instance of a session when its place may have one.
func (f *Fleet) firstOf(ctx context.Context, at breaker.Place, spec *Spec, initialize mcp.Message) (conn *backend.Conn, answer mcp.Message, ok bool, err error) {
	if err := f.pause(ctx, at, spec); err != nil {
		return nil, mcp.Message{}, true, err
	}
	began := time.Now()
	conn, answer, ok, err = f.direct(ctx, spec, initialize)
	if conn != nil || err != nil {
		f.tellStart(spec, began, conn, err)
	}
	return conn, answer, ok, err
}

// alone reports whether a session may have a process of its own.
func (f *Fleet) alone(spec *Spec) bool {
	return spec.Instances != policy.InstancesPerIdentity && spec.Instances != policy.InstancesShared && !f.eras.of(spec.program()).refusesInitialize()
}

// direct starts an instance and passes a client's initialize to it. conn is nil if the
// server refused, and ok false if it does not speak this era.
func (f *Fleet) direct(ctx context.Context, spec *Spec, initialize mcp.Message) (conn *backend.Conn, answer mcp.Message, ok bool, err error) {
	known := f.eras.of(spec.program())
	// The client's own era is tried first, and not server/discover: most servers
	// speak it, some speak both, and nothing is as true as no translation.
	for try := 1; ; try++ {
		step := f.begin(ctx, spec.Server, "session")
		conn, err := f.pool.Start(ctx, spec.Spec)
		step(err)
		if err != nil {
			return nil, mcp.Message{}, true, err
		}
		answer, err = open(ctx, conn, initialize)
		if err == nil && answer.Err() == nil {
			return conn, answer, true, nil
		}
		conn.Close()
		var changed *backend.ChangedError
		if (errors.As(err, &changed) || conn.Lost()) && try < maxTries {
			continue
		}
		if conn.Lost() {
			return nil, mcp.Message{}, true, conn.Err()
		}
		if err != nil || known.get() == handshake {
			return nil, answer, true, err
		}
		return nil, answer, f.speaksHandshake(ctx, spec), nil
	}
}

func open(ctx context.Context, conn *backend.Conn, initialize mcp.Message) (mcp.Message, error) {
	call, err := conn.Call(ctx, initialize)
	if err != nil {
		return mcp.Message{}, err
	}
	return link.Await(ctx, call)
}

// speaksHandshake finds out whether a server that refused a client's initialize
// refuses the gateway's own as well, but speaks the stateless era. Whatever else is
// wrong with it is no reason to translate.
func (f *Fleet) speaksHandshake(ctx context.Context, spec *Spec) bool {
	known := f.eras.of(spec.program())
	known.probing.Lock()
	defer known.probing.Unlock()
	if known.refusesInitialize() { // somebody else has found out meanwhile
		return false
	}
	found, err := f.startHandshake(ctx, spec, 0)
	if err == nil {
		found.conn.Discard()
		return true
	}
	if _, ok := errors.AsType[*backend.RefusedError](err); !ok {
		return true
	}
	began := time.Now()
	if found, err = f.startStateless(ctx, spec, spec.Timeout); err != nil {
		return true
	}
	f.tellStart(spec, began, found.conn, nil)
	f.follow(found, spec)
	f.keep(spec.Server, found)
	known.setRefuses(true)
	return false
}
