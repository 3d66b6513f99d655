package egress

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// joined is a relay between two connections, seen from outside of it.
type joined struct {
	client, server *net.TCPConn
	ended          chan outcome
	traffic        *Traffic
}

type outcome struct {
	sent, received int64
	err            error
}

func join(t *testing.T, hello string, idle time.Duration) joined {
	t.Helper()
	client, accepted := pipe(t)
	dialed, server := pipe(t)
	j := joined{client, server, make(chan outcome, 1), &Traffic{Of: new(Traffic)}}
	go func() {
		sent, received, err := relay(accepted, dialed, []byte(hello), idle, j.traffic)
		j.ended <- outcome{sent, received, err}
	}()
	return j
}

func write(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v, want %q", got, err, want)
	}
}

func wantEnd(t *testing.T, conn net.Conn, want error) {
	t.Helper()
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

// wantReset connects to where nothing is served: the connection must break off, by
// an error and not by an end.
func wantReset(t *testing.T, address string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err == nil {
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
}

// TestRelay: an end of one direction leaves the other open.
func TestRelay(t *testing.T) {
	t.Parallel()
	j := join(t, "hello ", idleWait)
	write(t, j.client, "world")
	read(t, j.server, "hello world")
	if err := j.client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, j.server, io.EOF)
	answer := strings.Repeat("answer ", 100_000)
	go func() { _, _ = io.WriteString(j.server, answer); j.server.Close() }()
	got, err := io.ReadAll(j.client)
	if err != nil || string(got) != answer {
		t.Errorf("got %d bytes, %v, want %d", len(got), err, len(answer))
	}
	if got, want := <-j.ended, (outcome{11, int64(len(answer)), nil}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestRelayPassesResetsOn in both directions.
// A connection that lasts is counted before its end.
func TestRelayCountsWhatFlows(t *testing.T) {
	t.Parallel()
	j := join(t, "hello ", time.Minute)
	write(t, j.client, "there")
	read(t, j.server, "hello there")
	write(t, j.server, "yes")
	read(t, j.client, "yes")
	for deadline := time.Now().Add(10 * time.Second); ; runtime.Gosched() { // it counts what was written, right after
		sent, received := j.traffic.Of.Sent.Load(), j.traffic.Of.Received.Load() // as its own
		if sent == 11 && received == 3 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %d and %d bytes while the connection is open, want 11 and 3", sent, received)
		}
	}
	j.client.Close()
	j.server.Close()
	<-j.ended
}

func TestRelayPassesResetsOn(t *testing.T) {
	t.Parallel()
	for name, ends := range map[string]func(joined) (breaks, sees *net.TCPConn){
		"by the client": func(j joined) (*net.TCPConn, *net.TCPConn) { return j.client, j.server },
		"by the server": func(j joined) (*net.TCPConn, *net.TCPConn) { return j.server, j.client },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := join(t, "", idleWait)
			write(t, j.client, "a")
			read(t, j.server, "a")
			breaks, sees := ends(j)
			reset(breaks)
			wantEnd(t, sees, syscall.ECONNRESET)
			if got := <-j.ended; !errors.Is(got.err, syscall.ECONNRESET) || got.sent != 1 {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestRelayEndsWhenIdle(t *testing.T) {
	t.Parallel()
	j := join(t, "", 50*time.Millisecond)
	wantEnd(t, j.client, syscall.ECONNRESET)
	wantEnd(t, j.server, syscall.ECONNRESET)
	if got := <-j.ended; got.err == nil || got.err.Error() != "nothing was sent for 50ms" {
		t.Errorf("got %+v", got)
	}
}

// TestOneDirectionKeepsTheOther: a download sends nothing for a long time.
func TestOneDirectionKeepsTheOther(t *testing.T) {
	t.Parallel()
	near, far := pipe(t)
	p := &pair{idle: time.Second}
	p.touch()
	ended := make(chan error, 1)
	go func() {
		_, err := p.read(far, make([]byte, 1))
		ended <- err
	}()
	other, over := time.NewTicker(p.idle/100), time.After(2*p.idle)
	defer other.Stop()
	for {
		select {
		case <-other.C:
			p.touch()
			continue
		case err := <-ended:
			t.Fatalf("got %v", err)
		case <-over:
		}
		break
	}
	write(t, near, "x")
	if err := <-ended; err != nil {
		t.Errorf("got %v", err)
	}
}

// TestRelayOfPeersThatDoNotRead ends, too.
func TestRelayOfPeersThatDoNotRead(t *testing.T) {
	t.Parallel()
	j := join(t, "", 100*time.Millisecond)
	var writing sync.WaitGroup
	for _, conn := range []net.Conn{j.client, j.server} {
		writing.Go(func() {
			if _, err := io.Copy(conn, bytes.NewReader(make([]byte, 64<<20))); err == nil {
				t.Error("64 MiB went to nobody")
			}
		})
	}
	writing.Wait()
	if got := <-j.ended; got.err == nil || got.sent > 63<<20 || got.received > 63<<20 {
		t.Errorf("got %+v", got)
	}
}
