package resume

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// call is a call whose messages the test makes.
type call struct {
	*link.Queue
	detached, cancelled bool
	left                int
}

func newCall() *call { return &call{Queue: link.NewQueue()} }

func (c *call) Cancel(string) { c.cancelled = true }
func (c *call) Detach()       { c.detached = true }
func (c *call) Leave()        { c.left++ }

func (c *call) say(n int, size int) {
	params := fmt.Appendf(nil, `{"n":%d,"x":%q}`, n, strings.Repeat("x", size))
	c.Force(mcp.NewRequest(nil, "say", params))
}

func (c *call) answer() { c.Force(mcp.NewResult([]byte("1"), []byte("{}"))) }

// take returns the ids that a reader gives.
func take(r *Reader) (ids string, more bool) {
	events, more := r.Take()
	for _, e := range events {
		ids += e.ID() + " "
	}
	return strings.TrimSpace(ids), more
}

func want(t *testing.T, r *Reader, ids string, more bool) {
	t.Helper()
	if got, goesOn := take(r); got != ids || goesOn != more {
		t.Errorf("got %q, more %v, want %q, %v", got, goesOn, ids, more)
	}
}

func resumed(t *testing.T, s *Session, id string) *Reader {
	t.Helper()
	r, err := s.Resume(id, nil)
	if err != nil {
		t.Fatalf("resume %s: %v", id, err)
	}
	return r
}

func TestResume(t *testing.T) {
	t.Parallel()
	s, c := new(Session), newCall()
	first := s.Call(c)
	if first.Start() != "c1-0" {
		t.Errorf("got %s", first.Start())
	}
	if len(first.Woken()) > 0 {
		t.Error("who reads a new call is woken for nothing")
	}
	c.say(1, 0)
	c.say(2, 0)
	want(t, first, "c1-1 c1-2", true)
	want(t, first, "", true)
	first.Close()
	c.say(3, 0)
	second := resumed(t, s, "c1-1")
	if len(second.Woken()) != 1 {
		t.Error("who reads again is not told that there may be something")
	}
	if second.Start() != "c1-1" {
		t.Errorf("got %s", second.Start())
	}
	want(t, second, "c1-2 c1-3", true)
	third := resumed(t, s, "c1-3")
	c.answer()
	want(t, second, "", false) // another has it
	want(t, third, "c1-4", false)
	third.Close()
	second.Close()
	want(t, resumed(t, s, "c1-0"), "c1-1 c1-2 c1-3 c1-4", false)
	if c.detached {
		t.Error("the call was given up")
	}
	for _, id := range []string{"", "c1", "c1-5", "c2-0", "l2-0", "c1--1", "c01-1", "cl1-1", "x1-1", "c1-1 ", "c1-99999999999999999999"} {
		if _, err := s.Resume(id, nil); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q: got %v", id, err)
		}
	}
}

// A call is told when nobody reads it: that is not so if another reader has the stream, or
// if it is finished.
func TestLeave(t *testing.T) {
	t.Parallel()
	s, c := new(Session), newCall()
	first := s.Call(c)
	second := resumed(t, s, "c1-0")
	first.Close()
	if c.left != 0 {
		t.Error("it was told that nobody reads, and somebody does")
	}
	second.Close()
	if c.left != 1 {
		t.Errorf("got told %d times that nobody reads, want once", c.left)
	}
	third := resumed(t, s, "c1-0")
	c.answer()
	want(t, third, "c1-1", false)
	third.Close()
	if c.left != 1 {
		t.Error("it was told of what it has answered")
	}
}

