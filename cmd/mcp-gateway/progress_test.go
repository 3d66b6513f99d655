package main

import (
	"bytes"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestBar(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		done, total int64
		want        string
	}{
		{0, 100, "x [------------------------------]   0%"},
		{50, 100, "x [###############---------------]  50%"},
		{200, 100, "x [##############################] 100%"},
		{0, 0, "x [##############################] 100%"},
	} {
		if got := bar("x", tt.done, tt.total); got != tt.want {
			t.Errorf("%d of %d: got %s, want %s", tt.done, tt.total, got, tt.want)
		}
	}
}

// A file, or a pipe, gets no bars; a terminal has none left at the end.
func TestProgress(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := newProgress(&out, "x", 2)
	p.add(1)
	p.say("%d", 1)
	p.end()
	if out.Len() > 0 {
		t.Errorf("what is no terminal got %q", out.String())
	}

	master, slave := terminal(t)
	p = newProgress(slave, "x", 2)
	p.add(1)
	p.end()
	want := eraseLine + bar("x", 1, 2) + "\r" + eraseLine
	got := make([]byte, 200)
	if err := master.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n := 0
	for n < len(want) {
		more, err := master.Read(got[n:])
		if err != nil {
			t.Fatalf("got %q: %v", got[:n], err)
		}
		n += more
	}
	if string(got[:n]) != want {
		t.Errorf("got %q, want %q", got[:n], want)
	}
}

// terminal makes a pseudo-terminal; what is written to slave is read from master.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("no terminal can be made: %v", err)
	}
	master = os.NewFile(uintptr(fd), "ptmx")
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	other, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		t.Fatal(errno)
	}
	slave = os.NewFile(other, "pts")
	t.Cleanup(func() { slave.Close() })
	return master, slave
}
