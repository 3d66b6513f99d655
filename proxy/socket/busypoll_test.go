package socket

import (
	"context"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func foundPoller(t *testing.T) *Poller {
	t.Helper()
	p, err := FindPoller()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// With another epoll instance, nobody knows which is the runtime's.
func TestFindPoller(t *testing.T) {
	foundPoller(t)
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if p, err := FindPoller(); err == nil || !strings.Contains(err.Error(), "2 epoll instances") {
		t.Errorf("got %v and %v", p, err)
	}
}

// What the runtime waits for is found, and left to it.
func TestLook(t *testing.T) {
	before := runtime.GOMAXPROCS(1)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
	p := foundPoller(t)
	near, far := files(t, unix.SOCK_NONBLOCK)
	read, reading := make(chan error), make(chan struct{})
	go func() {
		for range reading {
			_, err := near.Read(make([]byte, 1))
			read <- err
		}
	}()
	defer close(reading)
	vain := 0
	for range 100 {
		<-time.After(time.Millisecond) // the runtime takes what there is
		spent := BusyTime()
		if p.look() {
			continue
		}
		vain++
		if spent = BusyTime() - spent; spent < patience {
			t.Errorf("it looked for %v in vain, want %v", spent, patience)
		}
	}
	if vain < 50 {
		t.Errorf("it found something %d times of 100 where there was nothing", 100-vain)
	}
	found := 0
	for range 100 {
		reading <- struct{}{}
		runtime.Gosched() // to where it waits
		if err := p.writeAndLook(far, &found); err != nil {
			t.Fatal(err)
		}
		if err := <-read; err != nil {
			t.Fatal(err)
		}
	}
	if found < 50 { // and not each time: the runtime looks by itself every 10 ms
		t.Errorf("it found %d of 100", found)
	}
}

func (p *Poller) writeAndLook(far *os.File, found *int) error {
	raw, err := far.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) {
		if _, err = Write(fd, []byte("x")); err == nil && p.look() {
			*found++
		}
	})
}

// It is given up soon where it is in vain, and taken up again where it is not.
func TestOdds(t *testing.T) {
	t.Parallel()
	o := odds(1)
	run := func(times int, finds bool) (looked int) {
		for i := range times {
			if o.worth(i) {
				looked++
				o.note(finds)
			}
		}
		return looked
	}
	if got := run(1000, true); got != 1000 {
		t.Errorf("where it always finds something: looked %d times of 1000", got)
	}
	if got := run(10_000, false); got < 10_000/spared || got > 10_000/spared+latest {
		t.Errorf("where it never does: looked %d times of 10000", got)
	}
	if got := run(1000, true); got < 500 {
		t.Errorf("where it does again: looked %d times of 1000", got)
	}
}

// It ends, whatever was read before and is read while it does.
func TestBusyPollEnds(t *testing.T) {
	p := foundPoller(t)
	for range 100 {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			p.BusyPoll(ctx)
			close(ended)
		}()
		somethingRead()
		cancel()
		somethingRead()
		select {
		case <-ended:
		case <-time.After(time.Minute):
			t.Fatal("it did not end")
		}
	}
}