func TestForget(t *testing.T) {
	t.Parallel()
	s, c, answered := new(Session), newCall(), newCall()
	r := s.Call(c)
	r.Forget()
	if _, err := s.Resume("c1-0", nil); !errors.Is(err, ErrUnknown) || !c.detached {
		t.Errorf("got %v, detached %v", err, c.detached)
	}
	r = s.Call(answered)
	answered.answer()
	want(t, r, "c2-1", false)
	r.Forget()
	if answered.detached || s.bytes != 0 || len(s.streams) != 0 {
		t.Errorf("got %+v, detached %v", s, answered.detached)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	s, c := new(Session), newCall()
	s.Call(c).Cancel("")
	if !c.cancelled {
		t.Error("the call was not cancelled")
	}
}

// What is remembered is bounded, by number and size, of one stream and of all.
func TestBounds(t *testing.T) {
	t.Parallel()
	s := new(Session)
	few := newCall()
	r := s.Call(few)
	for n := range maxEvents + 10 {
		few.say(n, 0)
		want(t, r, fmt.Sprintf("c1-%d", n+1), true)
	}
	r.Close()
	if got, _ := take(resumed(t, s, "c1-0")); strings.Count(got, " ")+1 != maxEvents || !strings.HasPrefix(got, "c1-11 ") {
		t.Errorf("got %d events: %.20s", strings.Count(got, " ")+1, got)
	}
	for i := range 8 {
		big := newCall()
		r := s.Call(big)
		for n := range 4 {
			big.say(n, maxBytes/3)
			want(t, r, fmt.Sprintf("c%d-%d", i+2, n+1), true)
		}
		r.Close()
		if s.bytes > maxAllBytes {
			t.Fatalf("got %d bytes remembered", s.bytes)
		}
	}
	if got, _ := take(resumed(t, s, "c9-0")); got != "c9-3 c9-4" { // more are over the bound of one stream
		t.Errorf("got %q of the newest", got)
	}
	if got, _ := take(resumed(t, s, "c2-0")); got != "" {
		t.Errorf("got %q of one that made room", got)
	}
	huge := newCall()
	r = s.Call(huge)
	huge.say(0, 2*maxAllBytes)
	want(t, r, "c10-1", true)
	if got, _ := take(resumed(t, s, "c10-0")); got != "c10-1" {
		t.Errorf("got %q, want the one that is over the bound", got)
	}
}

// A client that loses one stream after another does not keep all of them.
func TestUnreadStreamsAreBounded(t *testing.T) {
	t.Parallel()
	s := new(Session)
	var calls []*call
	for range maxUnread + 2 {
		c := newCall()
		calls = append(calls, c)
		s.Call(c).Close()
	}
	for i, c := range calls {
		if c.detached != (i < 2) {
			t.Errorf("call %d: detached %v", i+1, c.detached)
		}
	}
	if _, err := s.Resume("c2-0", nil); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v", err)
	}
	resumed(t, s, "c3-0")
}

// inbox is one that counts who has it.
type inbox struct {
	queue        *link.Queue
	opened, done int
}

func (i *inbox) open() (*Inbox, error) {
	i.opened++
	return &Inbox{Queue: i.queue, Done: make(chan struct{}), Stop: func() { i.done++ }}, nil
}

func (i *inbox) say() { i.queue.Force(mcp.NewRequest(nil, "say", nil)) }

func TestListeners(t *testing.T) {
	t.Parallel()
	s, in := new(Session), &inbox{queue: link.NewQueue()}
	listen := func() *Reader {
		t.Helper()
		r, err := s.Listen(in.open)
		if err != nil {
			t.Fatal(err)
		}
		<-r.Woken()
		return r
	}
	older, newer := listen(), listen()
	in.say()
	want(t, older, "", true) // it took the token, and passes it on
	<-newer.Woken()
	want(t, newer, "l2-1", true)
	newer.Close()
	in.say()
	<-older.Woken() // its turn again
	want(t, older, "l1-1", true)
	older.Close()
	if in.opened != 1 || in.done != 1 {
		t.Errorf("got the inbox opened %d times and given back %d times", in.opened, in.done)
	}
	in.say() // while nobody listens
	again, err := s.Resume("l2-0", in.open)
	if err != nil {
		t.Fatal(err)
	}
	want(t, again, "l2-1 l2-2", true)
	if again.Over() == nil {
		t.Error("a listener that was resumed does not end with its session")
	}
	if _, err := s.Resume("l3-0", in.open); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v for a stream that never was", err)
	}
	again.Close()
	if in.opened != 2 || in.done != 2 {
		t.Errorf("got the inbox opened %d times and given back %d times", in.opened, in.done)
	}
	denied := errors.New("denied")
	if _, err := s.Listen(func() (*Inbox, error) { return nil, denied }); !errors.Is(err, denied) {
		t.Errorf("got %v", err)
	}
}

// A listener's stream that is forgotten goes on as another.
func TestForgottenListener(t *testing.T) {
	t.Parallel()
	s, in := new(Session), &inbox{queue: link.NewQueue()}
	for range maxUnread + 1 {
		r, err := s.Listen(in.open)
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
	r, err := s.Resume("l1-0", in.open)
	if err != nil {
		t.Fatal(err)
	}
	in.say()
	want(t, r, fmt.Sprintf("l%d-1", maxUnread+2), true)
}

func TestListenersAreBounded(t *testing.T) {
	t.Parallel()
	s, in := new(Session), &inbox{queue: link.NewQueue()}
	var readers []*Reader
	for range maxListeners + 1 {
		r, err := s.Listen(in.open)
		if err != nil {
			t.Fatal(err)
		}
		readers = append(readers, r)
	}
	want(t, readers[0], "", false)
	want(t, readers[1], "", true)
	for _, r := range readers {
		r.Close()
	}
	if in.done != 1 {
		t.Errorf("got the inbox given back %d times", in.done)
	}
}

// An id comes from anybody: what is read is what was written.
func FuzzParse(f *testing.F) {
	for _, id := range []string{"c1-0", "l7-12", "c-1", "x", "c1-+1"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		p, err := parse(id)
		if err == nil && (p.String() != id || p.event < 0 || p.stream < 0) {
			t.Errorf("%q: got %+v", id, p)
		}
	})
}
