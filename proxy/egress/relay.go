package egress

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// relay carries bytes both ways, those of hello first, until both ends have
// finished, one breaks off, or neither says anything for as long as idle. It
// closes both. An end of one direction is passed on while the other goes on.
func relay(client, outside *net.TCPConn, hello []byte, idle time.Duration, traffic *Traffic) (sent, received int64, err error) {
	p := &pair{idle: idle}
	p.abort = func() { reset(client); reset(outside) }
	p.touch()
	var receiving sync.WaitGroup
	receiving.Go(func() { received = p.carry(client, outside, nil, traffic.received) })
	sent = p.carry(outside, client, hello, traffic.sent)
	receiving.Wait()
	client.Close()
	outside.Close()
	return sent, received, p.err
}

// pair is two directions that end together.
type pair struct {
	idle   time.Duration
	active atomic.Int64 // when a byte was last carried, either way
	once   sync.Once
	abort  func()
	err    error
}

func (p *pair) touch() { p.active.Store(time.Now().UnixNano()) }

// deadline is when the pair will have been idle for too long.
func (p *pair) deadline() time.Time { return time.Unix(0, p.active.Load()).Add(p.idle) }

// carry copies one direction, first what was read already, and returns how many
// bytes got through, which it counts on the way.
func (p *pair) carry(to, from *net.TCPConn, first []byte, count func(int64)) (n int64) {
	n, err := p.write(to, first)
	count(n)
	buffer := make([]byte, copyBuffer)
	for err == nil {
		var read int
		read, err = p.read(from, buffer)
		written, writeErr := p.write(to, buffer[:read])
		n += written
		count(written)
		if writeErr != nil {
			err = writeErr
		}
	}
	if errors.Is(err, io.EOF) {
		_ = to.CloseWrite() // fails if the other direction has ended the pair
		return n
	}
	p.once.Do(func() {
		if p.err = err; errors.Is(err, os.ErrDeadlineExceeded) {
			p.err = fmt.Errorf("nothing was sent for %s", p.idle)
		}
		p.abort()
	})
	return n
}

// read waits for bytes for as long as the other direction carries any.
func (p *pair) read(from *net.TCPConn, buffer []byte) (n int, err error) {
	for {
		deadline := p.deadline()
		if err := from.SetReadDeadline(deadline); err != nil {
			return 0, err
		}
		n, err = from.Read(buffer)
		if n > 0 {
			p.touch()
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || !p.deadline().After(deadline) {
			return n, err
		}
	}
}

func (p *pair) write(to *net.TCPConn, data []byte) (int64, error) {
	if len(data) == 0 {
		return 0, nil
	}
	if err := to.SetWriteDeadline(time.Now().Add(p.idle)); err != nil {
		return 0, err
	}
	n, err := to.Write(data)
	if n > 0 {
		p.touch()
	}
	return int64(n), err
}
