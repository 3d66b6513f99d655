package egress

import (
	"crypto/tls"
	"errors"
	"net"
	"time"
)

// errHelloRead ends a handshake of which only the first message is wanted.
var errHelloRead = errors.New("the ClientHello has been read")

// readHello reads a ClientHello and returns the server name in it, and all that was
// read, for whom it is meant.
func readHello(conn net.Conn) (serverName string, read []byte, err error) {
	if err := conn.SetReadDeadline(time.Now().Add(helloWait)); err != nil {
		return "", nil, err
	}
	recorded := &recorder{Conn: conn}
	err = tls.Server(recorded, &tls.Config{
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			serverName = hello.ServerName
			return nil, errHelloRead
		},
	}).Handshake()
	if !errors.Is(err, errHelloRead) {
		return "", nil, refusef("no TLS ClientHello on port %d: %s", tlsPort, cut(err.Error()))
	}
	return serverName, recorded.read, conn.SetReadDeadline(time.Time{})
}

// recorder keeps what is read of a connection, and writes nothing to it.
type recorder struct {
	net.Conn
	read []byte
}

func (r *recorder) Read(p []byte) (int, error) {
	room := maxHello - len(r.read)
	if room == 0 {
		return 0, errors.New("it is too long")
	}
	n, err := r.Conn.Read(p[:min(len(p), room)])
	r.read = append(r.read, p[:n]...)
	return n, err
}

// Write swallows the alert about the end of the handshake.
func (r *recorder) Write(p []byte) (int, error) { return len(p), nil }
