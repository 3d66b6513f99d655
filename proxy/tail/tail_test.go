package tail

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"mcpgateway/proxy/report"
)

func texts(lines []report.Line) (all []string) {
	for _, l := range lines {
		all = append(all, l.Text)
	}
	return all
}

func TestBounds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name          string
		lines, length int
		want, least   int
		first         string
	}{
		{"few", 3, 1, 3, 0, "0"},
		{"many", maxLines + 5, 4, maxLines, 0, "5"},
		{"long ones", 2 * maxBytes / 512, 512, maxBytes / 512, 0, strconv.Itoa(maxBytes / 512)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := New()
			l.Keep([]string{"a"})
			for i := range test.lines {
				text := make([]byte, test.length)
				n := copy(text, strconv.Itoa(i))
				l.Add("a", "a-1", append(text[:n], bytes.Repeat([]byte(" "), max(0, test.length-n))...))
			}
			got := l.Read("a", 1<<20)
			if len(got) != test.want {
				t.Fatalf("got %d lines, want %d", len(got), test.want)
			}
			if text := string(bytes.TrimSpace([]byte(got[0].Text))); text != test.first {
				t.Errorf("got %q first, want %q", text, test.first)
			}
			if got[0].Sandbox != "a-1" || got[0].Time.IsZero() {
				t.Errorf("got %+v, want its sandbox and its time", got[0])
			}
		})
	}
}

func TestFollow(t *testing.T) {
	t.Parallel()
	l := New()
	l.Keep([]string{"a"})
	for _, text := range []string{"1", "2", "3"} {
		l.Add("a", "a-1", []byte(text))
	}
	r, err := l.Follow("a", 2)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := r.Next(t.Context())
	if err != nil || len(got) != 2 || got[0].Text != "2" {
		t.Fatalf("got %v, %v, want the last two", texts(got), err)
	}
	next := make(chan []report.Line, 1)
	go func() {
		lines, _ := r.Next(context.Background())
		next <- lines
	}()
	l.Add("a", "a-2", []byte("4"))
	if got := <-next; len(got) != 1 || got[0].Text != "4" || got[0].Missed != 0 {
		t.Errorf("got %v, want the line that came", texts(got))
	}
	for range maxLines + 7 {
		l.Add("a", "a-2", []byte("x"))
	}
	if got, _ := r.Next(t.Context()); len(got) != maxLines || got[0].Missed != 7 {
		t.Errorf("got %d lines and %d missed, want %d and 7", len(got), got[0].Missed, maxLines)
	}
}

func TestFollowEnds(t *testing.T) {
	t.Parallel()
	l := New()
	l.Keep([]string{"a", "b"})
	r, err := l.Follow("a", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := r.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want that its time is over", err)
	}
	l.Keep([]string{"b"})
	if _, err := r.Next(t.Context()); err == nil {
		t.Error("got more of a server that is gone")
	}
	l.Add("a", "a-1", []byte("late"))
	if got := l.Read("a", 10); got != nil {
		t.Errorf("got %v of a server that is gone", texts(got))
	}
}

func TestFollowersAreBounded(t *testing.T) {
	t.Parallel()
	l := New()
	l.Keep([]string{"a"})
	var readers []*Reader
	for range maxFollowers {
		r, err := l.Follow("a", 0)
		if err != nil {
			t.Fatal(err)
		}
		readers = append(readers, r)
	}
	if _, err := l.Follow("a", 0); !errors.Is(err, ErrCrowd) {
		t.Errorf("got %v, want %v", err, ErrCrowd)
	}
	readers[0].Close()
	readers[0].Close()
	if _, err := l.Follow("a", 0); err != nil {
		t.Errorf("after one has gone: %v", err)
	}
	if _, err := l.Follow("a", 0); !errors.Is(err, ErrCrowd) {
		t.Errorf("one that closed twice made room for two: %v", err)
	}
}
