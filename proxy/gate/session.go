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
	places  int            // that are taken, by sessions and by those being opened
	callers map[string]int // the same, by subject
	byID    map[string]session
	over    []string // those of byID that have no place any more and can but say why, oldest first
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
		byID: map[string]session{}, callers: map[string]int{},
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

// reserve takes a place for a session, which has it until its caller ends it, or
// nothing of it is left.
func (s *Sessions) reserve(caller string, limits policy.Limits) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.places >= limits.MaxSessions || s.callers[caller] >= limits.MaxSessionsPerCaller {
		return ErrSessionLimit
	}
	s.places++
	s.callers[caller]++
	return nil
}

// settle makes an entry of a session that has a place, or gives the place back.
func (s *Sessions) settle(v *visitor, opened session, response mcp.Message) (id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if opened.Session == nil {
		s.leaveLocked(v.caller.Subject)
		return ""
	}
	id = rand.Text() // at least 128 random bits, and only visible ASCII
	opened.subject, opened.scope = v.caller.Subject, v.scope
	opened.revision, _ = response.Text(response.InResult("protocolVersion"))
	s.byID[id] = opened
	s.running.Add(1)
	opened.AfterDone(func() {
		defer s.running.Done()
		opened.open.end()
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, kept := s.byID[id]; kept { // its caller has not ended it
			s.leaveLocked(opened.subject)
			if s.over = append(s.over, id); len(s.over) > mostOver {
				delete(s.byID, s.over[0])
				s.over = s.over[1:]
			}
		}
	})
	return id
}

// mostOver is how many sessions that are over are remembered, so that who comes for
// one learns why.
const mostOver = 256

func (s *Sessions) leaveLocked(caller string) {
	s.places--
	if s.callers[caller]--; s.callers[caller] == 0 {
		delete(s.callers, caller)
	}
}

// find finds a session of this caller with this scope. Another's session looks
// as if it were not there.
func (s *Sessions) find(id, subject string, scope policy.Scope) (session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held, ok := s.byID[id]
	if !ok || held.subject != subject || held.scope != scope {
		return session{}, &SessionError{}
	}
	if cause := held.Err(); cause != nil {
		return session{}, &SessionError{cause}
	}
	return held, nil
}

// end ends a session of this caller with this scope, whether or not the caller may
// use it still.
func (s *Sessions) end(id, subject string, scope policy.Scope) error {
	session, err := s.find(id, subject, scope)
	if err != nil {
		return err
	}
	s.mu.Lock()
	if _, kept := s.byID[id]; kept { // nobody else has done so meanwhile
		delete(s.byID, id)
		s.leaveLocked(session.subject)
	}
	s.mu.Unlock()
	session.Close()
	return nil
}

// open starts an instance, passes the client's initialize to it, and makes a
// session of it if the server agrees.
func (g *Gate) open(by *passenger, v *visitor, m mcp.Message) (Reply, error) {
	if err := g.sessions.reserve(v.caller.Subject, g.policy.Limits); err != nil {
		g.note(by, &Request{Origin: by.Origin, Caller: v.caller, Scope: v.scope, Message: m}, err)
		return Reply{}, err
	}
	var opened session
	call, err := v.guard.pass(by, m, func(ctx context.Context, _ mcp.Message) (link.Call, error) {
		var response mcp.Message
		var err error
		opened, response, err = v.initialize(ctx, m)
		return link.Answered(response), err
	})
	if err != nil {
		g.sessions.settle(v, session{}, mcp.Message{})
		return Reply{}, err
	}
	response := call.Take()[0]
	return Reply{Session: g.sessions.settle(v, opened, response), Call: link.Answered(response)}, nil
}

// initialize returns no session if the server refused.
func (v *visitor) initialize(ctx context.Context, m mcp.Message) (session, mcp.Message, error) {
	s := session{caller: new(atomic.Pointer[policy.Identity]), open: new(passages)}
	s.caller.Store(v.caller)
	var response mcp.Message
	var err error
	if server := v.scope.Server; server != "" {
		g := v.guard.Gate
		s.Session, response, s.direct, err = g.fleet.Open(ctx, g.spec(server), v.caller.Subject, m)
	}
	if !s.direct && err == nil {
		s.Session, response, err = v.translated(ctx, m, s.caller)
	}
	return s, response, err
}

