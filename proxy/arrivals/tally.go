package arrivals

import (
	"net"
	"sync"
	"sync/atomic"
)

// Count makes a listener count the connections that are open.
func Count(l net.Listener, open *atomic.Int64) net.Listener { return &counting{l, open} }

type counting struct {
	net.Listener
	open *atomic.Int64
}

// Accept waits for a connection.
func (l *counting) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.open.Add(1)
	return &tallied{Conn: conn, open: l.open}, nil
}

type tallied struct {
	net.Conn
	open *atomic.Int64
	once sync.Once
}

// Close ends the connection.
func (c *tallied) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}

// Plain is the connection itself.
func (c *tallied) Plain() net.Conn { return c.Conn }
