package arrivals

import (
	"net"
	"sync/atomic"
	"testing"
)

func TestCount(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open atomic.Int64
	limited := New(Fixed(8), 8).Limit(Count(l, &open))
	var accepted []net.Conn
	for range 2 {
		far, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer far.Close()
		near, err := limited.Accept()
		if err != nil {
			t.Fatal(err)
		}
		accepted = append(accepted, near)
	}
	if got := open.Load(); got != 2 {
		t.Errorf("got %d open, want 2", got)
	}
	accepted[0].Close()
	accepted[0].Close() // counts once
	if got := open.Load(); got != 1 {
		t.Errorf("got %d open, want 1", got)
	}
	accepted[1].Close()
	l.Close()
	if _, err := limited.Accept(); err == nil {
		t.Error("got one accepted")
	}
	if got := open.Load(); got != 0 {
		t.Errorf("got %d open, want 0", got)
	}
}
