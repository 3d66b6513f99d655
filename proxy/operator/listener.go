package operator

import (
	"errors"
	"fmt"
	"log/slog"
	"net"

	"golang.org/x/sys/unix"
)

// listener lets the processes of one user in. The socket's mode does so already: this
// holds if somebody gives it another.
type listener struct {
	net.Listener
	user uint32
	log  *slog.Logger
}

// Accept waits for the next connection of the user, and closes all others.
func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		user, err := peer(conn)
		if err == nil && user == l.user {
			return conn, nil
		}
		l.log.Warn("a connection to the operator's socket was refused", "user", user, "err", err)
		conn.Close()
	}
}

// peer is the user who connected (SO_PEERCRED, unix(7)).
func peer(conn net.Conn) (user uint32, err error) {
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, errors.New("not a Unix socket")
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, err
	}
	var found *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		found, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if failed != nil {
		return 0, fmt.Errorf("read the peer's credentials: %w", failed)
	}
	return found.Uid, nil
}
