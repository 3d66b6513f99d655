package peer

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"mcpgateway/runtime/control"
)

// host is where daemons come and go, as on a host whose service manager has their socket.
type host struct {
	t        *testing.T
	path     string
	listener *net.UnixListener
	link     *Link
	policies chan uint64
	refuse   atomic.Bool
	losses   chan error
	ended    chan error
	stop     context.CancelFunc
}

func newHost(t *testing.T, patience time.Duration) *host {
	t.Helper()
	h := &host{
		t: t, path: filepath.Join(t.TempDir(), "s"),
		policies: make(chan uint64, 16), losses: make(chan error, 16), ended: make(chan error, 1),
	}
	h.listen()
	h.link = NewLink(h.path, Notices{
		Policy: func(generation uint64, _ []byte) error {
			h.policies <- generation
			if h.refuse.Load() {
				return errors.New("no good")
			}
			return nil
		},
		Audit: func(_ control.Log, file *os.File) { file.Close() },
	}, func(why error) { h.losses <- why })
	h.link.patience, h.link.until = patience, time.Now().Add(patience)
	ctx, cancel := context.WithCancel(t.Context())
	h.stop = cancel
	go func() { h.ended <- h.link.Run(ctx) }()
	t.Cleanup(cancel)
	return h
}

func (h *host) listen() {
	h.t.Helper()
	var err error
	if h.listener, err = net.ListenUnix("unixpacket", &net.UnixAddr{Name: h.path, Net: "unixpacket"}); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { h.listener.Close() })
}

// accept is a daemon that takes the connection and says hello.
func (h *host) accept() stand {
	h.t.Helper()
	_ = h.listener.SetDeadline(time.Now().Add(20 * time.Second))
	socket, err := h.listener.AcceptUnix()
	if err != nil {
		h.t.Fatal(err)
	}
	conn, err := control.NewConn(socket)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(conn.Close)
	s := stand{Conn: conn}
	s.receive(h.t, control.KindHello)
	h.send(s, hello)
	return s
}

func (h *host) send(s stand, m control.Message, files ...*os.File) {
	h.t.Helper()
	if err := s.Send(m, files...); err != nil {
		h.t.Fatal(err)
	}
}

// daemon is one whose policy was taken.
func (h *host) daemon(chain string) stand {
	h.t.Helper()
	s := h.accept()
	h.policy(s, chain)
	s.receive(h.t, control.KindApplied)
	for h.link.Away() != nil { // it is noted a moment later
		<-time.After(time.Millisecond)
	}
	return s
}

func (h *host) policy(s stand, chain string) {
	h.t.Helper()
	file, err := control.NewSealed("policy", []byte("{}"))
	if err != nil {
		h.t.Fatal(err)
	}
	defer file.Close()
	h.send(s, control.Message{Kind: control.KindPolicy, Generation: 1, Log: &control.Log{Number: 1, Chain: chain}}, file, file)
	<-h.policies
}

// open asks for a server and gives what becomes of it.
func (h *host) open() <-chan error {
	done := make(chan error, 1)
	go func() {
		opened, err := h.link.Open(context.Background(), "files", "")
		if err == nil {
			opened.Close()
		}
		done <- err
	}()
	return done
}

func (h *host) answerOpen(s stand) {
	h.t.Helper()
	request := s.receive(h.t, control.KindOpen)
	file, err := os.Open(os.DevNull)
	if err != nil {
		h.t.Fatal(err)
	}
	defer file.Close()
	h.send(s, control.Message{Kind: control.KindOpened, ID: request.ID, Sandbox: "files-1"}, file, file, file)
}

// What comes while the daemon is restarted waits for the next one, also what the one before
// has not answered any more; what can't wait fails at once.
func TestLinkOutlivesDaemons(t *testing.T) {
	t.Parallel()
	h := newHost(t, time.Minute)
	early := h.open()
	first := h.daemon("a")
	h.answerOpen(first)
	if err := <-early; err != nil {
		t.Fatal(err)
	}
	unanswered := h.open()
	first.receive(t, control.KindOpen)
	first.Close()
	if err := <-h.losses; err == nil {
		t.Error("got no reason why the daemon is gone")
	}
	waiting := h.open()
	for name, do := range map[string]func() error{
		"stop":       func() error { return h.link.Stop(t.Context(), "files-1") },
		"freeze":     func() error { return h.link.Freeze(t.Context(), "files-1") },
		"thaw":       func() error { return h.link.Thaw(t.Context(), "files-1") },
		"list":       func() error { _, err := h.link.List(t.Context()); return err },
		"checkpoint": func() error { _, err := h.link.Checkpoint(t.Context(), "a", 1, ""); return err },
		"rotate":     func() error { _, _, err := h.link.Rotate(t.Context(), "a", 1, ""); return err },
	} {
		if err := do(); !errors.Is(err, errNone) || !errors.Is(err, control.ErrClosed) {
			t.Errorf("%s: got %v without a daemon", name, err)
		}
	}
	next := h.accept()
	select {
	case err := <-waiting:
		t.Fatalf("got %v before the daemon's policy was in force", err)
	case <-time.After(100 * time.Millisecond):
	}
	h.policy(next, "b")
	next.receive(t, control.KindApplied)
	for range 2 {
		h.answerOpen(next)
	}
	if err := errors.Join(<-unanswered, <-waiting); err != nil {
		t.Error(err)
	}
	// Its heads are another's: the daemon could not tell.
	if _, err := h.link.Checkpoint(t.Context(), "a", 1, ""); !errors.Is(err, errOtherChain) {
		t.Errorf("got %v for the chain of before", err)
	}
	if _, _, err := h.link.Rotate(t.Context(), "a", 1, ""); !errors.Is(err, errOtherChain) {
		t.Errorf("got %v for the file of before", err)
	}
	h.stop()
	if err := <-h.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := <-h.open(); !errors.Is(err, ErrAway) {
		t.Errorf("got %v after the end", err)
	}
}

