package socket

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// accepted is a connection of a listener, and the client's end of it.
func accepted(t *testing.T) (served, client net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if served, err = Listener(l).Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); served.Close() })
	if _, ok := served.(*conn); !ok {
		t.Fatalf("got a %T", served)
	}
	return served, client
}

// More than the sockets hold goes both ways at a time, and ends.
func TestConn(t *testing.T) {
	t.Parallel()
	served, client := accepted(t)
	text := bytes.Repeat([]byte("0123456789abcde\n"), 1<<19)
	carry := func(to, from net.Conn) <-chan error {
		done := make(chan error, 2)
		go func() {
			n, err := to.Write(text)
			if n != len(text) {
				err = errors.Join(err, io.ErrShortWrite)
			}
			done <- err
		}()
		go func() {
			got := make([]byte, len(text))
			_, err := io.ReadFull(from, got)
			if !bytes.Equal(got, text) {
				err = errors.Join(err, errors.New("it is not what was written"))
			}
			done <- err
		}()
		return done
	}
	there, back := carry(client, served), carry(served, client)
	for range 2 {
		if err := errors.Join(<-there, <-back); err != nil {
			t.Fatal(err)
		}
	}
	client.Close()
	if n, err := served.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("got %d and %v after the end", n, err)
	}
}

// Deadlines and the end of the connection end what waits, and say how much was done.
func TestConnIsInterrupted(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		end  func(served net.Conn) error
		want error
	}{
		{"deadline", func(served net.Conn) error { return served.SetDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded},
		{"close", net.Conn.Close, net.ErrClosed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			served, client := accepted(t)
			read, wrote := make(chan error), make(chan error)
			written := 0
			go func() {
				_, err := served.Read(make([]byte, 1))
				read <- err
			}()
			go func() {
				n, err := served.Write(make([]byte, 64<<20))
				written = n
				wrote <- err
			}()
			if _, err := io.ReadFull(client, make([]byte, most)); err != nil {
				t.Fatal(err)
			}
			if err := test.end(served); err != nil {
				t.Fatal(err)
			}
			if err := <-read; !errors.Is(err, test.want) {
				t.Errorf("read: got %v", err)
			}
			if err := <-wrote; !errors.Is(err, test.want) || written < most || written == 64<<20 {
				t.Errorf("write: got %d and %v", written, err)
			}
		})
	}
}