// translated opens a session over what does not speak the handshake era, or not to
// one client alone.
func (v *visitor) translated(ctx context.Context, m mcp.Message, caller *atomic.Pointer[policy.Identity]) (link.Session, mcp.Message, error) {
	g := v.guard.Gate
	over := &addressed{sessions: g.sessions, caller: caller, scope: v.scope, owner: fleet.Owner{Subject: v.caller.Subject, Session: rand.Text()}}
	idle := g.policy.Servers[v.scope.Server].IdleTimeout
	if v.scope.Server == "" {
		idle = mergedIdleTimeout
	}
	session := bridge.NewSession(over, bridge.Info{Gateway: g.policy.Gateway, IdleTimeout: idle, Log: g.fleet.Log()})
	session.AfterDone(func() { g.fleet.End(over.owner.Session) })
	response, err := call(ctx, session, m)
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
	last     atomic.Pointer[found]
}

// found is what a translated session was a client of last.
type found struct {
	by     *visitor
	server link.Server
}

// Do passes a request on, for the caller who brought it, or who came last if the
// session asks by itself: one subject can have tokens that are good for less.
func (a *addressed) Do(ctx context.Context, request mcp.Message) (link.Call, error) {
	caller := passengerOf(ctx).caller
	if caller == nil {
		caller = a.caller.Load()
	}
	g := a.sessions.latest.Load()
	v, err := g.visit(caller, a.scope)
	if err != nil {
		return nil, err
	}
	last := a.last.Load()
	if last == nil || last.by != v {
		last = &found{v, v.at(a.owner, func() string { return g.remembered(v.caller, a.owner) })}
		a.last.Store(last)
	}
	return last.server.Do(ctx, request)
}

// inSession passes on what comes in a session. What translates a session asks servers
// that have a guard before them; a process of its own gets its guard here.
func (v *visitor) inSession(ctx context.Context, s session, m mcp.Message) (Reply, error) {
	if m.Kind() != mcp.Request {
		return Reply{}, ended(s.Send(ctx, m))
	}
	if !s.direct {
		call, err := s.Call(ctx, m)
		return Reply{Revision: s.revision, Call: call, of: s.open}, ended(err)
	}
	guard := *v.guard
	guard.fetch = func(ctx context.Context) error { return guard.observe(ctx, send(s.Call)) }
	call, err := guard.pass(ctx, m, s.Call)
	if err != nil {
		return Reply{}, ended(err)
	}
	return Reply{Revision: s.revision, Call: call, of: s.open}, nil
}

// ended turns the end of an instance into the end of its session.
func ended(err error) error {
	if end, ok := errors.AsType[*link.EndedError](err); ok {
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
func (g *Gate) Listen(caller *policy.Identity, scope policy.Scope, id string) (*Listener, error) {
	if err := g.Authorize(caller, scope); err != nil {
		return nil, err
	}
	session, err := g.sessions.find(id, caller.Subject, scope)
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
func (g *Gate) End(caller *policy.Identity, scope policy.Scope, id string) error {
	if err := g.Authorize(caller, scope); err != nil {
		return err
	}
	return g.sessions.end(id, caller.Subject, scope)
}

// AfterSession has f called when nothing of a session is left. Errors are those of Do.
func (g *Gate) AfterSession(caller *policy.Identity, scope policy.Scope, id string, f func()) error {
	session, err := g.sessions.find(id, caller.Subject, scope)
	if err == nil {
		session.AfterDone(f)
	}
	return err
}

// Revision is the revision that a session was opened in. Errors are those of Do.
func (g *Gate) Revision(caller *policy.Identity, scope policy.Scope, id string) (string, error) {
	session, err := g.sessions.find(id, caller.Subject, scope)
	return session.revision, err
}
