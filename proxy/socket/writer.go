package socket

import (
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Writer writes to a socket or a pipe. The runtime does not watch it, as it does a file, but
// while a Write waits: who watches a socket of unix(7) is woken each time the other end reads,
// which is once more for each message.
type Writer struct {
	mu      sync.Mutex
	fd      int      // -1: it is closed
	waiting *os.File // the same, of a Write that waits; nil: none does
}

// NewWriter takes over a file, and closes it.
func NewWriter(file *os.File) (*Writer, error) {
	defer file.Close()
	fd, err := duplicate(file)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return &Writer{fd: fd}, nil
}

func duplicate(file *os.File) (fd int, err error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return -1, err
	}
	controlErr := raw.Control(func(own uintptr) {
		fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0)
	})
	return fd, errors.Join(controlErr, os.NewSyscallError("fcntl", err))
}

// Try writes what is taken at once, and returns how much that is.
func (w *Writer) Try(p []byte) (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fd < 0 {
		return 0, os.ErrClosed
	}
	if n, err = Write(uintptr(w.fd), p); errors.Is(err, unix.EAGAIN) {
		err = nil
	}
	return n, err
}

// Write waits until all is written, or the Writer is closed. One may at a time.
func (w *Writer) Write(p []byte) (n int, err error) {
	if n, err = w.Try(p); n == len(p) || err != nil {
		return n, err
	}
	file, err := w.watch()
	if err != nil {
		return n, err
	}
	defer w.unwatch()
	more, err := file.Write(p[n:])
	return n + more, err
}

// watch gives the file that a Write waits with.
func (w *Writer) watch() (*os.File, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fd < 0 {
		return nil, os.ErrClosed
	}
	fd, err := unix.FcntlInt(uintptr(w.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	w.waiting = os.NewFile(uintptr(fd), "stdin")
	return w.waiting, nil
}

func (w *Writer) unwatch() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting.Close()
	w.waiting = nil
}

// Close ends a Write that waits, too. It may be called twice.
func (w *Writer) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting != nil {
		w.waiting.Close()
	}
	if w.fd >= 0 {
		unix.Close(w.fd)
		w.fd = -1
	}
}
