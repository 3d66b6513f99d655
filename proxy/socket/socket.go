// Package socket reads from and writes to descriptors that do not wait, such as those of
// connections and of pipes, without telling Go's scheduler. Packages os and net do tell it,
// so that other goroutines have the processor if a system call takes long; and each time that
// a process had nothing to do before, this wakes a thread that watches over the call, which
// costs more than the call itself. Nor does a process have to sleep at once when it has nothing
// to do (Poller).
//
// Runs in: proxy.
package socket

import (
	"errors"
	"io"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// most is how much is read or written by one system call. So long the processor is not to be
// had: some ten microseconds.
const most = 64 << 10

// Read reads what is there. The error is io.EOF at the end, and unix.EAGAIN if nothing is
// there yet.
func Read(fd uintptr, p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	if n, err = call(unix.SYS_READ, fd, p); err == nil {
		somethingRead()
		if n == 0 {
			err = io.EOF
		}
	}
	return n, err
}

// Write writes what is taken at once. The error is unix.EAGAIN if that is not all.
func Write(fd uintptr, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var written int
		written, err = call(unix.SYS_WRITE, fd, p[n:])
		n += written
	}
	return n, err
}

func call(trap, fd uintptr, p []byte) (n int, err error) {
	for {
		done, _, errno := unix.RawSyscall(trap, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(min(len(p), most)))
		switch errno {
		case 0:
			return int(done), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// of returns the connection of a file by which it can be read so; nil if there is none, since
// the file waits.
func of(file *os.File) syscall.RawConn {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil
	}
	waits := true
	if err := raw.Control(func(fd uintptr) {
		flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
		waits = err != nil || flags&unix.O_NONBLOCK == 0
	}); err != nil || waits {
		return nil
	}
	return raw
}

// Reader reads a file as its own Read does. It is for one goroutine.
func Reader(file *os.File) io.Reader {
	raw := of(file)
	if raw == nil {
		return file
	}
	r := &reader{raw: raw}
	r.attempt = func(fd uintptr) bool { // made once: each would be an allocation
		r.n, r.err = Read(fd, r.p)
		return !errors.Is(r.err, unix.EAGAIN)
	}
	return r
}

type reader struct {
	raw     syscall.RawConn
	attempt func(fd uintptr) (done bool)
	p       []byte
	n       int
	err     error
}

// Read waits until something is there.
func (r *reader) Read(p []byte) (int, error) {
	runtime.Gosched() // what was read is worked on first, and more may come meanwhile
	r.p = p
	defer func() { r.p = nil }()
	if err := r.raw.Read(r.attempt); err != nil {
		return 0, err
	}
	return r.n, r.err
}
