package fleet

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/hub"
)

// probeWait is how long a server may take to answer its first request before it is
// held to be of the handshake era. Some start slowly: if they then refuse
// initialize as well, they are asked once more, with their whole time.
const probeWait = 5 * time.Second

// era is how the gateway speaks to a server's processes, but for those of
// handshake-era sessions.
type era int

const (
	unknown era = iota
	handshake
	stateless
)

// eras remembers what each program speaks.
type eras struct {
	mu    sync.Mutex
	known map[string]*eraOf
}

type eraOf struct {
	probing sync.Mutex // held by the one who finds out
	mu      sync.Mutex
	era     era
	refuses bool // initialize, so that sessions need a translation
}

func (e *eras) of(program string) *eraOf {
	e.mu.Lock()
	defer e.mu.Unlock()
	known := e.known[program]
	if known == nil {
		known = &eraOf{}
		e.known[program] = known
	}
	return known
}

// keep forgets all programs but these. Another daemon has other names for them.
func (e *eras) keep(specs map[string]*Spec) {
	named := map[string]bool{}
	for _, s := range specs {
		named[s.program()] = true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	maps.DeleteFunc(e.known, func(program string, _ *eraOf) bool { return !named[program] })
}

func (e *eraOf) get() era {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.era
}

func (e *eraOf) set(era era) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.era = era
}

func (e *eraOf) refusesInitialize() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.refuses
}

func (e *eraOf) setRefuses(refuses bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.refuses = refuses
}

// start starts an instance and follows it to its end.
func (f *Fleet) start(ctx context.Context, spec *Spec, offered backend.Capabilities) (*instance, error) {
	began := time.Now()
	started, err := f.startInEra(ctx, spec, offered)
	if err != nil {
		f.tellStart(spec, began, nil, err)
		return nil, err
	}
	f.tellStart(spec, began, started.conn, nil)
	f.follow(started, spec)
	return started, nil
}

// startInEra starts an instance in the era of its program. One that nobody knows is
// asked by server/discover; whatever else it says, or if it says nothing, it is
// started again in the handshake era, since a process speaks one era only
// (2026-07-28, basic/transports/stdio).
func (f *Fleet) startInEra(ctx context.Context, spec *Spec, offered backend.Capabilities) (*instance, error) {
	known := f.eras.of(spec.program())
	if known.get() == unknown {
		known.probing.Lock()
		defer known.probing.Unlock()
	}
	found, err := f.startAs(ctx, spec, known.get(), offered)
	var refused *backend.RefusedError
	if errors.As(err, &refused) && known.get() != unknown {
		known.set(unknown) // the program has changed
		return f.startAs(ctx, spec, unknown, offered)
	}
	return found, err
}

func (f *Fleet) startAs(ctx context.Context, spec *Spec, as era, offered backend.Capabilities) (*instance, error) {
	switch as {
	case stateless:
		return f.startStateless(ctx, spec, spec.Timeout)
	case handshake:
		return f.startHandshake(ctx, spec, offered)
	}
	probed, err := f.startStateless(ctx, spec, min(probeWait, spec.Timeout))
	var refused *backend.RefusedError
	if !errors.As(err, &refused) {
		return probed, err
	}
	late := refused.Late
	other, otherErr := f.startHandshake(ctx, spec, offered)
	if errors.As(otherErr, &refused) && late {
		if probed, err = f.startStateless(ctx, spec, spec.Timeout); err == nil {
			return probed, nil
		}
	}
	return other, otherErr
}

func (f *Fleet) startStateless(ctx context.Context, spec *Spec, wait time.Duration) (*instance, error) {
	conn, err := f.pool.StartStateless(ctx, spec.Spec, wait)
	if err != nil {
		return nil, err
	}
	f.eras.of(spec.program()).set(stateless)
	return &instance{conn: conn, server: hub.New(conn)}, nil
}

func (f *Fleet) startHandshake(ctx context.Context, spec *Spec, offered backend.Capabilities) (*instance, error) {
	conn, err := f.pool.StartInitialized(ctx, spec.Spec, offered)
	if err != nil {
		return nil, err
	}
	known := f.eras.of(spec.program())
	known.set(handshake)
	known.setRefuses(false)
	return handshakes(conn), nil
}
