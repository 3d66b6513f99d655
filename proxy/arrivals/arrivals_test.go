package arrivals

import (
	"crypto/tls"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Who has shown no key can't take every place: what is one too many of an address
// is closed, until one of the others is known or gone.
func TestStrangersAreBounded(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	most := New(Fixed(8), 2)
	limited := most.Limit(l)
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	accept := func() *counted {
		t.Helper()
		conn, err := limited.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn.(*counted)
	}
	dial()
	first := accept()
	dial()
	second := accept()
	accepted := make(chan *counted)
	go func() { accepted <- accept() }()
	if _, err := dial().Read(make([]byte, 1)); err == nil {
		t.Error("got no end of a third connection")
	}
	if !Known(tls.Server(first, nil), "a") { // below TLS
		t.Error("got no room for a first connection")
	}
	dial()
	<-accepted // there is room
	second.Close()
	second.Close() // counts once
	dial()
	accept()
	ended := make(chan error)
	go func() {
		_, err := limited.Accept()
		ended <- err
	}()
	if _, err := dial().Read(make([]byte, 1)); err == nil {
		t.Error("got no end of one too many")
	}
	l.Close()
	if err := <-ended; err == nil {
		t.Error("got one accepted")
	}
	if got := most.open; got != 3 {
		t.Errorf("got %d places taken by three connections", got)
	}
}

// One caller can't take every place either: who has all that one may have stays a
// stranger with any more.
func TestCallersAreBounded(t *testing.T) {
	t.Parallel()
	b := New(func() (int, int) { return 8, 2 }, 8)
	arrive := func() *counted {
		b.take()
		b.enter(netip.Prefix{})
		near, far := net.Pipe()
		t.Cleanup(func() { far.Close() })
		return &counted{Conn: near, bounds: b}
	}
	first, second, third, other := arrive(), arrive(), arrive(), arrive()
	for _, step := range []struct {
		conn   *counted
		caller string
		want   bool
	}{{first, "a", true}, {first, "a", true}, {second, "a", true}, {third, "a", false}, {other, "b", true}} {
		if got := Known(step.conn, step.caller); got != step.want {
			t.Errorf("%s: got %v, want %v", step.caller, got, step.want)
		}
	}
	second.Close()
	if !Known(third, "a") {
		t.Error("got no room where there is some again")
	}
	for _, c := range []*counted{first, second, third, other} {
		c.Close()
	}
	if b.open != 0 || len(b.callers) != 0 || len(b.strangers) != 0 {
		t.Errorf("got %d places, %v and %v left", b.open, b.callers, b.strangers)
	}
}

// A client that is gone without a word is noticed.
func TestDeadConnectionsEnd(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	far, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	conn, err := New(Fixed(1), 1).Limit(Count(l, new(atomic.Int64))).Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	socket, ok := Socket(conn)
	if !ok {
		t.Fatal("got no socket")
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		if got, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); err != nil || got != 60_000 {
			t.Errorf("got a time of %d ms, %v", got, err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSource(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"192.0.2.7:1": "192.0.2.7/32", "[::ffff:192.0.2.7]:1": "192.0.2.7/32", "[2001:db8:1:2:3::4]:1": "2001:db8:1:2::/64", "[fe80::1%lo]:1": "fe80::/64",
	} {
		parsed := netip.MustParseAddrPort(address)
		if got := source(net.TCPAddrFromAddrPort(parsed)); got.String() != want {
			t.Errorf("%s: got %s, want %s", address, got, want)
		}
	}
	if got := source(&net.UnixAddr{}); got.IsValid() {
		t.Errorf("got %s", got)
	}
}

// A bound that is raised holds for who comes next.
func TestRoomChanges(t *testing.T) {
	t.Parallel()
	var all atomic.Int64
	all.Store(1)
	b := New(func() (int, int) { return int(all.Load()), 1 }, 8)
	b.take()
	all.Store(2)
	b.take()
	taken := make(chan struct{})
	go func() {
		defer close(taken)
		b.take()
	}()
	select {
	case <-taken:
		t.Fatal("got a third place of two")
	case <-time.After(10 * time.Millisecond):
	}
	b.giveBack()
	<-taken
	if b.open != 2 {
		t.Errorf("got %d places taken, want 2", b.open)
	}
}
