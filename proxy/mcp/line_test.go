package mcp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

func TestLineReader(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 3*lineBuffer)
	tests := []struct {
		name, text string
		max        int
		want       []string
		err        error
	}{
		{"lines", "a\nb\r\n\n \nc", 10, []string{"a", "b", "c"}, io.EOF},
		{"empty", "", 10, nil, io.EOF},
		{"longer than the buffer", long + "\nb\n", len(long), []string{long, "b"}, io.EOF},
		{"exactly the limit", "12345\n", 5, []string{"12345"}, io.EOF},
		{"over the limit", "a\n123456\nb\n", 5, []string{"a"}, ErrTooLong},
		{"endless", long + long, len(long), nil, ErrTooLong},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, source := range []io.Reader{strings.NewReader(test.text), iotest.HalfReader(strings.NewReader(test.text))} {
				got, err := readAll(NewLineReader(source, test.max))
				if !errors.Is(err, test.err) {
					t.Errorf("got error %v, want %v", err, test.err)
				}
				if strings.Join(got, "|") != strings.Join(test.want, "|") {
					t.Errorf("got %d lines %.40q, want %d lines %.40q", len(got), got, len(test.want), test.want)
				}
			}
		})
	}
}

func readAll(r *LineReader) (lines []string, err error) {
	for {
		line, err := r.Read()
		if err != nil {
			return lines, err
		}
		lines = append(lines, string(line))
	}
}

// A line of 100 MB must not be held: it ends the stream at the limit.
func TestLineReaderHoldsNoEndlessLine(t *testing.T) {
	const size, max = 100 << 20, 1 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := NewLineReader(io.LimitReader(zeros{}, size), max).Read()
	runtime.ReadMemStats(&after)
	if !errors.Is(err, ErrTooLong) {
		t.Fatalf("got error %v, want %v", err, ErrTooLong)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 16*max {
		t.Errorf("got %d bytes allocated for one line, want at most %d", got, 16*max)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func FuzzLineReader(f *testing.F) {
	f.Add([]byte("a\nb\r\n\n"), 3)
	f.Fuzz(func(t *testing.T, data []byte, max int) {
		if max < 1 || max > 1<<16 {
			return
		}
		lines, err := readAll(NewLineReader(bytes.NewReader(data), max))
		if err == nil {
			t.Fatal("got no error at the end")
		}
		for _, line := range lines {
			if len(line) > max || strings.ContainsRune(line, '\n') || strings.TrimSpace(line) == "" {
				t.Fatalf("got line %q with limit %d", line, max)
			}
		}
	})
}

// What was read may be secret: nothing of it stays in the reader.
func TestLineReaderForgets(t *testing.T) {
	t.Parallel()
	text := "first secret\n" + strings.Repeat("second secret ", lineBuffer/5) + "\nthird secret"
	l := NewLineReader(iotest.HalfReader(strings.NewReader(text)), len(text))
	lines, err := readAll(l)
	if len(lines) != 3 || !errors.Is(err, io.EOF) {
		t.Fatalf("got %d lines and %v", len(lines), err)
	}
	if rest := bytes.Trim(l.buffer, "\x00"); len(rest) > 0 {
		t.Errorf("the reader still holds %.40q", rest)
	}
}

// noting is a Long that notes what it was told.
type noting struct {
	begun, ended int
	lines        []int
	err          error
}

func (n *noting) Begin() error {
	n.begun++
	return n.err
}

func (n *noting) End(line []byte) {
	n.ended++
	n.lines = append(n.lines, len(line))
}

// Long lines are as others, and their reading is told of; what else is read is no part of it.
func TestLongLines(t *testing.T) {
	t.Parallel()
	short := strings.Repeat("s", LongLine-1)
	long := strings.Repeat("0123456789", 3*LongLine/10)
	for _, source := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.HalfReader} {
		n := &noting{}
		l := NewLineReader(source(strings.NewReader(short+"\n"+long+"\r\nafter\n"+long)), len(long))
		l.Long = n
		lines, err := readAll(l)
		if !errors.Is(err, io.EOF) || len(lines) != 4 || lines[0] != short || lines[1] != long || lines[2] != "after" || lines[3] != long {
			t.Fatalf("got %d lines and %v", len(lines), err)
		}
		if n.begun != 2 || n.ended != 2 || n.lines[0] != len(long)+2 || n.lines[1] != len(long) {
			t.Errorf("got %+v", n)
		}
		if rest := bytes.Trim(l.buffer, "\x00"); len(rest) > 0 {
			t.Errorf("the reader still holds %.40q", rest)
		}
	}
	n := &noting{}
	l := NewLineReader(strings.NewReader(long), LongLine+5)
	l.Long = n
	if _, err := readAll(l); !errors.Is(err, ErrTooLong) || n.ended != 1 || n.lines[0] != 0 {
		t.Errorf("got %v and %+v", err, n)
	}
	refused := errors.New("no room")
	l = NewLineReader(strings.NewReader(long), len(long))
	l.Long = &noting{err: refused}
	if _, err := readAll(l); !errors.Is(err, refused) {
		t.Errorf("got %v, want %v", err, refused)
	}
}

// A long line is put together once, of parts that are not Go's.
func TestLongLineIsHeldOnce(t *testing.T) {
	const size = 32 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if line, err := NewLineReader(io.LimitReader(zeros{}, size), size).Read(); len(line) != size {
		t.Fatalf("got %d bytes and %v", len(line), err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > size+1<<20 {
		t.Errorf("got %d bytes allocated for a line of %d", got, size)
	}
}

// Parts are given back, whatever becomes of their line.
func TestPartsAreGivenBack(t *testing.T) {
	const size, rounds = 8 << 20, 100
	mapped := func() (kB int64) {
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(status), "VmSize:")
		if _, err := fmt.Sscan(rest, &kB); err != nil {
			t.Fatal(err)
		}
		return kB
	}
	before := mapped()
	for range rounds {
		for _, max := range []int{size, size - 1} {
			_, err := NewLineReader(io.LimitReader(zeros{}, size), max).Read()
			if (max < size) != errors.Is(err, ErrTooLong) {
				t.Fatalf("got %v with a limit of %d", err, max)
			}
		}
	}
	if got := (mapped() - before) << 10; got > rounds*size/2 {
		t.Errorf("got %d bytes more in the address space after %d lines of %d", got, 2*rounds, size)
	}
}
