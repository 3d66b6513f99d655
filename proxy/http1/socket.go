package http1

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"mcpgateway/proxy/socket"
)

// expire changes the deadline of reads; the zero time is none.
func (c *conn) expire(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.expireLocked(t)
}

func (c *conn) expireLocked(t time.Time) error {
	if t.Equal(c.readBy) {
		return nil
	}
	c.readBy = t
	return c.socket.SetReadDeadline(t)
}

// empty gives back the buffer if nothing is in it.
func (c *conn) empty() {
	if c.in != nil && c.start == c.end {
		buffers.Put(c.in)
		c.in, c.start, c.end = nil, 0, 0
	}
}

// fill reads more behind what is there, by the socket's deadline. Nothing of a buffer is
// held while it waits for the first byte.
func (c *conn) fill() error {
	if c.start > 0 {
		c.end = copy(c.in[:], c.in[c.start:c.end])
		c.start = 0
	}
	waited := c.raw.Read(c.filling)
	switch unused := c.unrest(); {
	case waited == nil:
		return c.err
	case unused && errors.Is(waited, os.ErrDeadlineExceeded):
		return errUnused
	}
	return waited
}

// tryFill is false if nothing is there to be read.
func (c *conn) tryFill(fd uintptr) bool {
	if c.in == nil {
		c.in = buffers.Get().(*[bufferSize]byte)
	}
	var n int
	n, c.err = socket.Read(fd, c.in[c.end:])
	c.end += n
	c.empty()
	return c.err != unix.EAGAIN //nolint:errorlint // it is the call's own
}

// read reads what comes behind what is there already, which it takes first.
func (c *conn) read(p []byte) (n int, err error) {
	if unread := c.unread(); len(unread) > 0 {
		n = copy(p, unread)
		c.start += n
		c.empty()
		return n, nil
	}
	b := &c.bodily
	b.into = p
	defer func() { b.into = nil }()
	if err := c.raw.Control(b.readingNow); err != nil {
		return 0, err
	}
	if b.done {
		return b.n, b.err
	}
	if err := c.expire(c.bodyBy); err != nil {
		return 0, err
	}
	if err := c.raw.Read(b.reading); err != nil {
		return 0, err
	}
	return b.n, b.err
}

// bodily is a read of a body, which may go on while an answer is written.
type bodily struct {
	reading    func(fd uintptr) (done bool)
	readingNow func(fd uintptr)
	into       []byte
	n          int
	done       bool
	err        error // of the last attempt
}

// try is false if nothing is there to be read.
func (b *bodily) try(fd uintptr) bool {
	b.n, b.err = socket.Read(fd, b.into)
	b.done = b.err != unix.EAGAIN //nolint:errorlint // it is the call's own
	return b.done
}

// write writes all of p. The deadline is for what the socket does not take at once.
func (c *conn) write(p []byte, by time.Time) error {
	c.unsent = p
	if err := c.raw.Control(c.writingNow); err != nil {
		return err
	}
	if c.done {
		return c.err
	}
	if err := c.socket.SetWriteDeadline(by); err != nil {
		return err
	}
	if err := c.raw.Write(c.writing); err != nil {
		return err
	}
	return c.err
}

// tryWrite is false if the socket takes no more for now.
func (c *conn) tryWrite(fd uintptr) bool {
	var n int
	n, c.err = socket.Write(fd, c.unsent)
	c.unsent = c.unsent[n:]
	c.done = c.err != unix.EAGAIN //nolint:errorlint // it is the call's own
	return c.done
}
