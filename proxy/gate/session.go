package gate

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/bridge"
	"mcpgateway/proxy/catalog"
	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/screen"
)

// Sessions are the sessions of the handshake era, each of which belongs to the
// caller who opened it, and what servers have listed to whom. They outlive policy
// generations.
type Sessions struct {
	lists        *catalog.Lists
	latest       atomic.Pointer[Gate]
	correlations *Correlations
	notes        *screen.Notes // of hidden text
	hints        hints
	limited      *flood // of callers that do too much
	crowd        crowd

	running sync.WaitGroup

	mu      sync.Mutex
	opening map[string]int // by subject
	byID    map[string]session
}

type session struct {
	link.Session
	subject  string
	scope    policy.Scope
	revision string
	direct   bool                             // with a process of its own, and nothing between
	caller   *atomic.Pointer[policy.Identity] // as it came last: tokens are renewed
	open     *passages
}

// NewSessions returns an empty table. What servers hide in what they list is told to
// log.
func NewSessions(log *slog.Logger) *Sessions {
	return &Sessions{
		lists: catalog.NewLists(), correlations: NewCorrelations(rand.Text()[:10]), notes: screen.NewNotes(log), hints: hints{byServer: map[string]map[string]bool{}}, limited: newFlood(10, 100),
		byID: map[string]session{}, opening: map[string]int{},
	}
}

// Close ends all sessions and returns when nothing of them is left. No others must
// be opened any more.
func (s *Sessions) Close() {
	s.mu.Lock()
	for _, held := range s.byID {
		held.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
}

// reserve makes room for one session more and forgets those that have ended.
func (s *Sessions) reserve(caller string, limits policy.Limits) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, own := 0, s.opening[caller]
	for _, n := range s.opening {
		all += n
	}
	for id, held := range s.byID {
		if held.Err() != nil {
			delete(s.byID, id)
			continue
		}
		all++
		if held.subject == caller {
			own++
		}
	}
	if all >= limits.MaxSessions || own >= limits.MaxSessionsPerCaller {
		return ErrSessionLimit
	}
	s.opening[caller]++
	return nil
}

// settle ends a reservation; with a session it becomes an entry.
func (s *Sessions) settle(r Request, opened session, response mcp.Message) (id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opening[r.Caller.Subject]--; s.opening[r.Caller.Subject] == 0 {
		delete(s.opening, r.Caller.Subject)
	}
	if opened.Session == nil {
		return ""
	}
	id = rand.Text() // at least 128 random bits, and only visible ASCII
	opened.subject, opened.scope = r.Caller.Subject, r.Scope
	opened.revision, _ = response.Text(response.InResult("protocolVersion"))
	s.byID[id] = opened
	s.running.Go(func() {
		<-opened.Done()
		opened.open.end()
	})
	return id
}

// find finds a session of this caller with this scope. Another's session looks
// as if it were not there.
func (s *Sessions) find(id string, caller policy.Identity, scope policy.Scope) (session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held, ok := s.byID[id]
	if !ok || held.subject != caller.Subject || held.scope != scope {
		return session{}, &SessionError{}
	}
	if cause := held.Err(); cause != nil {
		return session{}, &SessionError{cause}
	}
	return held, nil
}

// end ends a session of this caller with this scope, whether or not the caller may
// use it still.
func (s *Sessions) end(id string, caller policy.Identity, scope policy.Scope) error {
	session, err := s.find(id, caller, scope)
	if err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.byID, id)
	s.mu.Unlock()
	session.Close()
	return nil
}

// open starts an instance, passes the client's initialize to it, and makes a
// session of it if the server agrees.
func (g *Gate) open(ctx context.Context, r Request) (Reply, error) {
	if err := g.sessions.reserve(r.Caller.Subject, g.policy.Limits); err != nil {
		g.note(ctx, r, err)
		return Reply{}, err
	}
	var opened session
	call, err := g.guard(r.Caller, r.Scope).pass(ctx, r.Message, func(ctx context.Context, _ mcp.Message) (link.Call, error) {
		var response mcp.Message
		var err error
		opened, response, err = g.initialize(ctx, r)
		return link.Answered(response), err
	})
	if err != nil {
		g.sessions.settle(r, session{}, mcp.Message{})
		return Reply{}, err
	}
	response := call.Take()[0]
	return Reply{Session: g.sessions.settle(r, opened, response), Call: link.Answered(response)}, nil
}

// initialize returns no session if the server refused.
func (g *Gate) initialize(ctx context.Context, r Request) (session, mcp.Message, error) {
	s := session{caller: new(atomic.Pointer[policy.Identity]), open: new(passages)}
	s.caller.Store(&r.Caller)
	var response mcp.Message
	var err error
	if r.Scope.Server != "" {
		s.Session, response, s.direct, err = g.fleet.Open(ctx, g.spec(r.Scope.Server), r.Caller.Subject, r.Message)
	}
	if !s.direct && err == nil {
		s.Session, response, err = g.translated(ctx, r, s.caller)
	}
	return s, response, err
}

