package http1

import (
	"errors"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// lot is where connections wait that are parked.
type lot struct {
	server  *Server
	events  *os.File // epoll(7)
	closing chan struct{}
	running sync.WaitGroup

	mu    sync.Mutex
	here  map[int32]*space // by descriptor; nil when closed
	count int              // of those that have been parked
}

type space struct {
	conn  *conn
	since time.Time
}

// open makes the lot ready. close must be called.
func (l *lot) open(s *Server) error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that the runtime waits for it, and no thread
		unix.Close(fd)
		return os.NewSyscallError("fcntl", err)
	}
	l.server, l.events, l.closing, l.here = s, os.NewFile(uintptr(fd), "epoll"), make(chan struct{}), map[int32]*space{}
	l.running.Go(l.wait)
	l.running.Go(l.tidy)
	return nil
}

// close closes what is parked.
func (l *lot) close() error {
	close(l.closing)
	err := l.events.Close()
	l.mu.Lock()
	left := l.here
	l.here = nil
	l.mu.Unlock()
	for _, p := range left {
		p.conn.close()
	}
	l.running.Wait()
	return err
}

// park takes an unused connection; its goroutine must leave it alone then. It reports
// false if it can't.
func (s *Server) park(c *conn) bool {
	l := &s.parked
	ok := false
	err := c.raw.Control(func(fd uintptr) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.here == nil {
			return
		}
		if ok = l.controlLocked(unix.EPOLL_CTL_ADD, int32(fd)) == nil; ok {
			l.here[int32(fd)] = &space{c, time.Now()}
			l.count++
		}
	})
	return ok && err == nil
}

// controlLocked adds a descriptor to what is waited for, or takes it out.
func (l *lot) controlLocked(operation int, fd int32) error {
	raw, err := l.events.SyscallConn()
	if err != nil {
		return err
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLONESHOT, Fd: fd}
	also := raw.Control(func(epoll uintptr) { err = unix.EpollCtl(int(epoll), operation, int(fd), &event) })
	return errors.Join(err, also)
}

// take takes a connection out of the lot, if it is there.
func (l *lot) take(fd int32) *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.here[fd]
	if p == nil {
		return nil
	}
	delete(l.here, fd)
	if l.controlLocked(unix.EPOLL_CTL_DEL, fd) != nil {
		defer p.conn.close()
		return nil
	}
	return p.conn
}

// wait has what is parked served when something comes by it, its end among that.
func (l *lot) wait() {
	raw, err := l.events.SyscallConn()
	if err != nil {
		return // it is closed
	}
	found := make([]unix.EpollEvent, 64)
	for {
		n := 0
		err := raw.Read(func(fd uintptr) bool {
			n, err = unix.EpollWait(int(fd), found, 0)
			return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
		})
		if err != nil {
			return
		}
		for _, event := range found[:max(n, 0)] {
			if c := l.take(event.Fd); c != nil {
				go c.serve()
			}
		}
	}
}

// many is how many are parked at a time before the memory that they had is given back at
// once; the runtime does so within minutes.
const many = 256

// tidy closes what is parked for too long, and gives back what many have left.
func (l *lot) tidy() {
	tick := time.NewTicker(max(l.server.waits.Park, time.Millisecond))
	defer tick.Stop()
	for before := 0; ; {
		select {
		case <-tick.C:
		case <-l.closing:
			return
		}
		old, count := l.old(time.Now().Add(l.server.waits.Park - l.server.waits.Idle))
		for _, fd := range old {
			if c := l.take(fd); c != nil {
				c.close()
			}
		}
		if count-before >= many {
			debug.FreeOSMemory()
		}
		before = count
	}
}

// old returns what is parked since before then, and how many have been parked until now.
func (l *lot) old(then time.Time) (old []int32, count int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for fd, p := range l.here {
		if p.since.Before(then) {
			old = append(old, fd)
		}
	}
	return old, l.count
}
