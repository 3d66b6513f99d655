package certs

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"

	"mcpgateway/policy"
)

// Follow returns a configuration that serves each connection by what current
// says at its start. protocols are those of ALPN, the preferred one first. A
// connection that comes when current gives nil is refused.
func Follow(current func() *policy.TLS, protocols ...string) *tls.Config {
	latest := &latest{current: current, protocols: protocols}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         protocols,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return latest.config() },
	}
}

// latest holds the configuration of the newest policy that a client has met.
type latest struct {
	current   func() *policy.TLS
	protocols []string

	mu    sync.Mutex
	of    *policy.TLS
	built *tls.Config
}

func (l *latest) config() (*tls.Config, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.current()
	if now == nil {
		return nil, errors.New("this listener has no certificate")
	}
	if now != l.of { // a policy is immutable: the same one has the same certificates
		built, err := build(now, l.protocols)
		if err != nil {
			return nil, err
		}
		l.of, l.built = now, built
	}
	return l.built, nil
}

// Listener accepts connections that speak TLS, or plain text while current gives
// nil. The handshake comes with the first byte that is read or written.
func Listener(plain net.Listener, current func() *policy.TLS, protocols ...string) net.Listener {
	return &listener{plain, current, Follow(current, protocols...)}
}

type listener struct {
	net.Listener
	current func() *policy.TLS
	config  *tls.Config
}

func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil || l.current() == nil {
		return conn, err
	}
	return tls.Server(conn, l.config), nil
}
