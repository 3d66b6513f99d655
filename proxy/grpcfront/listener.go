package grpcfront

import (
	"net"
	"sync"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"mcpgateway/policy"
	"mcpgateway/proxy/certs"
)

// limited is a listener that accepts no more connections than there are slots.
type limited struct {
	net.Listener
	slots chan struct{}
}

func (l *limited) Accept() (net.Conn, error) {
	l.slots <- struct{}{}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &counted{Conn: conn, slots: l.slots}, nil
}

type counted struct {
	net.Conn
	slots chan struct{}
	once  sync.Once
}

func (c *counted) Close() error {
	defer c.once.Do(func() { <-c.slots })
	return c.Conn.Close()
}

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
func (c *following) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if c.current() == nil {
		return c.plain.ServerHandshake(conn)
	}
	return c.TransportCredentials.ServerHandshake(conn)
}
