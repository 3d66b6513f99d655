// Package mirror sends records of the audit log to where they are read: the
// journal, and syslog servers. It is as good as it gets and no better: it never
// makes anybody wait, and what can't be sent is counted and lost. The file is the
// log.
//
// Runs in: proxy.
package mirror

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxQueue      = 4096
	sendTimeout   = 5 * time.Second
	dialPause     = time.Second // after a failure; what comes meanwhile is lost
	complainPause = time.Minute
)

// target is how one kind of receiver is reached, and what it is sent.
type target struct {
	name   string
	dial   func(context.Context) (net.Conn, error)
	format func(dst, line []byte) []byte
}

// Mirror sends lines to one receiver.
type Mirror struct {
	target
	log   *slog.Logger
	queue chan []byte
	lost  atomic.Int64
	stop  context.CancelFunc
	done  sync.WaitGroup
}

func start(t target, log *slog.Logger) *Mirror {
	ctx, stop := context.WithCancel(context.Background())
	m := &Mirror{target: t, log: log, queue: make(chan []byte, maxQueue), stop: stop}
	m.done.Go(func() { m.run(ctx) })
	return m
}

// Offer sends a record, a line of the log, some time. It never waits.
func (m *Mirror) Offer(line []byte) {
	select {
	case m.queue <- append([]byte(nil), line...):
	default:
		m.lost.Add(1)
	}
}

// Close ends the mirror, and sends what is queued if that goes at once.
func (m *Mirror) Close() {
	m.stop()
	m.done.Wait()
}

func (m *Mirror) run(ctx context.Context) {
	s := &sender{Mirror: m}
	defer s.hangUp()
	for {
		select {
		case line := <-m.queue:
			s.send(context.WithoutCancel(ctx), line) // bounded by its own time
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), dialPause)
			defer cancel()
			for len(m.queue) > 0 && last.Err() == nil {
				s.send(last, <-m.queue)
			}
			return
		}
	}
}

// sender is what the mirror's goroutine knows.
type sender struct {
	*Mirror
	conn       net.Conn
	packet     []byte
	notBefore  time.Time // that another connection is tried
	complained time.Time
}

func (s *sender) send(ctx context.Context, line []byte) {
	err := s.connect(ctx)
	if err == nil {
		s.packet = s.format(s.packet[:0], line)
		_ = s.conn.SetWriteDeadline(time.Now().Add(sendTimeout))
		if _, err = s.conn.Write(s.packet); err != nil {
			s.hangUp()
		}
	}
	if err == nil {
		return
	}
	s.lost.Add(1)
	if now := time.Now(); now.Sub(s.complained) >= complainPause {
		s.log.Error("records of the audit log were not sent", "to", s.name, "lost", s.lost.Load(), "err", err)
		s.complained = now
	}
}

func (s *sender) connect(ctx context.Context) error {
	now := time.Now()
	switch {
	case s.conn != nil:
		return nil
	case now.Before(s.notBefore):
		return fmt.Errorf("%s can't be reached", s.name)
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	conn, err := s.dial(ctx)
	if err != nil {
		s.notBefore = time.Now().Add(dialPause)
		return err
	}
	s.conn = conn
	return nil
}

func (s *sender) hangUp() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}
