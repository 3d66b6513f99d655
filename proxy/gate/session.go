package gate

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"

	"mcpgateway/policy"
	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/mcp"
)

// Sessions are the sessions of the handshake era. Each has an instance of its
// own and belongs to the caller who opened it. They outlive policy generations.
type Sessions struct {
	mu      sync.Mutex
	opening map[string]int // by subject
	byID    map[string]session
}

type session struct {
	subject, server string
	conn            *backend.Conn
}

// NewSessions returns an empty table.
func NewSessions() *Sessions { return &Sessions{byID: map[string]session{}, opening: map[string]int{}} }

// reserve makes room for one session more and forgets those that have ended.
func (s *Sessions) reserve(caller string, limits policy.Limits) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, own := 0, s.opening[caller]
	for _, n := range s.opening {
		all += n
	}
	for id, held := range s.byID {
		if held.conn.Err() != nil {
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

// settle ends a reservation; with a connection, it becomes a session.
func (s *Sessions) settle(r Request, conn *backend.Conn) (id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opening[r.Caller.Subject]--; s.opening[r.Caller.Subject] == 0 {
		delete(s.opening, r.Caller.Subject)
	}
	if conn == nil {
		return ""
	}
	id = rand.Text() // at least 128 random bits, and only visible ASCII
	s.byID[id] = session{r.Caller.Subject, r.Server, conn}
	return id
}

// conn finds a session of this caller with this server. Another's session looks
// as if it were not there.
func (s *Sessions) conn(id string, caller policy.Identity, server string) (*backend.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held, ok := s.byID[id]
	if !ok || held.subject != caller.Subject || held.server != server {
		return nil, &SessionError{}
	}
	if cause := held.conn.Err(); cause != nil {
		return nil, &SessionError{cause}
	}
	return held.conn, nil
}

func (s *Sessions) remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, id)
}

// open starts an instance, passes the client's initialize to it, and makes a
// session of it if the server agrees.
func (g *Gate) open(ctx context.Context, r Request) (Reply, error) {
	if err := g.sessions.reserve(r.Caller.Subject, g.policy.Limits); err != nil {
		return Reply{}, err
	}
	conn, response, err := g.initialize(ctx, r)
	id := g.sessions.settle(r, conn)
	return Reply{Session: id, Response: response}, err
}

// initialize returns no connection if the server refused.
func (g *Gate) initialize(ctx context.Context, r Request) (*backend.Conn, mcp.Message, error) {
	conn, err := g.pool.Start(ctx, g.spec(r.Server))
	if err != nil {
		return nil, mcp.Message{}, err
	}
	call, err := conn.Call(ctx, r.Message)
	if err != nil {
		conn.Close()
		return nil, mcp.Message{}, err
	}
	response, err := call.Response(ctx)
	if err != nil || response.Err() != nil {
		conn.Close()
		return nil, response, err
	}
	return conn, response, nil
}

// inSession passes on what comes in a session.
func inSession(ctx context.Context, conn *backend.Conn, m mcp.Message) (Reply, error) {
	if m.Kind() != mcp.Request {
		return Reply{}, ended(conn.Send(ctx, m))
	}
	call, err := conn.Call(ctx, m)
	if err != nil {
		return Reply{}, ended(err)
	}
	return Reply{Stream: &Stream{Call: call}}, nil
}

// ended turns the end of an instance into the end of its session.
func ended(err error) error {
	var end *backend.EndedError
	if errors.As(err, &end) {
		return &SessionError{end.Cause}
	}
	return err
}

// Listener receives what a server sends unasked in a session.
type Listener struct {
	*backend.Queue
	Done <-chan struct{} // closed when the session is over
	Stop func()          // must be called
}

// Listen makes the caller the one listener of a session. Errors are those of Do
// and ErrListening.
func (g *Gate) Listen(caller policy.Identity, server, id string) (*Listener, error) {
	if err := g.policy.Authorize(caller, server); err != nil {
		return nil, err
	}
	conn, err := g.sessions.conn(id, caller, server)
	if err != nil {
		return nil, err
	}
	inbox, stop, ok := conn.Listen()
	if !ok {
		return nil, ErrListening
	}
	return &Listener{inbox, conn.Done(), stop}, nil
}

// End ends a session and its sandbox. Errors are those of Do.
func (g *Gate) End(caller policy.Identity, server, id string) error {
	if err := g.policy.Authorize(caller, server); err != nil {
		return err
	}
	conn, err := g.sessions.conn(id, caller, server)
	if err != nil {
		return err
	}
	g.sessions.remove(id)
	conn.Close()
	return nil
}
