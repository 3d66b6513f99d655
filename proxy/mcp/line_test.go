package mcp

import (
	"bytes"
	"errors"
	"io"
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
