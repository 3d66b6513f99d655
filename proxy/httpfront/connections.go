package httpfront

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
)

// connections bounds how many there are: of all, and of the strangers of one
// address, who have shown no valid key yet and must not take everybody's place.
type connections struct {
	slots        chan struct{}
	maxStrangers int

	mu        sync.Mutex
	strangers map[netip.Prefix]int
}

func newConnections(most, strangers int) *connections {
	return &connections{slots: make(chan struct{}, most), maxStrangers: strangers, strangers: map[netip.Prefix]int{}}
}

// limit makes a listener take part in the bounds.
func (c *connections) limit(l net.Listener) net.Listener { return &limited{l, c} }

type limited struct {
	net.Listener
	connections *connections
}

// Accept waits for a free place, and closes what a stranger has too many of.
func (l *limited) Accept() (net.Conn, error) {
	l.connections.slots <- struct{}{}
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			<-l.connections.slots
			return nil, err
		}
		from := source(conn.RemoteAddr())
		if l.connections.enter(from) {
			return &counted{Conn: conn, connections: l.connections, from: from}, nil
		}
		conn.Close()
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

func (c *connections) enter(from netip.Prefix) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.strangers[from] >= c.maxStrangers {
		return false
	}
	c.strangers[from]++
	return true
}

func (c *connections) leave(from netip.Prefix) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.strangers[from]--; c.strangers[from] == 0 {
		delete(c.strangers, from)
	}
}

// counted is a connection that has a place.
type counted struct {
	net.Conn
	connections *connections
	from        netip.Prefix
	known       sync.Once
	closed      sync.Once
}

// know makes a stranger one who is known.
func (c *counted) know() { c.known.Do(func() { c.connections.leave(c.from) }) }

func (c *counted) Close() error {
	defer c.closed.Do(func() {
		c.know()
		<-c.connections.slots
	})
	return c.Conn.Close()
}

type connectionKey struct{}

// withConnection lets requests find the connection that they came by.
func withConnection(ctx context.Context, conn net.Conn) context.Context {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	return context.WithValue(ctx, connectionKey{}, conn)
}

// known says that a request's connection is that of somebody who is known.
func known(ctx context.Context) {
	if c, ok := ctx.Value(connectionKey{}).(*counted); ok {
		c.know()
	}
}
