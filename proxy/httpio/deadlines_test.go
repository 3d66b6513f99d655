package httpio

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"
)

// pair is a deferred connection and the client's end of it.
func pair(t *testing.T) (served *deferred, client net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := Deferred(l).Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); conn.Close() })
	return conn.(*deferred), client
}

// counting counts the deadlines that its connection is set.
type counting struct {
	net.Conn
	reads, writes int
}

func (c *counting) SetReadDeadline(t time.Time) error {
	c.reads++
	return c.Conn.SetReadDeadline(t)
}

func (c *counting) SetWriteDeadline(t time.Time) error {
	c.writes++
	return c.Conn.SetWriteDeadline(t)
}

func TestDeadlinesThatNobodyWaitsByAreNotSet(t *testing.T) {
	t.Parallel()
	served, client := pair(t)
	socket := &counting{Conn: served.Conn}
	served.Conn = socket
	for range 5 {
		if err := served.SetDeadline(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if _, err := client.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := served.Read(make([]byte, 2)); err != nil {
			t.Fatal(err)
		}
		if _, err := served.Write([]byte("y")); err != nil {
			t.Fatal(err)
		}
	}
	if socket.reads != 1 || socket.writes != 1 {
		t.Errorf("got %d and %d deadlines of the socket, want one of each", socket.reads, socket.writes)
	}
}

func TestDeadlineHoldsForWhatComesAfterIt(t *testing.T) {
	t.Parallel()
	served, _ := pair(t)
	if err := served.SetDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 2} {
		if _, err := served.Read(make([]byte, n)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read of %d: got %v", n, err)
		}
	}
	if _, err := served.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write: got %v", err)
	}
	if err := served.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := served.Write([]byte("x")); err != nil {
		t.Errorf("write without a deadline again: %v", err)
	}
}

// A deadline ends what waits already, whether or not it has begun to.
func TestDeadlineEndsWhatWaits(t *testing.T) {
	t.Parallel()
	served, _ := pair(t)
	for i := range 100 {
		if err := served.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error)
		go func() {
			_, err := served.Read(make([]byte, 1+i%2))
			ended <- err
		}()
		if err := served.SetReadDeadline(time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
	}
}

// What net/http does to see the end of a client costs the socket nothing if the answer
// comes soon.
func TestWatchThatEndsSoonReadsNothing(t *testing.T) {
	t.Parallel()
	served, client := pair(t)
	socket := &counting{Conn: served.Conn}
	served.Conn, served.watchAfter = socket, time.Hour
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	for range 50 {
		go func() {
			_, err := served.Read(make([]byte, 1))
			ended <- err
		}()
		for resting := false; !resting; {
			served.reads.mu.Lock()
			resting = served.reads.resting
			served.reads.mu.Unlock()
			runtime.Gosched()
		}
		if err := served.SetReadDeadline(time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		if err := served.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	if socket.reads > 0 {
		t.Errorf("got %d deadlines of the socket", socket.reads)
	}
}

func TestWatchSeesTheEndOfAClient(t *testing.T) {
	t.Parallel()
	served, client := pair(t)
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	one := make([]byte, 1)
	if n, err := served.Read(one); n != 1 || err != nil || one[0] != 'x' {
		t.Errorf("got %d, %v, %q", n, err, one)
	}
	client.Close()
	if _, err := served.Read(one); !errors.Is(err, io.EOF) {
		t.Errorf("got %v after the end", err)
	}
}
