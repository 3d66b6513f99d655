package http1

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// watchAfter is how long a request is under way before somebody looks out for the end
// of its client: most are answered before.
const watchAfter = 20 * time.Millisecond

// watcher ends the context of a request whose client has gone. It looks at what comes
// without taking it: a client that has sent its next request already is there.
type watcher struct {
	cancel context.CancelFunc
	timer  *time.Timer // nil before the first request
	armed  bool
	ended  chan struct{} // holds a token of a look that has ended

	mu      sync.Mutex
	stopped bool
}

// watch begins to watch, when the request has been read.
func (c *conn) watch() {
	w := &c.watcher
	w.armed, w.stopped = true, false
	if w.timer == nil {
		w.ended = make(chan struct{}, 1)
		w.timer = time.AfterFunc(watchAfter, c.look)
		return
	}
	w.timer.Reset(watchAfter)
}

// look waits until something comes or the watch is stopped.
func (c *conn) look() {
	w := &c.watcher
	defer func() { w.ended <- struct{}{} }()
	gone, one := false, make([]byte, 1)
	err := c.begin()
	if err == nil {
		err = c.raw.Read(func(fd uintptr) bool {
			n, _, err := unix.Recvfrom(int(fd), one, unix.MSG_PEEK)
			gone = n <= 0
			return !errors.Is(err, unix.EAGAIN)
		})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped && (gone || err != nil) {
		w.cancel()
	}
}

// begin takes the deadline from the socket for a look, unless the watch is stopped.
func (c *conn) begin() error {
	c.watcher.mu.Lock()
	defer c.watcher.mu.Unlock()
	if c.watcher.stopped {
		return errStopped
	}
	return c.expire(time.Time{})
}

var errStopped = errors.New("the watch was stopped")

// unwatch ends the watch.
func (c *conn) unwatch() {
	w := &c.watcher
	if !w.armed {
		return
	}
	w.armed = false
	if w.timer.Stop() {
		return
	}
	w.mu.Lock()
	w.stopped = true
	_ = c.expire(past) // or else the socket is closed, which ends the look as well
	w.mu.Unlock()
	<-w.ended
}
