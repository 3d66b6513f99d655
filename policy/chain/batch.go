package chain

import (
	"io"
	"time"
)

// Batch is a chain that grows, and the lines of it that are not in a file yet. A
// write that fails in the middle of a line is gone on with where it ended.
type Batch struct {
	Chain
	lines   []byte
	written int // bytes of lines that are in the file
	parts   []part
}

// part is what a line was made of, nil if it opens a file.
type part struct {
	members []byte
	end     int
	before  Chain // what the chain was
}

// Empty reports whether everything is in the file.
func (b *Batch) Empty() bool { return len(b.parts) == 0 }

// Len is how many lines the batch has.
func (b *Batch) Len() int { return len(b.parts) }

// Add adds a line of members, which must not change until the batch is empty.
func (b *Batch) Add(members []byte) {
	before := b.Chain
	b.lines = b.Append(b.lines, members)
	b.parts = append(b.parts, part{members, len(b.lines), before})
}

// Open adds the line that a file begins with, as AppendOpened does.
func (b *Batch) Open(log string, now time.Time, after *Head, fileIsEmpty bool) {
	before := b.Chain
	b.lines = b.AppendOpened(b.lines, log, now, after, fileIsEmpty)
	b.parts = append(b.parts, part{nil, len(b.lines), before})
}

// Newest is the line that was added last.
func (b *Batch) Newest() []byte {
	last := b.parts[len(b.parts)-1]
	start := 0
	if n := len(b.parts); n > 1 {
		start = b.parts[n-2].end
	}
	return b.lines[start:last.end]
}

// Write writes what is left to a file, and empties the batch if it took all.
func (b *Batch) Write(file io.Writer) (n int, err error) {
	n, err = file.Write(b.lines[b.written:])
	if b.written += n; err == nil {
		b.clear()
	}
	return n, err
}

// Rewind makes the chain what the file has of it, and empties the batch. It
// returns the members of the lines that are not whole in the file.
func (b *Batch) Rewind() (left [][]byte) {
	for _, p := range b.parts {
		if p.end <= b.written {
			continue
		}
		if left == nil {
			b.Chain = p.before
			left = [][]byte{}
		}
		if p.members != nil {
			left = append(left, p.members)
		}
	}
	b.clear()
	return left
}

// maxKept bounds the room that an empty batch keeps, in bytes.
const maxKept = 1 << 20

func (b *Batch) clear() {
	if cap(b.lines) > maxKept {
		b.lines = nil
	}
	b.lines, b.parts, b.written = b.lines[:0], b.parts[:0], 0
}
