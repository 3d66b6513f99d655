package socket

import (
	"errors"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Listener gives connections that are read and written so, but for those that can't be.
func Listener(l net.Listener) net.Listener { return listener{l} }

type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	plain, ok := c.(syscall.Conn)
	if !ok {
		return c, nil
	}
	raw, err := plain.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	made := &conn{Conn: c, raw: raw}
	made.in.attempt = func(fd uintptr) bool { return made.in.goOn(Read(fd, made.in.p)) }
	made.out.attempt = func(fd uintptr) bool { return made.out.goOn(Write(fd, made.out.p[made.out.n:])) }
	return made, nil
}

type conn struct {
	net.Conn
	raw     syscall.RawConn
	in, out way
}

// way is one of a connection's two.
type way struct {
	attempt func(fd uintptr) (done bool) // made once: each would be an allocation

	mu  sync.Mutex
	p   []byte
	n   int // of it are done
	err error
}

func (w *way) goOn(n int, err error) (done bool) {
	w.n += n
	w.err = err
	return !errors.Is(err, unix.EAGAIN)
}

// pass reads or writes by what the connection waits with.
func (w *way) pass(wait func(func(fd uintptr) bool) error, p []byte) (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.p, w.n, w.err = p, 0, nil
	defer func() { w.p = nil }()
	if err := wait(w.attempt); err != nil {
		return w.n, err
	}
	return w.n, w.err
}

// Plain is the connection itself.
func (c *conn) Plain() net.Conn { return c.Conn }

// Read waits until something is there.
func (c *conn) Read(p []byte) (int, error) { return c.in.pass(c.raw.Read, p) }

// Write waits until all is written.
func (c *conn) Write(p []byte) (int, error) { return c.out.pass(c.raw.Write, p) }
