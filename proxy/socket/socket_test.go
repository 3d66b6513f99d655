package socket

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair is two ends, which wait but for the flag that says no.
func pair(t *testing.T, flags int) (near, far int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|flags, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fds[0], fds[1]
}

func files(t *testing.T, flags int) (near, far *os.File) {
	t.Helper()
	n, f := pair(t, flags)
	near, far = os.NewFile(uintptr(n), "near"), os.NewFile(uintptr(f), "far")
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// What the other end has written is read, and then nothing, and then the end.
func TestRead(t *testing.T) {
	t.Parallel()
	near, far := pair(t, unix.SOCK_NONBLOCK)
	defer unix.Close(near)
	want := func(size int, text string, end error) {
		t.Helper()
		p := make([]byte, size)
		if n, err := Read(uintptr(near), p); string(p[:n]) != text || !errors.Is(err, end) {
			t.Errorf("got %q and %v, want %q and %v", p[:n], err, text, end)
		}
	}
	want(8, "", unix.EAGAIN)
	if _, err := unix.Write(far, []byte("one and two")); err != nil {
		t.Fatal(err)
	}
	want(0, "", nil)
	want(3, "one", nil)
	want(64, " and two", nil)
	unix.Close(far)
	want(8, "", io.EOF)
	want(0, "", nil)
}

// As much is written as the other end has room for, however much that is at once.
func TestWrite(t *testing.T) {
	t.Parallel()
	near, far := pair(t, unix.SOCK_NONBLOCK)
	defer unix.Close(near)
	if err := unix.SetsockoptInt(near, unix.SOL_SOCKET, unix.SO_SNDBUF, 2*most); err != nil {
		t.Fatal(err)
	}
	text := bytes.Repeat([]byte("0123456789abcde\n"), most)
	n, err := Write(uintptr(near), text)
	if n <= most || n == len(text) || !errors.Is(err, unix.EAGAIN) {
		t.Errorf("got %d of %d and %v, want more than %d", n, len(text), err, most)
	}
	got := make([]byte, n)
	for read := 0; read < n; {
		more, err := Read(uintptr(far), got[read:])
		if err != nil {
			t.Fatal(err)
		}
		read += more
	}
	if !bytes.Equal(got, text[:n]) {
		t.Error("what was read is not what was written")
	}
	if n, err := Write(uintptr(near), text[:most+1]); n != most+1 || err != nil {
		t.Errorf("got %d and %v, want all", n, err)
	}
	unix.Close(far)
	if _, err := Write(uintptr(near), text); !errors.Is(err, unix.EPIPE) {
		t.Errorf("got %v after the end", err)
	}
}

// A reader waits, by the file's deadline and until it is closed, as the file itself does.
func TestReader(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		flags int
	}{{"that does not wait", unix.SOCK_NONBLOCK}, {"that waits", 0}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			near, far := files(t, test.flags)
			r := Reader(near)
			if own := r == io.Reader(near); own != (test.flags == 0) {
				t.Errorf("got the file itself: %v", own)
			}
			go func() {
				_, _ = far.Write(bytes.Repeat([]byte("x"), 3*most))
				far.Close()
			}()
			if got, err := io.ReadAll(r); len(got) != 3*most || err != nil {
				t.Errorf("got %d and %v", len(got), err)
			}
		})
	}
}

func TestReaderIsInterrupted(t *testing.T) {
	t.Parallel()
	near, _ := files(t, unix.SOCK_NONBLOCK)
	r := Reader(near)
	ended := make(chan error)
	read := func() {
		_, err := r.Read(make([]byte, 1))
		ended <- err
	}
	go read()
	if err := near.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if err := near.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	go read()
	near.Close()
	if err := <-ended; err == nil {
		t.Error("got no error of a file that was closed")
	}
}
