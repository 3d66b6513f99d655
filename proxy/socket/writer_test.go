package socket

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// writer is a Writer to a socket that waits, as those of a server do, and its other end.
func writer(t *testing.T) (w *Writer, far *os.File) {
	t.Helper()
	near, far := files(t, 0)
	w, err := NewWriter(near)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w, far
}

// More than the socket holds is written whole, and its end is told.
func TestWriter(t *testing.T) {
	t.Parallel()
	w, far := writer(t)
	text := bytes.Repeat([]byte("0123456789abcde\n"), 1<<18)
	n, err := w.Try(text)
	if n == 0 || n == len(text) || err != nil {
		t.Fatalf("Try: got %d and %v, want some of it", n, err)
	}
	wrote := make(chan error)
	go func() {
		for _, rest := range [][]byte{text[n:], text} { // each waits
			if got, err := w.Write(rest); err != nil || got != len(rest) {
				wrote <- fmt.Errorf("%d of %d: %w", got, len(rest), err)
				return
			}
		}
		w.Close()
		wrote <- nil
	}()
	got, err := io.ReadAll(far)
	if err != nil || !bytes.Equal(got, append(bytes.Clone(text), text...)) {
		t.Errorf("read %d bytes and %v", len(got), err)
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
}

func TestWriterIsClosed(t *testing.T) {
	t.Parallel()
	w, far := writer(t)
	wrote := make(chan error)
	go func() {
		_, err := w.Write(make([]byte, 64<<20))
		wrote <- err
	}()
	if _, err := io.ReadFull(far, make([]byte, most)); err != nil {
		t.Fatal(err)
	}
	w.Close()
	w.Close()
	if err := <-wrote; err == nil {
		t.Error("what waited has no error")
	}
	for name, write := range map[string]func([]byte) (int, error){"Try": w.Try, "Write": w.Write} {
		if n, err := write([]byte("x")); n != 0 || !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: got %d and %v", name, n, err)
		}
	}
	if n, err := NewWriter(os.NewFile(1<<20, "no file")); err == nil {
		t.Errorf("got %v of no file", n)
	}
}

func TestWriterToNobody(t *testing.T) {
	t.Parallel()
	w, far := writer(t)
	far.Close()
	if _, err := w.Write([]byte("x")); !errors.Is(err, unix.EPIPE) {
		t.Errorf("got %v", err)
	}
}

// Nobody is woken by what the other end does but a Write that waits.
func TestWriterIsNotWatched(t *testing.T) {
	near, far := files(t, unix.SOCK_NONBLOCK)
	p := foundPoller(t)
	watched := func(fd uintptr) bool {
		t.Helper()
		list, err := os.ReadFile(fmt.Sprint("/proc/self/fdinfo/", p.fd.Fd)) // proc_pid_fdinfo(5)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(list)) {
			if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "tfd:" && fields[1] == fmt.Sprint(fd) {
				return true
			}
		}
		return false
	}
	if !watched(near.Fd()) {
		t.Fatal("the runtime does not watch a file")
	}
	w, err := NewWriter(near)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Write([]byte("text")); err != nil {
		t.Fatal(err)
	}
	if watched(uintptr(w.fd)) {
		t.Error("it is watched")
	}
	wrote := make(chan error)
	go func() {
		_, err := w.Write(make([]byte, 1<<20))
		wrote <- err
	}()
	if n, err := io.CopyN(io.Discard, far, 1<<20+4); err != nil {
		t.Fatal(n, err)
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	if watched(uintptr(w.fd)) || w.waiting != nil {
		t.Error("it is watched after it waited")
	}
}
