package httpio

import (
	"net"
	"os"
	"sync"
	"time"
)

// Deferred makes the connections of a listener put off what is mostly for nothing.
// Deadlines are kept until there is something to wait for: net/http and its handlers set
// a dozen for each request, and nearly all are replaced before anybody reads or writes.
// A read of a single byte, by which net/http watches for the end of a client while its
// request is served, begins after watchAfter, when most are answered.
func Deferred(l net.Listener) net.Listener { return deferring{l} }

// watchAfter is how much later the end of a client may be seen.
const watchAfter = 20 * time.Millisecond

type deferring struct{ net.Listener }

func (l deferring) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &deferred{Conn: conn, watchAfter: watchAfter}, nil
}

type deferred struct {
	net.Conn
	watchAfter    time.Duration
	reads, writes deadline
}

// Plain is the connection itself.
func (c *deferred) Plain() net.Conn { return c.Conn }

// deadline is one of a connection's two.
type deadline struct {
	mu     sync.Mutex
	wanted time.Time
	set    time.Time // as the socket has it
	users  int       // that may wait by it now

	resting bool          // somebody is in rest
	changed chan struct{} // holds a token for who rests; nil until somebody does
	timer   *time.Timer   // of who rests
}

// rest waits until the deadline is changed, but not for long, and reports whether it is
// over then. It does not wait if there is a deadline.
func (d *deadline) rest(long time.Duration) (over bool) {
	d.mu.Lock()
	if d.resting || !d.wanted.IsZero() {
		d.mu.Unlock()
		return false
	}
	if d.resting = true; d.timer == nil {
		d.changed, d.timer = make(chan struct{}, 1), time.NewTimer(long)
	} else {
		d.timer.Reset(long)
	}
	d.mu.Unlock()
	select {
	case <-d.changed:
	case <-d.timer.C:
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.resting = false
	d.timer.Stop()
	return !d.wanted.IsZero() && !d.wanted.After(time.Now())
}

// want changes the deadline, also for those that wait already.
func (d *deadline) want(t time.Time, set func(time.Time) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = t
	if d.resting {
		select {
		case d.changed <- struct{}{}:
		default:
		}
	}
	return d.setLocked(set)
}

// use makes the deadline hold until leave.
func (d *deadline) use(set func(time.Time) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.users++
	return d.setLocked(set)
}

func (d *deadline) leave() {
	d.mu.Lock()
	d.users--
	d.mu.Unlock()
}

func (d *deadline) setLocked(set func(time.Time) error) error {
	if d.users == 0 || d.set.Equal(d.wanted) {
		return nil
	}
	d.set = d.wanted
	return set(d.wanted)
}

// Read reads by the deadline that was set last.
func (c *deferred) Read(p []byte) (int, error) {
	if len(p) == 1 && c.reads.rest(c.watchAfter) {
		return 0, os.ErrDeadlineExceeded
	}
	defer c.reads.leave()
	if err := c.reads.use(c.Conn.SetReadDeadline); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write writes by the deadline that was set last.
func (c *deferred) Write(p []byte) (int, error) {
	defer c.writes.leave()
	if err := c.writes.use(c.Conn.SetWriteDeadline); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// SetReadDeadline sets it for reads that go on, and for those to come.
func (c *deferred) SetReadDeadline(t time.Time) error {
	return c.reads.want(t, c.Conn.SetReadDeadline)
}

// SetWriteDeadline sets it for writes that go on, and for those to come.
func (c *deferred) SetWriteDeadline(t time.Time) error {
	return c.writes.want(t, c.Conn.SetWriteDeadline)
}

// SetDeadline sets both.
func (c *deferred) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}
