package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Conn is one end of a control connection.
type Conn struct {
	socket *net.UnixConn
	sendMu sync.Mutex

	// Peer is the process at the other end, as the kernel knew it when it
	// connected (SO_PEERCRED, unix(7)).
	Peer unix.Ucred
}

// Dial connects to the control socket at path.
func Dial(path string) (*Conn, error) {
	socket, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	return NewConn(socket)
}

// NewConn takes over an accepted or connected SOCK_SEQPACKET socket.
func NewConn(socket *net.UnixConn) (*Conn, error) {
	peer, err := peerOf(socket)
	if err != nil {
		socket.Close()
		return nil, fmt.Errorf("read the peer's credentials: %w", err)
	}
	return &Conn{socket: socket, Peer: *peer}, nil
}

func peerOf(socket *net.UnixConn) (peer *unix.Ucred, err error) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil, err
	}
	controlErr := raw.Control(func(fd uintptr) {
		peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return peer, errors.Join(controlErr, err)
}

// Close ends the connection; a blocked Receive returns. It may be called twice.
func (c *Conn) Close() { c.socket.Close() }

// Dismiss ends the connection. The peer gets a last message, if it has read the others:
// nobody waits for it.
func (c *Conn) Dismiss(last Message) {
	packet, _ := json.Marshal(last) // messages can be marshalled
	if raw, err := c.socket.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.Send(int(fd), packet, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL) })
	}
	c.Close()
}

// sendTimeout is how long a peer may not read before the connection ends.
const sendTimeout = 5 * time.Second

// Send writes one message with the given descriptors, which stay the caller's. An
// error of the socket ends the connection.
func (c *Conn) Send(m Message, files ...*os.File) error {
	packet, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(packet) > MaxMessage {
		return fmt.Errorf("message %q has %d bytes, at most %d are allowed", m.Kind, len(packet), MaxMessage)
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	c.sendMu.Lock()
	defer c.sendMu.Unlock()
	if err := c.socket.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	if _, _, err = c.socket.WriteMsgUnix(packet, rights, nil); err != nil {
		c.Close()
	}
	return err
}

// Receive reads one message. Its descriptors become the caller's, even with an
// error. A packet that is too long, carries too many descriptors, has an unknown
// field or a trace that is none, or is not JSON is an error, after which the connection is of no use.
// io.EOF: the peer closed.
func (c *Conn) Receive() (Message, []*os.File, error) {
	packet := make([]byte, MaxMessage+1)
	rights := make([]byte, unix.CmsgSpace(4*maxDescriptors))
	n, rightsLen, flags, _, err := c.socket.ReadMsgUnix(packet, rights)
	if err != nil {
		return Message{}, nil, err
	}
	files, err := takeFiles(rights[:rightsLen])
	if err != nil {
		return Message{}, files, err
	}
	message, err := parse(packet[:n], flags)
	return message, files, err
}

// RefuseDescriptors makes the kernel refuse packets with descriptors, which it
// can since Linux 6.16. Closing one that came may block for as long as who sent it
// likes (a socket that lingers, a file of a network).
func (c *Conn) RefuseDescriptors() {
	if raw, err := c.socket.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSRIGHTS, 0) })
	}
}

func parse(packet []byte, flags int) (Message, error) {
	switch {
	case len(packet) == 0:
		return Message{}, io.EOF
	case len(packet) > MaxMessage || flags&unix.MSG_TRUNC != 0:
		return Message{}, fmt.Errorf("packet longer than %d bytes", MaxMessage)
	case flags&unix.MSG_CTRUNC != 0:
		return Message{}, fmt.Errorf("packet with more than %d descriptors", maxDescriptors)
	}
	var message Message
	decoder := json.NewDecoder(bytes.NewReader(packet))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&message); err != nil {
		return Message{}, fmt.Errorf("parse control message: %.200s", err.Error()) // it quotes the peer
	}
	if decoder.InputOffset() != int64(len(packet)) {
		return Message{}, errors.New("parse control message: text after it")
	}
	if !correlates(message.Trace) {
		return Message{}, errors.New("parse control message: its trace is no id of a request")
	}
	return message, nil
}

// takeFiles turns SCM_RIGHTS into files. ReadMsgUnix asks for close-on-exec.
func takeFiles(rights []byte) ([]*os.File, error) {
	if len(rights) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, fmt.Errorf("parse descriptors: %w", err)
	}
	var files []*os.File
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return files, fmt.Errorf("parse descriptors: %w", err)
		}
		for _, fd := range fds {
			_ = unix.SetNonblock(fd, true) // where it can be: Close then interrupts a Read
			files = append(files, os.NewFile(uintptr(fd), "control"))
		}
	}
	return files, nil
}
