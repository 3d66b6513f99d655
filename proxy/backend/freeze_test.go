package backend

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"mcpgateway/proxy/link"
	"mcpgateway/runtime/control"
)

// freezing gives an instance that is soon frozen. halting comes before each freeze
// and thaw.
func freezing(t *testing.T, halting func(freeze bool) error) *Conn {
	t.Helper()
	pool, opener := newPool(t)
	opener.Halting = halting
	s := spec("echo")
	s.FreezeAfter = 10 * time.Millisecond
	return start(t, pool, s)
}

// told gives an instance that is soon frozen, and tells of each freeze (true) and
// thaw (false) before it is done.
func told(t *testing.T) (*Conn, <-chan bool) {
	t.Helper()
	halts := make(chan bool)
	return freezing(t, func(freeze bool) error {
		select {
		case halts <- freeze:
		case <-t.Context().Done():
		}
		return nil
	}), halts
}

func TestIdleInstanceIsFrozen(t *testing.T) {
	conn, halts := told(t)
	for range 3 {
		if !<-halts {
			t.Fatal("thawed before it was frozen")
		}
		c, err := conn.Call(t.Context(), parse(t, `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"again"}}`))
		if err != nil {
			t.Fatal(err)
		}
		if <-halts {
			t.Fatal("frozen with a call in flight")
		}
		if response := wait(t, c)[0]; response.Err() != nil || string(response.ID()) != "7" {
			t.Errorf("got %s", response.Raw())
		}
	}
}

// TestFrozenInstanceGivesMemoryBack: once for each time that it is frozen.
func TestFrozenInstanceGivesMemoryBack(t *testing.T) {
	pool, opener := newPool(t)
	events := make(chan string)
	tell := func(event string) {
		select {
		case events <- event:
		case <-t.Context().Done():
		}
	}
	opener.Halting = func(freeze bool) error {
		tell(map[bool]string{true: "freeze", false: "thaw"}[freeze])
		return nil
	}
	opener.Reclaiming = func(sandbox string) { tell("reclaim " + sandbox) }
	s := spec("echo")
	s.FreezeAfter, s.ReclaimAfter = 10*time.Millisecond, 30*time.Millisecond
	conn := start(t, pool, s)
	for range 2 {
		for _, want := range []string{"freeze", "reclaim " + conn.Sandbox()} {
			if got := <-events; got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
		c, err := conn.Call(t.Context(), parse(t, `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"again"}}`))
		if err != nil {
			t.Fatal(err)
		}
		if got := <-events; got != "thaw" {
			t.Fatalf("got %q, want a thaw", got)
		}
		if response := wait(t, c)[0]; response.Err() != nil {
			t.Errorf("got %s", response.Raw())
		}
	}
}

// TestCallsMeetTheFreeze: what comes while the server is being frozen waits, in its
// order.
func TestCallsMeetTheFreeze(t *testing.T) {
	begun, goOn := make(chan bool), make(chan struct{})
	conn := freezing(t, func(freeze bool) error {
		select {
		case begun <- freeze:
			<-goOn
		case <-t.Context().Done():
		}
		return nil
	})
	if !<-begun {
		t.Fatal("thawed before it was frozen")
	}
	var calls []link.Call
	for i := range 5 {
		c, err := conn.Call(t.Context(), parse(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"again"}}`, i)))
		if err != nil {
			t.Fatal(err)
		}
		calls = append(calls, c)
	}
	goOn <- struct{}{}
	if <-begun {
		t.Fatal("frozen again with calls in flight")
	}
	for _, c := range calls {
		select {
		case <-c.Ready():
			t.Error("answered by a frozen server")
		default:
		}
	}
	goOn <- struct{}{}
	for i, c := range calls {
		// The server quotes its line; the ids toward it are in the order of the calls.
		if text := string(wait(t, c)[0].Raw()); !strings.Contains(text, fmt.Sprintf(`\"id\":%d`, i+1)) {
			t.Errorf("call %d: got %s", i, text)
		}
	}
}

// TestThawFails: a server that can't be thawed is lost, and its callers hear so.
func TestThawFails(t *testing.T) {
	frozen := make(chan struct{})
	conn := freezing(t, func(freeze bool) error {
		if !freeze {
			return &control.Error{Code: control.CodeRefused, Text: "the kernel says no"}
		}
		close(frozen)
		return nil
	})
	<-frozen
	response := call(t, conn, `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"again"}}`)[0]
	if text, _ := response.Text(response.InError("message")); !strings.Contains(text, `server "echo" was stopped: it was frozen`) || !strings.Contains(text, "the kernel says no") {
		t.Errorf("got %s", response.Raw())
	}
	<-conn.Done()
}

// TestFreezeRefused: where nothing can be frozen, the server just runs.
func TestFreezeRefused(t *testing.T) {
	asked := make(chan struct{})
	conn := freezing(t, func(freeze bool) error {
		if !freeze {
			t.Error("thawed what was not frozen")
		}
		close(asked) // a second time panics
		return &control.Error{Code: control.CodeRefused, Text: "no freezer"}
	})
	<-asked
	if response := call(t, conn, `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"again"}}`)[0]; response.Err() != nil {
		t.Errorf("got %s", response.Raw())
	}
}

// TestDaemonDoesNotSay: an instance of which the daemon did not say whether it is
// frozen is thawed.
func TestDaemonDoesNotSay(t *testing.T) {
	halts := make(chan bool, 8)
	conn := freezing(t, func(freeze bool) error {
		halts <- freeze
		if freeze {
			return errors.New("no answer")
		}
		return nil
	})
	if !<-halts {
		t.Fatal("thawed before it was frozen")
	}
	call(t, conn, `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"again"}}`)
	if <-halts {
		t.Error("frozen again")
	}
}

func TestListenerThaws(t *testing.T) {
	conn, halts := told(t)
	if !<-halts {
		t.Fatal("thawed before it was frozen")
	}
	_, stop, ok := conn.Listen()
	if !ok || <-halts {
		t.Error("it stays frozen for a listener")
	}
	stop()
	if !<-halts {
		t.Error("not frozen after the listener has gone")
	}
}

// TestBusy has what an instance is not frozen for.
func TestBusy(t *testing.T) {
	pool, _ := newPool(t)
	s := spec("echo")
	busy := func(conn *Conn) bool {
		now := time.Now()
		return !conn.quietSince().Before(now)
	}
	conn := start(t, pool, s)
	if busy(conn) {
		t.Error("busy before it was used")
	}
	c, err := conn.Call(t.Context(), parse(t, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wait"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if !busy(conn) {
		t.Error("not busy with a call in flight")
	}
	c.Detach()
	if !busy(conn) {
		t.Error("not busy with a call that nobody waits for")
	}
	c.Cancel("test")
	if busy(conn) {
		t.Error("busy after its last call")
	}
	_, stop, _ := conn.Listen()
	if !busy(conn) {
		t.Error("not busy with a listener")
	}
	stop()
	if busy(conn) {
		t.Error("busy after its listener has gone")
	}
	call(t, conn, `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"again","task":{"ttl":1000}}}`)
	if !busy(conn) {
		t.Error("not busy with a task")
	}
}
