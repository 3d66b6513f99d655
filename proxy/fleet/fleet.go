// Package fleet decides which instance of a server serves whom: one of the caller's
// session, one of the caller, or one of several that all share; in the era that the
// server speaks. It starts instances when they are needed, keeps some ready, and
// lets none be used by anybody else than it belongs to.
//
// Runs in: proxy.
package fleet

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"mcpgateway/policy"
	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/breaker"
	"mcpgateway/proxy/bridge"
	"mcpgateway/proxy/health"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
	"mcpgateway/runtime/control"
)

// Spec is what the fleet must know of a server. It is not changed once the fleet has it.
type Spec struct {
	backend.Spec
	Program   string // the same for servers of which one speaks the eras of the other
	Instances policy.Instances
	Replicas  int // of a shared server, > 0
	Strategy  policy.Strategy
	Warm      int
	Breaker   *policy.Breaker // nil: none
	Restart   policy.Restart  // zero: at once, always
	OnCrash   policy.OnCrash  // of the sessions that have an instance of their own; "": restart
	// MaxPerCaller is how many instances that are not shared one caller may have, of
	// all servers together, and how many sessions that have one for themselves; 0: no
	// limit.
	MaxPerCaller int
}

// program is what the era of the server is remembered by.
func (s *Spec) program() string { return cmp.Or(s.Program, s.Server) }

// Owner is on whose behalf an instance is used.
type Owner struct {
	Subject string // the caller
	Session string // unique among all sessions, and no secret; "" in the stateless era
}

// String is unique among all owners.
func (o Owner) String() string { return o.Subject + "\x00" + o.Session }

// Fleet is all instances of all servers. Its methods may be called concurrently.
type Fleet struct {
	pool *backend.Pool
	log  *slog.Logger
	eras eras

	breakers  *breaker.Set
	restarts  *breaker.Restarts
	observers []func(Event)
	health    *health.Checker

	specs   atomic.Pointer[map[string]*Spec] // what the last Reconcile said; nil before the first
	lineups sync.Map                         // of shared servers by name

	mu     sync.Mutex
	closed bool
	waits  map[string]int // callers who wait for an instance, by server
	slots  map[key]*slot
	alones map[string]int           // sessions that have instances of their own, by caller
	turns  map[string]*atomic.Int64 // by server: of the strategy round-robin
	spares map[string]*spares
	before map[*slot]key // instances that drain, in whose place there are others

	running sync.WaitGroup
	ctx     context.Context //nolint:containedctx // of the fleet's whole life: starts are nobody's in particular
	cancel  context.CancelFunc
}

// New returns an empty fleet.
func New(opener backend.Opener, network backend.Network, log *slog.Logger) *Fleet {
	ctx, cancel := context.WithCancel(context.Background())
	f := &Fleet{
		pool: backend.NewPool(opener, network, log), log: log,
		eras:     eras{known: map[string]*eraOf{}},
		breakers: breaker.New(log), restarts: breaker.NewRestarts(log), waits: map[string]int{},
		slots: map[key]*slot{}, alones: map[string]int{}, turns: map[string]*atomic.Int64{}, spares: map[string]*spares{}, before: map[*slot]key{},
		ctx: ctx, cancel: cancel,
	}
	f.pool.Ended, f.pool.Untouched = f.ended, f.untouched
	f.health = health.New(patients{f}, log)
	return f
}

// Exited brings a notice of the daemon to its instance.
func (f *Fleet) Exited(exit control.Exit) { f.pool.Exited(exit) }

// Log is where the fleet writes what its servers do.
func (f *Fleet) Log() *slog.Logger { return f.log }

// Close ends every instance and returns when they are gone. Calls in flight are
// answered with an error.
func (f *Fleet) Close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.cancel()
	f.pool.Close()
	f.running.Wait()
}

// Server returns a server for one owner: its requests go to an instance that the
// owner may use, which is started if there is none.
func (f *Fleet) Server(spec *Spec, owner Owner) link.Server {
	return &route{f, spec, owner, owner.String()}
}

type route struct {
	fleet *Fleet
	spec  *Spec
	owner Owner
	named string // its String
}

// maxTries is how often an instance that takes no more calls is given up for another.
const maxTries = 3

// Do passes a request on.
func (r *route) Do(ctx context.Context, request mcp.Message) (link.Call, error) {
	for try := 1; ; try++ {
		instance, err := r.instance(ctx, request)
		if err != nil {
			return nil, err
		}
		call, err := r.through(ctx, instance, request)
		if _, ended := errors.AsType[*link.EndedError](err); try == maxTries || !ended { // else between being found and being called: there is a new one now
			return call, err
		}
	}
}

// instance finds whom a request is for.
func (r *route) instance(ctx context.Context, request mcp.Message) (*instance, error) {
	if !request.Param("requestState").Empty() {
		if waiting := r.fleet.waiting(r.spec.Server, r.owner, request); waiting != nil {
			return waiting, nil
		}
	}
	return r.fleet.acquire(ctx, r.spec, r.owner, offered(request))
}

// server is a link.Server that keeps owners apart.
type server interface {
	Do(ctx context.Context, owner string, request mcp.Message) (link.Call, error)
}

// instance is one process and how it is spoken to.
type instance struct {
	conn    *backend.Conn
	server  server        // nil if it was not spoken to yet
	place   breaker.Place // that it fills; set under Fleet.mu when it is given to somebody
	counted atomic.Bool   // and by the restarts
}

// handshakes is an instance of the handshake era, which the gateway initialised.
func handshakes(conn *backend.Conn) *instance {
	return &instance{conn: conn, server: bridge.NewStateless(conn)}
}

// offered is what a client of the stateless era lets its server ask.
func offered(request mcp.Message) (set backend.Capabilities) {
	capabilities := request.At(request.Param("_meta", mcp.MetaCapabilities))
	if len(capabilities) <= len("{}") {
		return 0
	}
	has := func(path ...string) bool {
		found := mcp.Find(capabilities, path...)
		return !found.Empty() && capabilities[found.Start] == '{'
	}
	if has("roots") {
		set |= backend.Roots
	}
	if has("sampling") {
		set |= backend.Sampling
	}
	if has("sampling", "tools") {
		set |= backend.SamplingTools
	}
	if has("elicitation", "url") {
		set |= backend.ElicitationURLs
	}
	// An empty object means forms, as before there was anything else.
	if has("elicitation", "form") || (has("elicitation") && !has("elicitation", "url")) {
		set |= backend.Elicitation
	}
	return set
}
