package wsfront

import (
	"bufio"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// chunk is how much a client must take within the time for a write.
const chunk = 64 << 10

// paced gives up its connection as one that keeps the time.
type paced struct {
	http.ResponseWriter
	wait time.Duration
	conn *pacedConn // set by Hijack
}

// Hijack lets the caller take over the connection.
func (p *paced) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(p.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	p.conn = &pacedConn{Conn: conn, wait: p.wait}
	p.conn.hear()
	return p.conn, bufio.NewReadWriter(buffered.Reader, bufio.NewWriter(p.conn)), nil
}

// pacedConn ends a connection whose other end does not take what is written, and
// knows when it last heard of it.
type pacedConn struct {
	net.Conn
	wait  time.Duration
	heard atomic.Int64 // in nanoseconds since 1970
}

func (c *pacedConn) hear() { c.heard.Store(time.Now().UnixNano()) }

// silent is since when there was nothing to be heard.
func (c *pacedConn) silent() time.Duration { return time.Since(time.Unix(0, c.heard.Load())) }

func (c *pacedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.hear()
	}
	return n, err
}

func (c *pacedConn) Write(p []byte) (written int, err error) {
	for len(p) > 0 {
		if err := c.SetWriteDeadline(time.Now().Add(c.wait)); err != nil {
			return written, err
		}
		n, err := c.Conn.Write(p[:min(len(p), chunk)])
		written += n
		if err != nil {
			return written, err
		}
		p = p[n:]
	}
	return written, nil
}
