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
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds are those of all connections, of the strangers of one address, who have
// shown no valid key yet, and of one caller, who may have a quarter of all.
type Bounds struct {
	slots        chan struct{}
	maxStrangers int

	mu        sync.Mutex
	strangers map[netip.Prefix]int
	callers   map[string]int
}

// New returns bounds for listeners that have them in common.
func New(most, strangers int) *Bounds {
	return &Bounds{slots: make(chan struct{}, most), maxStrangers: strangers, strangers: map[netip.Prefix]int{}, callers: map[string]int{}}
}

// Limit makes a listener take part in the bounds.
func (b *Bounds) Limit(l net.Listener) net.Listener { return &limited{l, b} }

type limited struct {
	net.Listener
	bounds *Bounds
}

// Accept waits for a free place, and closes what a stranger has too many of.
func (l *limited) Accept() (net.Conn, error) {
	l.bounds.slots <- struct{}{}
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			<-l.bounds.slots
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
	socket, ok := conn.(syscall.Conn)
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

	// Guarded by bounds.mu:
	caller string // "": a stranger
	closed bool
}

// know makes a stranger one who is known, and reports false if that one has too many
// connections.
func (c *counted) know(caller string) bool {
	b := c.bounds
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.caller != "" || c.closed {
		return true
	}
	if b.callers[caller] >= cap(b.slots)/4 {
		return false
	}
	b.callers[caller]++
	c.caller = caller
	b.forgetLocked(c.from)
	return true
}

func (b *Bounds) forgetLocked(from netip.Prefix) {
	if b.strangers[from]--; b.strangers[from] == 0 {
		delete(b.strangers, from)
	}
}

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
	<-b.slots
	if c.caller == "" {
		b.forgetLocked(c.from)
		return
	}
	if b.callers[c.caller]--; b.callers[c.caller] == 0 {
		delete(b.callers, c.caller)
	}
}

// Known says that a connection, or the one below its TLS, is that of a caller who has
// shown a valid key. It reports false, and nothing changes, if that caller has too
// many of them.
func Known(conn net.Conn, caller string) bool {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	c, ok := conn.(*counted)
	return !ok || c.know(caller)
}
