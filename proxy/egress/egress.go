// Package egress is the network of a sandbox that has an allow-list. Inside, every
// address leads to the sockets that this package serves: a name server that knows
// only allowed names, and gives each an address of its own, so that the address of
// a connection says which name was meant; and listeners, whose connections it
// carries to where that name leads outside, if the rules say so. It never dials a
// name, only addresses that it has checked, and it keeps a record of each
// connection and each refusal.
//
// Everything that comes in through the sockets was written by a server.
//
// Runs in: proxy.
package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Instance is the sandbox that is served, and how.
type Instance struct {
	Server, Project, Sandbox string // for the records
	Rules                    *Rules
	Resolver                 *net.Resolver // outside; nil is the host's
	Record                   func(Record)  // gets what happened; called concurrently
	Traffic                  *Traffic      // counts it as it happens, beside others' if need be; nil: nobody wants to know
}

// Traffic counts what sandboxes do. All of it may be read at any time.
type Traffic struct {
	Sent, Received   atomic.Int64  // bytes, by the servers and to them
	Allowed, Refused atomic.Uint64 // connections, and names that were asked for in vain
	Of               *Traffic      // is counted as well, such as a server's; nil: none
}

func (t *Traffic) sent(n int64) {
	for ; t != nil; t = t.Of {
		t.Sent.Add(n)
	}
}

func (t *Traffic) received(n int64) {
	for ; t != nil; t = t.Of {
		t.Received.Add(n)
	}
}

func (t *Traffic) allow() {
	for ; t != nil; t = t.Of {
		t.Allowed.Add(1)
	}
}

func (t *Traffic) refuse() {
	for ; t != nil; t = t.Of {
		t.Refused.Add(1)
	}
}

// Bounds of one sandbox, beside those of its rules.
const (
	maxNames       = 4096             // that have an address at a time
	maxNameConns   = 16               // to the name server over TCP
	namesPerSecond = 500              // queries
	maxQuery       = 1232             // bytes
	queryWait      = 5 * time.Second  // for the next query over TCP
	maxHello       = 64 << 10         // bytes read to find the end of a ClientHello
	helloWait      = 10 * time.Second // for it
	resolveWait    = 5 * time.Second
	dialWait       = 5 * time.Second // for each address
	maxDials       = 4               // addresses of a name that are tried
	idleWait       = 10 * time.Minute
	copyBuffer     = 16 << 10
	acceptPause    = 100 * time.Millisecond // after an error
)

// egress is the running state of an Instance.
type egress struct {
	Instance
	names    *names
	queries  *rate.Limiter
	slots    chan struct{} // one for each connection
	starts   *rate.Limiter // of connections
	refusals *refusals
	running  sync.WaitGroup
}

// Serve serves a sandbox until ctx ends and closes files, which it takes over: the
// name server's sockets for UDP and TCP, then listeners. It returns when no
// connection is left; an error says that the sandbox has no network.
func Serve(ctx context.Context, i Instance, files []*os.File) error {
	s, err := takeSockets(files)
	if err != nil {
		return fmt.Errorf("network of sandbox %q: %w", i.Sandbox, err)
	}
	e := newEgress(i)
	defer s.close()
	defer context.AfterFunc(ctx, s.close)()
	e.running.Go(func() { e.serveUDP(ctx, s.udp) })
	e.running.Go(func() { e.accept(ctx, s.dns, e.admitQueries(ctx)) })
	for _, l := range s.listeners {
		e.running.Go(func() { e.accept(ctx, l, func(c *net.TCPConn) { e.admit(ctx, c) }) })
	}
	e.running.Wait()
	return nil
}

func newEgress(i Instance) *egress {
	if i.Resolver == nil {
		i.Resolver = net.DefaultResolver
	}
	if i.Traffic == nil {
		i.Traffic = new(Traffic)
	}
	return &egress{
		Instance: i,
		names:    newNames(),
		queries:  rate.NewLimiter(namesPerSecond, namesPerSecond),
		slots:    make(chan struct{}, i.Rules.maxConnections),
		starts:   i.Rules.limiter(),
		refusals: newRefusals(),
	}
}

// sockets are the inside's, all in the sandbox's network namespace.
type sockets struct {
	udp       *net.UDPConn
	dns       *net.TCPListener
	listeners []*net.TCPListener
}

// takeSockets closes files in any case.
func takeSockets(files []*os.File) (s sockets, err error) {
	defer func() {
		for _, f := range files {
			f.Close()
		}
		if err != nil {
			s.close()
		}
	}()
	if len(files) < 3 {
		return s, fmt.Errorf("got %d descriptors, want the name server's two and one for each port", len(files))
	}
	packets, err := net.FilePacketConn(files[0])
	if err != nil {
		return s, fmt.Errorf("name server's UDP socket: %w", err)
	}
	var ok bool
	if s.udp, ok = packets.(*net.UDPConn); !ok {
		_ = packets.Close()
		return s, errors.New("the first descriptor is no UDP socket")
	}
	for _, f := range files[1:] {
		listener, err := net.FileListener(f)
		if err != nil {
			return s, fmt.Errorf("listener: %w", err)
		}
		tcp, ok := listener.(*net.TCPListener)
		if !ok {
			listener.Close()
			return s, fmt.Errorf("a listener is of %s, want TCP", listener.Addr().Network())
		}
		s.listeners = append(s.listeners, tcp)
	}
	s.dns, s.listeners = s.listeners[0], s.listeners[1:]
	return s, nil
}

func (s sockets) close() {
	if s.udp != nil {
		s.udp.Close()
	}
	if s.dns != nil {
		_ = s.dns.Close()
	}
	for _, l := range s.listeners {
		_ = l.Close()
	}
}

// accept hands a listener's connections to admit until ctx ends.
func (e *egress) accept(ctx context.Context, l *net.TCPListener, admit func(*net.TCPConn)) {
	for {
		conn, err := l.AcceptTCP()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				reset(conn)
			}
			return
		case err != nil: // the process has no descriptors left, for one
			if !pause(ctx, acceptPause) || errors.Is(err, net.ErrClosed) {
				return
			}
		default:
			admit(conn)
		}
	}
}

// pause waits; false: ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// reset ends a connection with an RST: the other end sees an error at once, not an
// end.
func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0) // without it there is an end all the same
	conn.Close()
}
