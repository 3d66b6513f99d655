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

// LongLine is the length above which a line is long.
const LongLine = 1 << 20

// lineSpare is what a line has behind its end: room for a longer id, mostly.
const lineSpare = 40

// Long is asked for long lines.
type Long interface {
	// Begin is called before more of a long line is read, and returns when that may be
	// done. Its error is the reader's.
	Begin() error
	// End is called after Begin, if it gave no error, with the whole line, all of whose
	// memory that is; nil if there is none.
	End(line []byte)
}

// LineReader reads the lines of a server's standard output (stdio transport).
type LineReader struct {
	Long Long // nil: nobody is asked

	source io.Reader
	max    int
	buffer []byte
	unread []byte // of the buffer
	err    error  // of the source, once it has ended
}

// NewLineReader reads lines of at most max bytes. It holds at most about that in memory.
func NewLineReader(r io.Reader, max int) *LineReader {
	return &LineReader{source: r, max: max, buffer: make([]byte, lineBuffer)}
}

// Read returns the next line that is not blank, without its end; it belongs to
// the caller, and nothing of it stays here: it may hold what nobody may see. The
// last line may lack its end. Errors are ErrTooLong and those of the stream, and of Long,
// io.EOF at its end.
func (l *LineReader) Read() ([]byte, error) {
	for {
		line, err := l.next()
		line = bytes.TrimRight(line, "\r\n")
		if len(bytes.TrimSpace(line)) > 0 {
			return line, nil // an error comes again with the next call
		}
		if err != nil {
			return nil, err
		}
	}
}

// next returns the next line, or what there was of it with an error.
func (l *LineReader) next() (line []byte, err error) {
	for {
		part, whole := l.part()
		if len(line)+len(part) > 2*lineBuffer {
			return l.collect(line)
		}
		if err := l.fits(len(line), part); err != nil {
			return nil, err
		}
		line = move(line, part)
		l.take(part)
		if whole {
			return line, nil
		}
		if err := l.fill(); err != nil {
			return line, err
		}
	}
}

// collect is next for a line that is longer than what one has mostly, of which begun was
// read already.
func (l *LineReader) collect(begun []byte) (line []byte, err error) {
	parts := parts{size: len(begun)}
	defer parts.free()
	long := false
	defer func() {
		if long {
			l.Long.End(line)
		}
	}()
	for whole := false; !whole && err == nil; {
		var part []byte
		part, whole = l.part()
		if l.Long != nil && !long && parts.size+len(part) > LongLine {
			if err := l.Long.Begin(); err != nil {
				l.err = err
				return nil, err
			}
			long = true
		}
		if err := l.fits(parts.size, part); err != nil {
			return nil, err
		}
		if err := parts.add(part); err != nil {
			l.err = err
			return nil, err
		}
		l.take(part)
		if !whole {
			err = l.fill()
		}
	}
	return parts.join(begun), err
}

// take takes a part out of what is unread, and leaves zeros where it was.
func (l *LineReader) take(part []byte) {
	clear(part)
	l.unread = l.unread[len(part):]
}

// part returns what is unread of a line, and whether that is its end.
func (l *LineReader) part() (part []byte, whole bool) {
	if end := bytes.IndexByte(l.unread, '\n'); end >= 0 {
		return l.unread[:end+1], true
	}
	return l.unread, false
}

// fits refuses a line that is too long with another part.
func (l *LineReader) fits(size int, part []byte) error {
	if size+len(bytes.TrimRight(part, "\r\n")) > l.max {
		l.err = ErrTooLong
		return ErrTooLong
	}
	return nil
}

// fill reads what comes after what was unread.
func (l *LineReader) fill() error {
	if l.err != nil {
		return l.err
	}
	var n int
	n, l.err = l.source.Read(l.buffer)
	l.unread = l.buffer[:n]
	return nil
}

// move appends part to line and leaves only zeros where line was.
func move(line, part []byte) []byte {
	if line == nil {
		line = make([]byte, 0, len(part)+lineSpare)
	}
	old := line
	if line = append(line, part...); len(old) > 0 && &old[0] != &line[0] {
		clear(old)
	}
	return line
}
