// Package http1 serves what most requests of clients are: HTTP/1.1 in plain text, one
// request after the other on a connection that is kept (RFC 9112). net/http does so for
// all that HTTP may be, at two thirds of what a small call costs here. Whatever comes in
// any other form, be it rare or wrong, is passed on to net/http's server together with its
// connection before anybody has looked at it, TLS among that: this package only knows
// requests that can be understood in one way.
//
// A connection that is unused for a while is parked: it costs a file and a few hundred
// bytes then, and no goroutine, stack or buffer.
//
// Runs in: proxy.
package http1

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"mcpgateway/proxy/arrivals"
)

// Server serves what it can of a listener's connections. To the server of the others it
// is a listener, too.
type Server struct {
	net.Listener
	handler     http.Handler
	connContext func(net.Conn) context.Context
	log         *slog.Logger
	waits       Waits
	parked      lot

	accepted chan accepted
	over     chan struct{} // closed when no more are passed on
	stopping atomic.Bool
	ended    chan struct{} // closed when there are no connections any more, and none will come

	mu    sync.Mutex
	conns map[*conn]struct{}
	fresh int // of them, which have sent no request yet
}

type accepted struct {
	conn net.Conn
	err  error
}

// Config is what a server does. All of it must be given.
type Config struct {
	// Handler serves requests. It must not use a request's body or its answer once it has
	// returned. http.ResponseController can set the deadlines of both, and flush.
	Handler http.Handler
	// Context is that of all requests of a connection. Theirs ends when the client goes, but
	// not with the request: what is begun under it must not wait for its end.
	Context func(net.Conn) context.Context
	Log     *slog.Logger
	Waits   Waits
}

// Waits are how long the server waits for a client.
type Waits struct {
	Headers time.Duration // for a request's, and for the first one
	Park    time.Duration // for another, until its connection is parked
	Idle    time.Duration // for another, until its connection is closed
}

// UnreadWait is how long a server that closes waits for the first request of who has
// connected already.
const UnreadWait = time.Second

// New returns a server that serves at once. Close must be called, and somebody must
// accept what it passes on.
func New(l net.Listener, config Config) (*Server, error) {
	s := &Server{
		Listener: l, handler: config.Handler, connContext: config.Context, log: config.Log, waits: config.Waits,
		accepted: make(chan accepted), over: make(chan struct{}), ended: make(chan struct{}), conns: map[*conn]struct{}{},
	}
	if err := s.parked.open(s); err != nil {
		return nil, err
	}
	go s.accept() // ends with the listener, which may wait for room after that
	return s, nil
}

func (s *Server) accept() {
	for {
		conn, err := s.Listener.Accept()
		switch {
		case err != nil && s.closing():
			return
		case err != nil:
			s.give(nil, err)
		case !s.serve(conn):
			s.give(conn, nil)
		}
	}
}

// serve reports false if it is not for connections of this kind.
func (s *Server) serve(accepted net.Conn) bool {
	socket, ok := arrivals.Socket(accepted)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	c := &conn{
		Conn: accepted, server: s, socket: socket, raw: raw, ctx: s.connContext(accepted), remote: accepted.RemoteAddr().String(), fresh: true,
		response: response{header: http.Header{}},
	}
	c.filling, c.writing, c.writingNow = c.tryFill, c.tryWrite, func(fd uintptr) { c.tryWrite(fd) }
	c.bodily.reading, c.bodily.readingNow = c.bodily.try, func(fd uintptr) { c.bodily.try(fd) }
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.fresh++
	s.mu.Unlock()
	go c.serve()
	return true
}

// Accept returns a connection for another server. It ends when the server is closed and
// has heard all those that were connected then.
func (s *Server) Accept() (net.Conn, error) {
	select {
	case a := <-s.accepted:
		return a.conn, a.err
	case <-s.over:
		return nil, net.ErrClosed
	}
}

func (s *Server) give(conn net.Conn, err error) {
	select {
	case s.accepted <- accepted{conn, err}:
	case <-s.over:
		if conn != nil {
			conn.Close()
		}
	}
}

func (s *Server) closing() bool { return s.stopping.Load() }

// Close closes the listener and the connections that are unused. Who has connected and
// has not sent a request yet has a second for it; what is under way goes on.
func (s *Server) Close() error {
	if !s.stopping.CompareAndSwap(false, true) {
		return net.ErrClosed
	}
	err := errors.Join(s.Listener.Close(), s.parked.close())
	for _, c := range s.all() {
		c.interrupt()
	}
	time.AfterFunc(UnreadWait, s.passNoMore)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tellLocked()
	return err
}

func (s *Server) all() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	return all
}

func (s *Server) passNoMore() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passNoMoreLocked()
}

func (s *Server) passNoMoreLocked() {
	select {
	case <-s.over:
	default:
		close(s.over)
	}
}

// tellLocked tells who waits for the end of connections.
func (s *Server) tellLocked() {
	if !s.closing() {
		return
	}
	if s.fresh == 0 {
		s.passNoMoreLocked()
	}
	if len(s.conns) == 0 {
		select {
		case <-s.ended:
		default:
			close(s.ended)
		}
	}
}

// met notes the first request of a connection.
func (s *Server) met() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fresh--
	s.tellLocked()
}

// left notes that a connection is not the server's any more.
func (s *Server) left(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.tellLocked()
}

// Shutdown waits after Close until what is under way is answered. What is not when ctx
// ends is closed.
func (s *Server) Shutdown(ctx context.Context) {
	select {
	case <-s.ended:
		return
	case <-ctx.Done():
	}
	for _, c := range s.all() {
		_ = c.Close() // its goroutine does the rest
	}
	<-s.ended
}