// Whoever opens something learns when the daemon has ended that it came from.
func TestOpenedIsOverWithItsDaemon(t *testing.T) {
	t.Parallel()
	h := newHost(t, time.Minute)
	s := h.daemon("a")
	got := make(chan control.Opened, 1)
	go func() {
		opened, err := h.link.Open(context.Background(), "files", "")
		if err != nil {
			t.Error(err)
		}
		got <- opened
	}()
	h.answerOpen(s)
	opened := <-got
	defer opened.Close()
	select {
	case <-opened.Over:
		t.Fatal("it is over before its daemon is")
	default:
	}
	s.Close()
	<-opened.Over
	h.daemon("b")
}

// A daemon that stays away is not waited for by those who come late, and looked for now and
// then alone.
func TestLinkLosesPatience(t *testing.T) {
	t.Parallel()
	h := newHost(t, 2*time.Second)
	s := h.daemon("a")
	h.listener.Close() // which also removes the socket
	s.Close()
	<-h.losses
	if err := <-h.open(); !errors.Is(err, ErrAway) {
		t.Fatalf("got %v", err)
	}
	began := time.Now()
	if err := <-h.open(); !errors.Is(err, ErrAway) || time.Since(began) > time.Second {
		t.Errorf("got %v after %s, want it at once", err, time.Since(began))
	}
	for until := time.Now().Add(10 * time.Second); !errors.Is(h.link.Away(), os.ErrNotExist); <-time.After(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("got %v for why", h.link.Away())
		}
	}
	h.listen()
	h.daemon("b")
}

// Once a daemon has answered, its policy is waited for, however long there was none.
func TestLinkWaitsForThePolicy(t *testing.T) {
	t.Parallel()
	h := newHost(t, time.Second)
	if err := <-h.open(); !errors.Is(err, ErrAway) {
		t.Fatalf("got %v", err)
	}
	s := h.accept()
	for waits := false; !waits; <-time.After(time.Millisecond) { // it is noted a moment later
		h.link.mu.Lock()
		waits = time.Now().Before(h.link.until)
		h.link.mu.Unlock()
	}
	done := h.open()
	select {
	case err := <-done:
		t.Fatalf("got %v before the policy", err)
	case <-time.After(100 * time.Millisecond):
	}
	h.policy(s, "a")
	s.receive(t, control.KindApplied)
	h.answerOpen(s)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A daemon that ends with each connection is not asked over and over.
func TestLinkBacksOff(t *testing.T) {
	t.Parallel()
	h := newHost(t, time.Minute)
	dials := 0
	_ = h.listener.SetDeadline(time.Now().Add(2 * time.Second))
	for {
		socket, err := h.listener.AcceptUnix()
		if err != nil {
			break
		}
		dials++
		socket.Close()
	}
	if dials < 5 || dials > 12 { // after 0, 50, 125, 237, 406, 659, 1039, 1608 ms, more or less
		t.Errorf("got %d connections in 2 s", dials)
	}
	h.daemon("a")
	if len(h.losses) != 1 {
		t.Errorf("it was told %d times that there is no daemon, want once", len(h.losses))
	}
}

// A configuration that the proxy refuses is none; the next one may be good.
func TestLinkRefusesAPolicy(t *testing.T) {
	t.Parallel()
	h := newHost(t, 50*time.Millisecond)
	h.refuse.Store(true)
	s := h.accept()
	h.policy(s, "a")
	s.receive(t, control.KindRefused)
	if err := h.link.Away(); err == nil || err.Error() != "its configuration was refused: no good" {
		t.Errorf("got %v", err)
	}
	if err := <-h.open(); !errors.Is(err, ErrAway) {
		t.Errorf("got %v", err)
	}
	h.refuse.Store(false)
	h.policy(s, "a")
	s.receive(t, control.KindApplied)
	done := h.open()
	h.answerOpen(s)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Two proxies don't fight for a place, and another version is not asked again.
func TestLinkIsTurnedAway(t *testing.T) {
	t.Parallel()
	t.Run("replaced", func(t *testing.T) {
		h := newHost(t, time.Minute)
		s := h.daemon("a")
		s.Dismiss(control.Message{Kind: control.KindError, Code: control.CodeReplaced, Text: "another one"})
		var refused *control.Error
		if err := <-h.ended; !errors.As(err, &refused) || refused.Code != control.CodeReplaced {
			t.Errorf("got %v", err)
		}
	})
	t.Run("version", func(t *testing.T) {
		h := newHost(t, time.Minute)
		socket, err := h.listener.AcceptUnix()
		if err != nil {
			t.Fatal(err)
		}
		conn, err := control.NewConn(socket)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		h.send(stand{Conn: conn}, control.Message{Kind: control.KindError, Code: control.CodeVersion, Text: "install the same"})
		var refused *control.Error
		if err := <-h.ended; !errors.As(err, &refused) || refused.Text != "install the same" {
			t.Errorf("got %v", err)
		}
	})
}
