package grpcfront

import (
	"context"
	"crypto/tls"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"

	"mcpgateway/policy"
	"mcpgateway/proxy/arrivals"
	"mcpgateway/proxy/certs"
)

// tls is how the listeners prove themselves now, nil for plain text.
func (f *Front) tls() *policy.TLS {
	if now := f.current(); now != nil {
		return now.Policy.GRPC.TLS
	}
	return nil
}

// following are credentials of the policy in force when a connection begins.
type following struct {
	credentials.TransportCredentials // TLS
	plain                            credentials.TransportCredentials
	current                          func() *policy.TLS
}

func newCredentials(current func() *policy.TLS) credentials.TransportCredentials {
	return &following{credentials.NewTLS(certs.Follow(current, "h2")), insecure.NewCredentials(), current}
}

// ServerHandshake speaks TLS unless the policy has none.
func (c *following) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	handshake := c.TransportCredentials.ServerHandshake
	if c.current() == nil {
		handshake = c.plain.ServerHandshake
	}
	conn, info, err := handshake(raw)
	return conn, arrived{info, raw}, err
}

// secured is the state of the TLS that a call came by; nil in plain text.
func secured(from *peer.Peer) *tls.ConnectionState {
	a, ok := from.AuthInfo.(arrived)
	if !ok {
		return nil
	}
	info, ok := a.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return nil
	}
	return &info.State
}

// arrived lets calls find the connection that they came by.
type arrived struct {
	credentials.AuthInfo
	conn net.Conn
}

// known says whose connection a call has come by, and reports false if the caller has
// too many.
func known(ctx context.Context, caller string) bool {
	from, ok := peer.FromContext(ctx)
	if !ok {
		return true
	}
	a, ok := from.AuthInfo.(arrived)
	return !ok || arrivals.Known(a.conn, caller)
}
