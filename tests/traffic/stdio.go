package traffic

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
)

// Stdio is a server's standard input and output, shared by all its sessions: their ids
// tell the answers apart.
type Stdio struct {
	mu sync.Mutex
	in io.Writer

	sessions []chan []byte
	over     chan struct{} // closed when the server says no more
	err      error
}

// NewStdio prepares so many sessions with a server that speaks the stateless era.
func NewStdio(in io.Writer, out io.Reader, sessions int) *Stdio {
	s := &Stdio{in: in, over: make(chan struct{})}
	for range sessions {
		s.sessions = append(s.sessions, make(chan []byte, 1))
	}
	go s.deliver(out)
	return s
}

// Session is the one with number i.
func (s *Stdio) Session(i int) Session {
	return &stdioSession{stdio: s, request: append(Stateless.call(i), '\n'), answers: s.sessions[i]}
}

func (s *Stdio) deliver(out io.Reader) {
	defer close(s.over)
	lines := bufio.NewReaderSize(out, 64<<10)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			s.err = err
			return
		}
		i, err := owner(line)
		if err != nil || i >= len(s.sessions) {
			s.err = fmt.Errorf("unexpected message: %.200q", line)
			return
		}
		s.sessions[i] <- line
	}
}

// owner is the id of an answer of the echo server, which says it second.
func owner(line []byte) (int, error) {
	_, rest, _ := bytes.Cut(line, []byte(`"id":`))
	id, _, _ := bytes.Cut(rest, []byte(","))
	return strconv.Atoi(string(id))
}

type stdioSession struct {
	stdio   *Stdio
	request []byte
	answers <-chan []byte
}

func (s *stdioSession) Call() error {
	s.stdio.mu.Lock()
	_, err := s.stdio.in.Write(s.request)
	s.stdio.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case answer := <-s.answers:
		return check(answer)
	case <-s.stdio.over:
		return errors.Join(errors.New("the server has ended"), s.stdio.err)
	}
}

// Close leaves the server as it is: others may use it.
func (s *stdioSession) Close() error { return nil }
