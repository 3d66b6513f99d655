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
	outside []*os.File
	all     []*os.File
}

// newStreams makes a socketpair, or pipes for a server that opens /dev/stdin by
// name, which a socket does not allow (unix(7): ENXIO), and a pipe for stderr. All
// of them block, as programs expect.
func newStreams(pipes bool) (*streams, error) {
	s := &streams{}
	if err := s.open(pipes); err != nil {
		closeFiles(s.all)
		return nil, err
	}
	return s, nil
}

func (s *streams) open(pipes bool) error {
	errRead, errWrite, err := s.pair("stderr", openPipe)
	if err != nil {
		return err
	}
	if !pipes {
		ours, theirs, err := s.pair("stdio", func(fds []int) (err error) {
			var both [2]int
			both, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			copy(fds, both[:])
			return err
		})
		s.inside = sandbox.Stdio{Stdin: ours, Stdout: ours, Stderr: errWrite}
		s.outside = []*os.File{theirs, errRead}
		return err
	}
	inRead, inWrite, err := s.pair("stdin", openPipe)
	if err != nil {
		return err
	}
	outRead, outWrite, err := s.pair("stdout", openPipe)
	s.inside = sandbox.Stdio{Stdin: inRead, Stdout: outWrite, Stderr: errWrite}
	s.outside = []*os.File{inWrite, outRead, errRead}
	return err
}

// openPipe makes a pipe that a server can open again by name (/dev/stdin,
// /dev/stderr). It belongs to root, as whom no server runs, so its mode lets
// everybody; who has no descriptor of it cannot name it (proc_pid_fd(5)).
func openPipe(fds []int) error {
	if err := unix.Pipe2(fds, unix.O_CLOEXEC); err != nil {
		return err
	}
	if err := unix.Fchmod(fds[0], 0o666); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return err
	}
	return nil
}

func (s *streams) pair(name string, open func([]int) error) (first, second *os.File, err error) {
	fds := make([]int, 2)
	if err := open(fds); err != nil {
		return nil, nil, fmt.Errorf("make %s: %w", name, err)
	}
	first, second = os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name)
	s.all = append(s.all, first, second)
	return first, second, nil
}

// closeInside closes the server's ends: only the server shall hold them.
func (s *streams) closeInside() {
	closeFiles([]*os.File{s.inside.Stdin, s.inside.Stderr})
	if s.inside.Stdout != s.inside.Stdin {
		s.inside.Stdout.Close()
	}
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
