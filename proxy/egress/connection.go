package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"mcpgateway/policy"
)

// tlsPort is the port whose connections must be TLS to the name that was meant.
const tlsPort = 443

// refusal is the error of what the rules forbid; its text is a record's reason.
type refusal struct{ reason string }

func (r *refusal) Error() string { return r.reason }

func refusef(format string, args ...any) error {
	return &refusal{fmt.Sprintf(format, args...)}
}

// admit starts a connection's goroutine, if there is room for it.
func (e *egress) admit(ctx context.Context, client *net.TCPConn) {
	meant := localAddress(client)
	err := e.reserve()
	if err != nil {
		reset(client)
		r := e.about(meant)
		r.Reason = err.Error()
		e.refuse(r)
		return
	}
	e.running.Go(func() {
		defer func() { <-e.slots }()
		e.serve(ctx, client, meant)
	})
}

func (e *egress) reserve() error {
	if !e.starts.Allow() {
		return refusef("more than %g connections per second, the profile's network.connections_per_second", e.Rules.perSecond)
	}
	select {
	case e.slots <- struct{}{}:
		return nil
	default:
		return refusef("more than %d connections at a time, the profile's network.max_connections", e.Rules.maxConnections)
	}
}

func localAddress(conn *net.TCPConn) netip.AddrPort {
	a := conn.LocalAddr().(*net.TCPAddr).AddrPort() //nolint:forcetypeassert // a TCPConn has no other
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// serve sees one connection through, from what was meant by it to its record.
func (e *egress) serve(ctx context.Context, client *net.TCPConn, meant netip.AddrPort) {
	started := time.Now()
	defer context.AfterFunc(ctx, func() { reset(client) })()
	r := e.about(meant)
	outside, hello, err := e.connect(ctx, client, meant, &r)
	if err == nil {
		e.Traffic.allow()
		stop := context.AfterFunc(ctx, func() { reset(outside) })
		r.Sent, r.Received, err = relay(client, outside, hello, idleWait, e.Traffic)
		stop()
		r.Verdict = Allowed
	} else {
		reset(client)
		r.Verdict = Failed
	}
	switch {
	case err != nil && ctx.Err() != nil:
		r.Reason = "the server has ended"
	case err != nil:
		r.Reason = err.Error()
	}
	r.Duration = time.Since(started)
	if _, ok := errors.AsType[*refusal](err); ok {
		e.refuse(r)
		return
	}
	e.record(r)
}

// about is a record with what was meant by a connection.
func (e *egress) about(meant netip.AddrPort) Record {
	r := Record{Port: meant.Port()}
	if policy.Synthetic().Contains(meant.Addr()) {
		r.Name, _ = e.names.name(meant.Addr())
		return r
	}
	r.Address = meant.Addr()
	return r
}

// connect decides on a connection and makes the one outside. hello is what was
// read of the client on the way. It fills in the address.
func (e *egress) connect(ctx context.Context, client *net.TCPConn, meant netip.AddrPort, r *Record) (outside *net.TCPConn, hello []byte, err error) {
	if err := e.checkMeant(meant, r.Name); err != nil {
		return nil, nil, err
	}
	if meant.Port() == tlsPort {
		serverName, read, err := readHello(client)
		if err != nil {
			return nil, nil, err
		}
		if err := e.checkServerName(r.Name, serverName); err != nil {
			return nil, nil, err
		}
		hello = read
	}
	addresses := []netip.Addr{meant.Addr()}
	if r.Name != "" {
		if addresses, err = e.resolve(ctx, r.Name); err != nil {
			return nil, nil, err
		}
	}
	outside, err = dial(ctx, addresses, meant.Port(), r)
	return outside, hello, err
}

// checkMeant holds what was meant against the allow-list.
func (e *egress) checkMeant(meant netip.AddrPort, name string) error {
	switch {
	case name != "" && !e.Rules.allowsNamePort(name, meant.Port()):
		return refusef("%s:%d is not in the profile's network.allow", name, meant.Port())
	case name != "":
		return nil
	case policy.Synthetic().Contains(meant.Addr()):
		return refusef("%s stands for no name: the name server did not give it out, or too long ago", meant.Addr())
	case meant.Addr().IsLoopback():
		return refusef("%s is the sandbox's own loopback, where nothing listens on this port", meant)
	case !e.Rules.allowsAddress(meant):
		return refusef("%s is not in the profile's network.allow", meant)
	}
	return nil
}

// checkServerName holds the name in a ClientHello against the one that was meant,
// so that an allowed name is no way to another that has the same address. One who
// means an address has no name to send, or one that is allowed.
func (e *egress) checkServerName(meant, serverName string) error {
	name, err := policy.ParseName(serverName)
	switch {
	case serverName == meant, err == nil && name == meant:
		return nil
	case meant == "" && e.Rules.allowsNamePort(name, tlsPort):
		return nil
	case meant == "":
		return refusef("the TLS server name %s is not in the profile's network.allow", cut(serverName))
	case serverName == "":
		return refusef("TLS without a server name, want %s", meant)
	}
	return refusef("the TLS server name is %s, but the connection is to %s", cut(serverName), meant)
}

// resolve asks outside for a name's addresses and returns those that are allowed.
func (e *egress) resolve(ctx context.Context, name string) (allowed []netip.Addr, err error) {
	ctx, cancel := context.WithTimeout(ctx, resolveWait)
	defer cancel()
	// The dot at the end keeps the host's search list out.
	found, err := e.Resolver.LookupNetIP(ctx, "ip", name+".")
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", name, err)
	}
	var refused error
	for _, a := range found {
		if err := e.Rules.checkAddress(a); err == nil {
			allowed = append(allowed, a.Unmap())
		} else {
			refused = err
		}
	}
	if len(allowed) == 0 && refused != nil {
		return nil, refusef("%s resolves to an address that is refused: %v", name, refused)
	}
	if len(allowed) == 0 {
		return nil, fmt.Errorf("resolve %s: it has no address", name)
	}
	return allowed[:min(len(allowed), maxDials)], nil
}

// dial connects to the first address that answers, which it puts into the record.
func dial(ctx context.Context, addresses []netip.Addr, port uint16, r *Record) (outside *net.TCPConn, err error) {
	dialer := net.Dialer{Timeout: dialWait}
	for _, a := range addresses {
		r.Address = a
		if outside, err = dialer.DialTCP(ctx, "tcp", netip.AddrPort{}, netip.AddrPortFrom(a, port)); err == nil {
			return outside, nil
		}
	}
	return nil, err
}
