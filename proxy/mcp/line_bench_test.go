package mcp

import (
	"bytes"
	"fmt"
	"testing"
)

// BenchmarkLineReader is what a line costs, by its length.
func BenchmarkLineReader(b *testing.B) {
	for _, size := range []int{200, 20 << 10, 40 << 10, 200 << 10, 1 << 20, 8 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			line := append(bytes.Repeat([]byte("x"), size), '\n')
			b.SetBytes(int64(size))
			l := NewLineReader(&endless{line: line}, size)
			cpu(b, func() {
				if got, err := l.Read(); err != nil || len(got) != size {
					b.Fatalf("got %d bytes and %v", len(got), err)
				}
			})
		})
	}
}

// endless gives the same line again and again.
type endless struct {
	line []byte
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.line[e.at:])
	e.at = (e.at + n) % len(e.line)
	return n, nil
}
