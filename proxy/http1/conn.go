package http1

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"
)

// conn is a client's connection. One goroutine serves it, or none while it is parked.
type conn struct {
	net.Conn // as it was accepted
	server   *Server
	socket   *net.TCPConn // below it
	raw      syscall.RawConn
	ctx      context.Context // of all requests
	remote   string
	watcher  watcher

	in         *[bufferSize]byte // nil while there is nothing in it
	start, end int               // of what is there
	body       body
	bodyBy     time.Time // until when it may be read
	response   response

	// What reads and writes, made once: they are passed on for each call.
	filling, writing func(fd uintptr) (done bool)
	writingNow       func(fd uintptr)
	unsent           []byte
	done             bool  // nothing of it is left
	err              error // of the last attempt
	bodily           bodily

	mu      sync.Mutex
	fresh   bool      // it has not sent a request yet
	waiting bool      // for the first byte of one
	readBy  time.Time // as the socket has it
}

// bufferSize is that of what is read and written at once. A head that is larger is
// net/http's.
const bufferSize = 8 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// endOfHead is behind the last header.
const endOfHead = "\r\n\r\n"

// serve serves requests until the connection ends, is parked, or is another server's.
func (c *conn) serve() {
	ctx, cancel := context.WithCancel(c.ctx) // one for all requests: it ends when their client goes, and no later than this
	defer cancel()
	c.watcher.cancel = cancel
	var last former
	for {
		n, err := c.next()
		switch {
		case errors.Is(err, errUnused) && c.server.park(c):
			return
		case err != nil:
			c.close()
			return
		}
		var r *http.Request
		if n > 0 {
			r = last.read(ctx, c.in[c.start:c.start+n-len("\r\n")])
		}
		if r == nil {
			c.pass()
			return
		}
		c.start += n
		c.met()
		if !c.answer(r) {
			c.close()
			return
		}
		runtime.Gosched() // while others run, the next request may come
	}
}

var (
	errUnused  = errors.New("nothing has come")
	errClosing = errors.New("the server is closing")
)

// next waits for a request and returns how long its head is: 0 if it is not to be found
// in what may be read of it here.
func (c *conn) next() (head int, err error) {
	begun := false
	for searched := 0; ; {
		unread := c.unread()
		if i := bytes.Index(unread[searched:], []byte(endOfHead)); i >= 0 {
			return searched + i + len(endOfHead), nil
		}
		searched = max(0, len(unread)-len(endOfHead)+1)
		switch {
		case len(unread) == 0:
			err = c.rest()
		case len(unread) == bufferSize:
			return 0, nil
		case !begun: // all of a head has one deadline
			begun = true
			err = c.expire(time.Now().Add(c.server.waits.Headers))
		}
		if err == nil {
			err = c.fill()
		}
		switch {
		case errors.Is(err, io.EOF) && len(unread) >= len(endOfHead):
			return 0, nil // net/http says what is wrong with that, if it is not just an end of line
		case err != nil:
			return 0, err
		}
	}
}

func (c *conn) unread() []byte {
	if c.in == nil {
		return nil
	}
	return c.in[c.start:c.end]
}

// rest sets the deadline for the first byte of a request. The connection waits for it
// until it is not unused any more.
func (c *conn) rest() error {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = true
	switch {
	case c.fresh && c.server.closing():
		return c.expireLocked(now.Add(UnreadWait))
	case c.fresh:
		return c.expireLocked(now.Add(c.server.waits.Headers))
	case c.server.closing():
		return errClosing
	}
	if left := c.readBy.Sub(now); left > c.server.waits.Park/2 && left <= c.server.waits.Park {
		return nil // near enough, and cheaper
	}
	return c.expireLocked(now.Add(c.server.waits.Park))
}

// unrest ends the wait, and reports whether it was one that may be parked.
func (c *conn) unrest() (unused bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	unused = c.waiting && !c.fresh
	c.waiting = false
	return unused
}

// interrupt ends the wait for a request when the server closes: at once if there was one
// already.
func (c *conn) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.waiting && c.fresh:
		_ = c.expireLocked(time.Now().Add(UnreadWait)) // or else it has its own
	case c.waiting:
		_ = c.expireLocked(past)
	}
}

var past = time.Unix(1, 0)

// answer serves a request whose head was read, and reports whether there may be another.
func (c *conn) answer(r *http.Request) (more bool) {
	r.RemoteAddr, r.Body = c.remote, http.NoBody
	c.body, c.bodyBy = body{conn: c, left: r.ContentLength}, time.Time{}
	if r.ContentLength > 0 {
		r.Body = &c.body
	}
	c.empty()
	w := &c.response
	clear(w.header)
	*w = response{conn: c, header: w.header}
	defer w.release()
	if r.ContentLength == 0 {
		c.watch()
	}
	ok := c.handle(w, r)
	c.unwatch()
	if !ok {
		return false
	}
	w.finish()
	if w.err != nil {
		return false
	}
	if w.last {
		c.linger()
		return false
	}
	c.empty()
	return true
}

// handle has the handler answer. A panic ends the connection.
func (c *conn) handle(w *response, r *http.Request) (ok bool) {
	defer func() {
		problem := recover()
		if problem != nil && problem != http.ErrAbortHandler { //nolint:errorlint // as it is documented
			c.server.log.Error("request panicked", "err", problem, "stack", string(debug.Stack()))
		}
		ok = problem == nil
	}()
	c.server.handler.ServeHTTP(w, r)
	return true
}

// linger ends an answered connection such that its client can read the answer, whatever it
// is sending still: closed at once, the connection would be reset.
func (c *conn) linger() {
	if c.body.left == 0 {
		return
	}
	if c.socket.CloseWrite() != nil {
		return
	}
	c.bodyBy = time.Now().Add(lingerWait)
	_, _ = io.CopyN(io.Discard, &c.body, lingerSize)
}

const (
	lingerWait = 500 * time.Millisecond
	lingerSize = 1 << 20
)

// met notes that a request has come.
func (c *conn) met() {
	if c.fresh {
		c.mu.Lock()
		c.fresh = false
		c.mu.Unlock()
		c.server.met()
	}
}

// pass gives the connection to the other server, with what was read of it.
func (c *conn) pass() {
	err := c.expire(time.Time{})
	if err = errors.Join(err, c.socket.SetWriteDeadline(time.Time{})); err != nil {
		c.close()
		return
	}
	unread := bytes.Clone(c.unread())
	c.start = c.end
	c.empty()
	c.server.give(&passed{Conn: c.Conn, unread: unread}, nil)
	c.leave()
}

// leave takes the connection from those of the server.
func (c *conn) leave() {
	c.met()
	c.server.left(c)
}

func (c *conn) close() {
	_ = c.Close() // nobody is left to be told
	c.start = c.end
	c.empty()
	c.leave()
}

// passed is a connection of which something was read.
type passed struct {
	net.Conn
	unread []byte
}

// Plain is the connection itself.
func (p *passed) Plain() net.Conn { return p.Conn }

func (p *passed) Read(b []byte) (int, error) {
	if len(p.unread) > 0 {
		n := copy(b, p.unread)
		p.unread = p.unread[n:]
		return n, nil
	}
	p.unread = nil
	return p.Conn.Read(b)
}
