package socket

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Poller is the epoll(7) instance by which the runtime waits for descriptors.
type Poller struct {
	fd   unix.PollFd
	none unix.Timespec
	odds odds

	// An eventfd(2) that each write makes an event of, which the runtime takes last.
	own     syscall.RawConn
	last    func(fd uintptr) (done bool)
	written bool
}

const (
	// patience is how long a process that has nothing to do looks for more before it sleeps:
	// the time in which a client and a server that are quick do their part of a call. To be
	// woken takes a processor some 20 µs, more in a virtual machine.
	patience = 100 * time.Microsecond
	// latest is of about how many tries odds speak.
	latest = 16
	// spared is one of how many times it is tried though it does not pay.
	spared = 32
)

// FindPoller finds the runtime's poller. It must be called before the process has another
// epoll instance.
func FindPoller() (*Poller, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	file := os.NewFile(uintptr(fd), "eventfd") // which the runtime waits for, and so it has a poller
	p := &Poller{odds: 1}
	p.own, err = file.SyscallConn()
	if err == nil {
		p.fd, err = runtimePoller()
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	one := binary.NativeEndian.AppendUint64(nil, 1)
	p.last = func(fd uintptr) bool {
		if p.written {
			return true
		}
		_, err := Write(fd, one)
		p.written = true
		return err != nil
	}
	return p, nil
}

// runtimePoller is the one epoll instance that the process has.
func runtimePoller() (unix.PollFd, error) {
	const folder = "/proc/self/fd"
	entries, err := os.ReadDir(folder)
	if err != nil {
		return unix.PollFd{}, err
	}
	var found []unix.PollFd
	for _, entry := range entries {
		kind, err := os.Readlink(filepath.Join(folder, entry.Name()))
		fd, notFD := strconv.ParseInt(entry.Name(), 10, 32)
		if err == nil && notFD == nil && kind == "anon_inode:[eventpoll]" {
			found = append(found, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
	}
	if len(found) != 1 {
		return unix.PollFd{}, fmt.Errorf("%s has %d epoll instances, want the runtime's alone", folder, len(found))
	}
	return found[0], nil
}

// BusyPoll keeps the process from sleeping for a moment each time that something was read,
// until there is more or ctx ends. It pays for one Go processor that has others of the host
// beside it; where nothing comes so soon, it is soon done without.
func (p *Poller) BusyPoll(ctx context.Context) {
	defer context.AfterFunc(ctx, somethingRead)()
	for i := 0; ctx.Err() == nil; i++ {
		before := reads.Load()
		if p.odds.worth(i) {
			runtime.Gosched() // what was read is worked on first
			p.odds.note(p.look())
		}
		waits.Store(true)
		if reads.Load() == before || !waits.CompareAndSwap(true, false) {
			<-wake
		}
	}
}

// look looks until there is something for the runtime to find, and reports whether that was
// in time.
func (p *Poller) look() (found bool) {
	stale := true // what is there at first may be of what was read already
	for spent := time.Duration(0); spent < patience; {
		begun := time.Now()
		found = p.ready()
		took := time.Since(begun) // longer if the kernel let others have the processor
		spent += took
		busy.Add(int64(took))
		if found && (!stale || p.read()) {
			return spent < patience
		}
		stale = false
		runtime.Gosched() // others have their turn
	}
	return false
}

// read has the runtime take all that there is, and reports whether something was read then.
func (p *Poller) read() bool {
	before := reads.Load()
	p.written = false
	_ = p.own.Read(p.last) // it is never closed
	runtime.Gosched()
	return reads.Load() != before
}

// ready leaves to the runtime what there is: an epoll instance can be polled itself.
func (p *Poller) ready() bool {
	n, _, _ := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p.fd)), 1, uintptr(unsafe.Pointer(&p.none)), 0, 0, 0)
	return n == 1 // and not -1, an error
}

// odds is the share of those that found something among the latest looks.
type odds float64

// worth reports whether to look the ith time.
func (o odds) worth(i int) bool { return o >= 0.5 || i%spared == 0 }

func (o *odds) note(found bool) {
	var now odds
	if found {
		now = 1
	}
	*o += (now - *o) / latest
}

var (
	reads atomic.Uint64
	waits atomic.Bool // BusyPoll does, for something to be read
	wake  = make(chan struct{}, 1)
	busy  atomic.Int64 // in ns
)

// somethingRead is told by whoever read something.
func somethingRead() {
	reads.Add(1)
	if waits.Load() && waits.CompareAndSwap(true, false) {
		wake <- struct{}{}
	}
}

// BusyTime is how much time BusyPoll has taken until now.
func BusyTime() time.Duration { return time.Duration(busy.Load()) }
