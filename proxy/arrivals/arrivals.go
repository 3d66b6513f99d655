// Package arrivals bounds how many clients are connected at a time, so that neither
// those who have shown no key nor one who has can take everybody's place. It reads nothing of what
// they send.
//
// Runs in: proxy.
package arrivals

import (
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds are those of all connections, of those of one caller, and of the strangers of
// one address, who have shown no valid key yet.
type Bounds struct {
	room         func() (all, each int)
	maxStrangers int

	mu        sync.Mutex
	left      sync.Cond // somebody has
	open      int
	strangers map[netip.Prefix]int
	callers   map[string]int
}

// New returns bounds for listeners that have them in common. room says how many
// connections there may be in all and of each caller, whenever one more comes.
func New(room func() (all, each int), strangers int) *Bounds {
	b := &Bounds{room: room, maxStrangers: strangers, strangers: map[netip.Prefix]int{}, callers: map[string]int{}}
	b.left.L = &b.mu
	return b
}

// Fixed is room that is always the same; one caller may have all of it.
func Fixed(all int) func() (int, int) { return func() (int, int) { return all, all } }

// Limit makes a listener take part in the bounds.
func (b *Bounds) Limit(l net.Listener) net.Listener { return &limited{l, b} }

type limited struct {
	net.Listener
	bounds *Bounds
}

// Accept waits for a free place, and closes what a stranger has too many of.
func (l *limited) Accept() (net.Conn, error) {
	l.bounds.take()
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			l.bounds.giveBack()
			return nil, err
		}
		from := source(conn.RemoteAddr())
		if l.bounds.enter(from) {
			hurry(conn)
			return &counted{Conn: conn, bounds: l.bounds, from: from}, nil
		}
		conn.Close()
	}
}

// silence is how long a client may leave what was sent to it without an
// acknowledgement.
const silence = time.Minute

// hurry makes the kernel end a connection whose other end is gone without a word:
// by itself it tries for a quarter of an hour, and a stream that nobody reads
// would take a session's messages meanwhile. What can't be set is no harm.
func hurry(conn net.Conn) {
	socket, ok := Socket(conn)
	if !ok {
		return
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silence.Milliseconds()))
	})
}

// Socket finds what carries a connection in plain text, which the proxy's listeners have
// wrapped. TLS has none that anybody else may touch.
func Socket(conn net.Conn) (*net.TCPConn, bool) {
	for {
		switch known := conn.(type) {
		case *net.TCPConn:
			return known, true
		case interface{ Plain() net.Conn }:
			conn = known.Plain()
		default:
			return nil, false
		}
	}
}

// source is who an address is counted as: of IPv6, everybody has a /64.
func source(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	address := tcp.AddrPort().Addr().Unmap().WithZone("")
	prefix, _ := address.Prefix(min(address.BitLen(), 64))
	return prefix
}

// take waits for a free place.
func (b *Bounds) take() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		if all, _ := b.room(); b.open < all {
			break
		}
		b.left.Wait()
	}
	b.open++
}

func (b *Bounds) giveBack() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.giveBackLocked()
}

func (b *Bounds) giveBackLocked() {
	b.open--
	b.left.Broadcast()
}

func (b *Bounds) enter(from netip.Prefix) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.strangers[from] >= b.maxStrangers {
		return false
	}
	b.strangers[from]++
	return true
}

// counted is a connection that has a place.
type counted struct {
	net.Conn
	bounds *Bounds
	from   netip.Prefix
	caller atomic.Pointer[string] // nil: a stranger; set once, with bounds.mu held

	closed bool // guarded by bounds.mu
}

// know makes a stranger one who is known, and reports false if that one has too many
// connections.
func (c *counted) know(caller string) bool {
	if c.caller.Load() != nil { // as for each request but a connection's first
		return true
	}
	b := c.bounds
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.caller.Load() != nil || c.closed {
		return true
	}
	if _, each := b.room(); b.callers[caller] >= each {
		return false
	}
	b.callers[caller]++
	known := caller // so that the parameter is not moved to the heap for each request
	c.caller.Store(&known)
	b.forgetLocked(c.from)
	return true
}

func (b *Bounds) forgetLocked(from netip.Prefix) {
	if b.strangers[from]--; b.strangers[from] == 0 {
		delete(b.strangers, from)
	}
}

// Plain is the connection itself.
func (c *counted) Plain() net.Conn { return c.Conn }

func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// leave gives the place back, once.
func (c *counted) leave() {
	b := c.bounds
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	b.giveBackLocked()
	caller := c.caller.Load()
	if caller == nil {
		b.forgetLocked(c.from)
		return
	}
	if b.callers[*caller]--; b.callers[*caller] == 0 {
		delete(b.callers, *caller)
	}
}

// Known says that a connection, or the one below it, is that of a caller who has
// shown a valid key. It reports false, and nothing changes, if that caller has too
// many of them.
func Known(conn net.Conn, caller string) bool {
	for {
		switch known := conn.(type) {
		case *counted:
			return known.know(caller)
		case *tls.Conn:
			conn = known.NetConn()
		case interface{ Plain() net.Conn }:
			conn = known.Plain()
		default:
			return true
		}
	}
}