// translated opens a session over what does not speak the handshake era, or not to
// one client alone.
func (g *Gate) translated(ctx context.Context, r Request, caller *atomic.Pointer[policy.Identity]) (link.Session, mcp.Message, error) {
	over := &addressed{g.sessions, caller, r.Scope, fleet.Owner{Subject: r.Caller.Subject, Session: rand.Text()}}
	idle := g.policy.Servers[r.Scope.Server].IdleTimeout
	if r.Scope.Server == "" {
		idle = mergedIdleTimeout
	}
	session := bridge.NewSession(over, bridge.Info{Gateway: g.policy.Gateway, IdleTimeout: idle, Log: g.fleet.Log()})
	g.fleet.EndAfter(over.owner.Session, session.Done())
	response, err := call(ctx, session, r.Message)
	if err != nil || response.Err() != nil {
		session.Close()
		<-session.Done()
		return nil, response, err
	}
	return session, response, nil
}

// call passes on a request and waits for its answer.
func call(ctx context.Context, session link.Session, request mcp.Message) (mcp.Message, error) {
	call, err := session.Call(ctx, request)
	if err != nil {
		return mcp.Message{}, err
	}
	return link.Await(ctx, call)
}

// mergedIdleTimeout is how long a session with many servers may be unused: each of
// its instances has its own time.
const mergedIdleTimeout = time.Hour

// addressed is what a translated session is a client of. It is found anew for each
// request, by the policy of the time.
type addressed struct {
	sessions *Sessions
	caller   *atomic.Pointer[policy.Identity]
	scope    policy.Scope
	owner    fleet.Owner
}

// Do passes a request on, for the caller who brought it, or who came last if the
// session asks by itself: one subject can have tokens that are good for less.
func (a *addressed) Do(ctx context.Context, request mcp.Message) (link.Call, error) {
	caller := passengerOf(ctx).caller
	if caller.Subject == "" {
		caller = *a.caller.Load()
	}
	server, err := a.sessions.latest.Load().server(caller, a.scope, a.owner)
	if err != nil {
		return nil, err
	}
	return server.Do(ctx, request)
}

// inSession passes on what comes in a session. What translates a session asks servers
// that have a guard before them; a process of its own gets its guard here.
func (g *Gate) inSession(ctx context.Context, s session, r Request) (Reply, error) {
	if len(g.rules.Observers) > 0 {
		by := passengerOf(ctx)
		by.revision = s.revision
		ctx = withPassenger(ctx, by)
	}
	if r.Message.Kind() != mcp.Request {
		return Reply{}, ended(s.Send(ctx, r.Message))
	}
	if !s.direct {
		call, err := s.Call(ctx, r.Message)
		return Reply{Call: call, of: s.open}, ended(err)
	}
	guard := g.guard(r.Caller, r.Scope)
	guard.fetch = func(ctx context.Context) error { return guard.observe(ctx, send(s.Call)) }
	call, err := guard.pass(ctx, r.Message, s.Call)
	if err != nil {
		return Reply{}, ended(err)
	}
	return Reply{Call: call, of: s.open}, nil
}

// ended turns the end of an instance into the end of its session.
func ended(err error) error {
	var end *link.EndedError
	if errors.As(err, &end) {
		return &SessionError{end.Cause}
	}
	return err
}

// Listener receives what a server sends unasked in a session.
type Listener struct {
	*link.Queue
	Done <-chan struct{} // closed when the session is over
	Stop func()          // must be called
}

// Listen makes the caller the one listener of a session. Errors are those of Do
// and ErrListening.
func (g *Gate) Listen(caller policy.Identity, scope policy.Scope, id string) (*Listener, error) {
	if err := g.Authorize(caller, scope); err != nil {
		return nil, err
	}
	session, err := g.sessions.find(id, caller, scope)
	if err != nil {
		return nil, err
	}
	inbox, stop, ok := session.Listen()
	if !ok {
		return nil, ErrListening
	}
	return &Listener{inbox, session.Done(), stop}, nil
}

// End ends a session and its sandbox. Errors are those of Do.
func (g *Gate) End(caller policy.Identity, scope policy.Scope, id string) error {
	if err := g.Authorize(caller, scope); err != nil {
		return err
	}
	return g.sessions.end(id, caller, scope)
}

// Revision is the revision that a session was opened in. Errors are those of Do.
func (g *Gate) Revision(caller policy.Identity, scope policy.Scope, id string) (string, error) {
	session, err := g.sessions.find(id, caller, scope)
	return session.revision, err
}
