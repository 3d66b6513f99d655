package backend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/redactor"
	"mcpgateway/runtime/control"
)

func TestOutboxWaitsForRoom(t *testing.T) {
	t.Parallel()
	o := newOutbox()
	m := mcp.NewRequest(nil, "a", mcp.Quote(strings.Repeat("x", maxOutbox)))
	if err := o.put(t.Context(), m, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := o.put(ctx, m, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("got error %v from a full outbox, want %v", err, context.Canceled)
	}
	waiting := make(chan error)
	go func() { waiting <- o.put(t.Context(), m, nil) }()
	for range 2 {
		<-o.filled
		if lines := o.take(); len(lines) != len(m.Raw())+1 {
			t.Errorf("got %d bytes, want %d", len(lines), len(m.Raw())+1)
		}
	}
	if err := <-waiting; err != nil {
		t.Errorf("got error %v after room was made", err)
	}
	go func() { waiting <- o.put(t.Context(), m, nil) }()
	o.close(errSession)
	o.close(errIdle) // the first cause stays
	<-waiting
	if err := o.put(t.Context(), m, nil); !errors.Is(err, errSession) {
		t.Errorf("got error %v after the end, want %v", err, errSession)
	}
	if lines := o.take(); lines != nil || !o.ended() {
		t.Errorf("got %d bytes after the end", len(lines))
	}
}

// The notice of an exit may overtake the answer to the open it belongs to.
func TestExits(t *testing.T) {
	t.Parallel()
	var e exits
	late := e.expect("late")
	e.deliver(control.Exit{Sandbox: "early", Status: 1})
	e.deliver(control.Exit{Sandbox: "late", Status: 2})
	if got := <-e.expect("early"); got.Status != 1 {
		t.Errorf("early: got status %d, want 1", got.Status)
	}
	if got := <-late; got.Status != 2 {
		t.Errorf("late: got status %d, want 2", got.Status)
	}
	for i := range 3 * maxEarlyExits {
		e.deliver(control.Exit{Sandbox: fmt.Sprint(i)})
	}
	e.expect("forgotten")
	e.forget("forgotten")
	if len(e.early) != maxEarlyExits || len(e.waiting) != 0 {
		t.Errorf("got %d early and %d waiting, want %d and 0", len(e.early), len(e.waiting), maxEarlyExits)
	}
}

func TestThrottle(t *testing.T) {
	t.Parallel()
	var th throttle
	now := time.Unix(1000, 0)
	allowed := 0
	for range 10 * logLinesASec {
		if th.allow(now, logLinesASec) {
			allowed++
		}
	}
	if allowed != logLinesASec || th.reset() != 9*logLinesASec || !th.allow(now.Add(time.Second), logLinesASec) {
		t.Errorf("got %d lines in a second, want %d", allowed, logLinesASec)
	}
}

// bare is a Conn that has nothing but a log.
func bare(log io.Writer, secret *redactor.Redactor) *Conn {
	c := &Conn{log: slog.New(slog.NewTextHandler(log, nil)), secret: secret}
	c.settings.Store(&Spec{StderrLines: logLinesASec})
	return c
}

func TestDrainStderr(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	text := "first\n\x1b[31mred\n" + strings.Repeat("y", 10<<20) + "\nlast words"
	conn := bare(&log, nil)
	tail := conn.drainStderr(strings.NewReader(text))
	if len(tail) > maxStderrTail || !bytes.HasPrefix(tail, []byte("first\n")) || !bytes.HasSuffix(tail, []byte("yy\nlast words\n")) {
		t.Errorf("got a tail of %d bytes that ends with %.20q", len(tail), tail[len(tail)-10:])
	}
	if log.Len() > 8<<10 || !strings.Contains(log.String(), "first") || strings.Contains(log.String(), "\x1b") {
		t.Errorf("got a log of %d bytes: %.300s", log.Len(), log.String())
	}
}

// As many lines are logged as the configuration says, also while the server runs, and
// none is left out unseen.
func TestStderrLines(t *testing.T) {
	t.Parallel()
	for most, want := range map[int]int{0: 0, 1: 1, 3: 3, 1000: 50} {
		var log bytes.Buffer
		conn := bare(&log, nil)
		conn.settings.Store(&Spec{StderrLines: most})
		conn.drainStderr(strings.NewReader(strings.Repeat("line\n", 50)))
		shown, untold := strings.Count(log.String(), "text=line"), 0
		for line := range strings.Lines(log.String()) {
			if _, text, ok := strings.Cut(line, "suppressed="); ok {
				n, err := strconv.Atoi(strings.TrimSpace(text))
				if err != nil {
					t.Fatal(err)
				}
				untold += n
			}
		}
		// The clock's next second may come meanwhile.
		if shown < want || shown > 2*want || most > 0 && shown+untold != 50 || most == 0 && log.Len() > 0 {
			t.Errorf("%d a second: got %d lines and %d suppressed, want %d: %s", most, shown, untold, want, log.String())
		}
	}
}

func FuzzDrainStderr(f *testing.F) {
	f.Add([]byte("a\n\nb\xff"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var log bytes.Buffer
		conn := bare(&log, nil)
		tail := conn.drainStderr(bytes.NewReader(text))
		if len(tail) == 0 || len(tail) > min(len(text)+1, maxStderrTail) {
			t.Errorf("got a tail of %d bytes for %d", len(tail), len(text))
		}
		if got := bytes.Count(log.Bytes(), []byte("\n")); got > 2*logLinesASec {
			t.Errorf("got %d log lines", got)
		}
	})
}

// stuck is a daemon that never answers an open.
type stuck struct {
	Opener
	asked chan struct{}
}

func (s stuck) Open(ctx context.Context, _, _ string) (control.Opened, error) {
	close(s.asked)
	<-ctx.Done()
	return control.Opened{}, ctx.Err()
}

func TestCloseEndsAStartThatHangs(t *testing.T) {
	t.Parallel()
	opener := stuck{asked: make(chan struct{})}
	pool := NewPool(opener, nil, slog.New(slog.NewTextHandler(t.Output(), nil)))
	failed := make(chan error)
	go func() {
		_, err := pool.Start(t.Context(), spec("echo"))
		failed <- err
	}()
	<-opener.asked
	pool.Close()
	if err := <-failed; !errors.Is(err, errShutdown) {
		t.Errorf("got error %v, want %v", err, errShutdown)
	}
	if _, err := pool.Start(t.Context(), spec("echo")); !errors.Is(err, errShutdown) {
		t.Errorf("after the end: got error %v, want %v", err, errShutdown)
	}
}
