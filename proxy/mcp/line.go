package mcp

import (
	"bufio"
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
	reader *bufio.Reader
	max    int
}

// NewLineReader reads lines of at most max bytes. It holds at most about three
// times that in memory.
func NewLineReader(r io.Reader, max int) *LineReader {
	return &LineReader{bufio.NewReaderSize(r, lineBuffer), max}
}

// Read returns the next line that is not blank, without its end; it belongs to
// the caller. The last line may lack its end. Errors are ErrTooLong and those of
// the stream, io.EOF at its end.
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
		part, err := l.reader.ReadSlice('\n')
		if len(line)+len(bytes.TrimRight(part, "\r\n")) > l.max {
			return nil, ErrTooLong
		}
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}
