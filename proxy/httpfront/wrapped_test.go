package httpfront

import (
	"net"
	"sync/atomic"
	"testing"

	"mcpgateway/policy"
	"mcpgateway/proxy/arrivals"
	"mcpgateway/proxy/certs"
	"mcpgateway/proxy/httpio"
)

// Whatever a front lays around its connections, the socket of those in plain text is
// found, or else none could be served fast or parked, and so is what bounds a caller's.
func TestSocketsAreFound(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	secured := new(policy.TLS)
	bounds := arrivals.New(func() (int, int) { return 3, 1 }, 3)
	counted := arrivals.Count(l, new(atomic.Int64))
	wrapped := certs.Listener(bounds.Limit(httpio.Deferred(counted)), func() *policy.TLS { return secured })
	for _, want := range []struct{ plain, known bool }{{false, true}, {true, false}, {true, false}} {
		far, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer far.Close()
		conn, err := wrapped.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, ok := arrivals.Socket(conn); ok != want.plain {
			t.Errorf("got a socket: %v, want %v", ok, want.plain)
		}
		if got := arrivals.Known(conn, "key:a"); got != want.known {
			t.Errorf("got %v for one caller, want %v", got, want.known)
		}
		secured = nil
	}
}
