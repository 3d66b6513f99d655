package daemon

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"mcpgateway/sandbox"
)

// streams are a server's standard streams: its own ends, and the peer's in the
// order of an answer of kind opened.
type streams struct {
	inside  sandbox.Stdio
	own     []*os.File // the files of inside
	outside []*os.File
}

// newStreams makes socketpairs, or pipes for a server that opens /dev/stdin by
// name, which a socket does not allow (unix(7): ENXIO), and a pipe for stderr. All
// of them block, as programs expect. Input and output have a socketpair each: who
// waits for input on the one that it answers by is woken when its answer is read.
func newStreams(pipes bool) (s streams, err error) {
	defer func() {
		if err != nil {
			closeFiles(append(s.own, s.outside...))
		}
	}()
	open := openSocket
	if pipes {
		open = openPipe
	}
	if s.inside.Stdin, err = s.add("stdin", open, 0); err == nil {
		s.inside.Stdout, err = s.add("stdout", open, 1)
	}
	if err == nil {
		s.inside.Stderr, err = s.add("stderr", openPipe, 1)
	}
	return s, err
}

// add makes two connected files, of which the one at index own is the server's.
func (s *streams) add(name string, open func() ([2]int, error), own int) (*os.File, error) {
	fds, err := open()
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	file := os.NewFile(uintptr(fds[own]), name)
	s.own = append(s.own, file)
	s.outside = append(s.outside, os.NewFile(uintptr(fds[1-own]), name))
	return file, nil
}

func openSocket() ([2]int, error) {
	return unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
}

// openPipe makes a pipe that a server can open again by name (/dev/stdin,
// /dev/stderr). It belongs to root, as whom no server runs, so its mode lets
// everybody; who has no descriptor of it cannot name it (proc_pid_fd(5)).
func openPipe() (fds [2]int, err error) {
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return fds, err
	}
	if err := unix.Fchmod(fds[0], 0o666); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return fds, err
	}
	return fds, nil
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
