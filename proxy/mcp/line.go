package mcp

import (
	"bytes"
	"errors"
	"io"
)

// ErrTooLong is the error of a line over the limit. The rest of the line is
// unread: the stream is of no more use.
var ErrTooLong = errors.New("line too long")

// lineBuffer is the read buffer of a connection in bytes; longer lines are
// collected outside of it.
const lineBuffer = 32 << 10

// LineReader reads the lines of a server's standard output (stdio transport).
type LineReader struct {
	source io.Reader
	max    int
	buffer []byte
	unread []byte // of the buffer
	err    error  // of the source, once it has ended
}

// NewLineReader reads lines of at most max bytes. It holds at most about three
// times that in memory.
func NewLineReader(r io.Reader, max int) *LineReader {
	return &LineReader{source: r, max: max, buffer: make([]byte, lineBuffer)}
}

// Read returns the next line that is not blank, without its end; it belongs to
// the caller, and nothing of it stays here: it may hold what nobody may see. The
// last line may lack its end. Errors are ErrTooLong and those of the stream,
// io.EOF at its end.
func (l *LineReader) Read() ([]byte, error) {
	for {
		line, err := l.next()
		line = bytes.TrimRight(line, "\r\n")
		if errors.Is(err, ErrTooLong) {
			return nil, err
		}
		if len(bytes.TrimSpace(line)) > 0 {
			return line, nil // an error comes again with the next call
		}
		if err != nil {
			return nil, err
		}
	}
}

func (l *LineReader) next() ([]byte, error) {
	var line []byte
	for {
		part := l.unread
		end := bytes.IndexByte(part, '\n')
		if end >= 0 {
			part = part[:end+1]
		}
		if len(line)+len(bytes.TrimRight(part, "\r\n")) > l.max {
			return nil, ErrTooLong
		}
		line, l.unread = move(line, part), l.unread[len(part):]
		if end >= 0 {
			return line, nil
		}
		if l.err != nil {
			return line, l.err
		}
		var n int
		n, l.err = l.source.Read(l.buffer)
		l.unread = l.buffer[:n]
	}
}

// move appends part to line and leaves only zeros where they were.
func move(line, part []byte) []byte {
	old := line
	if line = append(line, part...); len(old) > 0 && &old[0] != &line[0] {
		clear(old)
	}
	clear(part)
	return line
}
