package httpfront

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"mcpgateway/proxy/mcp"
)

// sessionOf opens a session of a revision and returns the header that names it.
func (g *gateway) sessionOf(server, revision string) string {
	g.t.Helper()
	got := g.do("POST", server, strings.Replace(initializeBody, "2025-11-25", revision, 1))
	if !strings.Contains(got.body, `"protocolVersion":"`+revision+`"`) {
		g.t.Fatalf("initialize: got %+v, want revision %s", got, revision)
	}
	return mcp.HeaderSession + ": " + got.header.Get(mcp.HeaderSession)
}

// following is a stream that is read step by step.
type following struct {
	*bufio.Reader
	cut func()
}

// open makes a request whose answer is a stream.
func (g *gateway) open(method, server, body string, headers ...string) *following {
	g.t.Helper()
	ctx, cancel := context.WithCancel(g.t.Context())
	response, err := g.client.Do(g.request(method, server, body, headers...).WithContext(ctx))
	if err != nil {
		g.t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" || response.Header.Get("X-Accel-Buffering") != "no" {
		g.t.Fatalf("got %s with headers %v, want a stream", response.Status, response.Header)
	}
	g.t.Cleanup(func() {
		cancel()
		response.Body.Close()
	})
	return &following{bufio.NewReader(response.Body), cancel}
}

const answer = `{"jsonrpc":"2.0","id":"ask-1","result":{"n":1e3}}`

// A call whose client has lost its connection goes on, and the client can have the
// rest of its stream, and of no other.
func TestResumeCall(t *testing.T) {
	for _, revision := range []string{"2025-03-26", "2025-06-18", "2025-11-25"} {
		t.Run(revision, func(t *testing.T) {
			g := newGateway(t, nil)
			session := g.sessionOf("echo", revision)
			first := g.open("POST", "echo", toolCall(`"c"`, "ask", ""), session)
			if revision == "2025-11-25" {
				if prime := eventsOf(first, 1); len(prime) != 1 || prime[0] != (event{id: "c1-0", retry: "1000"}) {
					t.Errorf("got %+v, want a priming event", prime)
				}
			}
			asked := eventsOf(first, 1)
			if len(asked) != 1 || asked[0].id != "c1-1" || asked[0].name != "message" || asked[0].retry != "" || !strings.Contains(asked[0].data, "sampling") {
				t.Fatalf("got %+v", asked)
			}
			first.cut()
			// The one that the client lost is still in flight, and is not told of what is
			// on this stream.
			if got := g.do("POST", "echo", toolCall("2", "again", ""), session); !strings.Contains(got.body, `"id":2`) {
				t.Errorf("another call: got %+v", got)
			}
			if got := g.do("POST", "echo", answer, session); got.status != http.StatusAccepted {
				t.Errorf("answer: got %+v", got)
			}
			resumed := g.open("GET", "echo", "", session, "Last-Event-ID: c1-1")
			rest, err := io.ReadAll(resumed)
			if err != nil {
				t.Fatal(err)
			}
			last := eventsOf(strings.NewReader(string(rest)), 9)
			if revision == "2025-11-25" {
				last = last[1:] // primed again
			}
			if len(last) != 1 || last[0].id != "c1-2" || !strings.Contains(last[0].data, `"id":"c"`) || !strings.Contains(last[0].data, `\"n\":1e3`) {
				t.Errorf("got %+v", last)
			}
			// Again, from an earlier place.
			again := events(t, g.open("GET", "echo", "", session, "Last-Event-ID: c1-0"), 9)
			if len(again) != 2 || again[0] != asked[0].data || again[1] != last[0].data {
				t.Errorf("got %q", again)
			}
		})
	}
}

func TestResumeIsOfOneSession(t *testing.T) {
	g := newGateway(t, nil)
	session, other := g.session("echo"), g.session("echo")
	stream := g.open("POST", "echo", toolCall("1", "ask", ""), session)
	eventsOf(stream, 2)
	for id, want := range map[string]int{"c1-9": 400, "c2-0": 400, "x": 400, "c1": 400, "l7-0": 400, "c1--1": 400} {
		if got := g.do("GET", "echo", "", session, "Last-Event-ID: "+id); got.status != want {
			t.Errorf("%s: got %+v, want %d", id, got, want)
		}
	}
	if got := g.do("GET", "echo", "", other, "Last-Event-ID: c1-1"); got.status != http.StatusBadRequest {
		t.Errorf("another session: got %+v", got)
	}
	if got := g.do("GET", "echo", "", session, "Last-Event-ID: c1-1", "Authorization: Bearer "+g.other); got.status != http.StatusNotFound {
		t.Errorf("another caller: got %+v", got)
	}
	g.do("DELETE", "echo", "", session)
	if got := g.do("GET", "echo", "", session, "Last-Event-ID: c1-1"); got.status != http.StatusNotFound {
		t.Errorf("after the session: got %+v", got)
	}
}

// An answer that takes long becomes a stream that can be resumed; the client can
// still cancel it.
func TestLongCallIsPrimed(t *testing.T) {
	g := newGateway(t, nil)
	session := g.session("echo")
	stream := g.open("POST", "echo", toolCall("7", "wait", ""), session)
	if prime := eventsOf(stream, 1); len(prime) != 1 || prime[0].id != "c1-0" || prime[0].data != "" {
		t.Fatalf("got %+v", prime)
	}
	g.do("POST", "echo", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`, session)
	if got := events(t, stream, 1); len(got) != 1 || !strings.Contains(got[0], `"id":7,"error"`) {
		t.Errorf("got %q", got)
	}
}

// changed makes the server say that its tools have changed, which relates to no
// call.
func (g *gateway) changed(session string) {
	g.t.Helper()
	if got := g.do("POST", "echo", toolCall("1", "log", ""), session); got.status != http.StatusOK {
		g.t.Fatalf("got %+v", got)
	}
}

// A listener whose connection is dead does not keep a new one from listening.
func TestNewestListenerIsHeard(t *testing.T) {
	g := newGateway(t, nil)
	session := g.session("echo")
	older := g.open("GET", "echo", "", session)
	eventsOf(older, 1) // primed
	newer := g.open("GET", "echo", "", session)
	primed := eventsOf(newer, 1)
	g.changed(session)
	got := eventsOf(newer, 1)
	if len(got) != 1 || !strings.Contains(got[0].data, "tools/list_changed") {
		t.Fatalf("got %+v", got)
	}
	// The same stream once more: the connection that had it ends, and what it may not
	// have brought comes again.
	resumed := g.open("GET", "echo", "", session, "Last-Event-ID: "+primed[0].id)
	if again := events(t, resumed, 1); len(again) != 1 || again[0] != got[0].data {
		t.Errorf("got %q", again)
	}
	if rest, err := io.ReadAll(newer); err != nil || strings.Trim(string(rest), ":\n") != "" {
		t.Errorf("got %q, %v on the connection that was replaced", rest, err)
	}
	g.changed(session)
	if got := eventsOf(resumed, 1); len(got) != 1 || !strings.Contains(got[0].data, "tools/list_changed") {
		t.Errorf("got %+v", got)
	}
	g.do("DELETE", "echo", "", session)
	if rest, err := io.ReadAll(older); err != nil || strings.Trim(string(rest), ":\n") != "" {
		t.Errorf("got %q, %v on the older connection", rest, err)
	}
}

// Nothing is kept of calls that were answered at once, nor of sessions that have
// ended.
func TestNothingIsKeptInVain(t *testing.T) {
	g := newGateway(t, nil)
	kept := func() int {
		g.front.sessions.mu.Lock()
		defer g.front.sessions.mu.Unlock()
		return len(g.front.sessions.byID)
	}
	deleted, crashed := g.session("echo"), g.session("crash")
	for range 3 {
		g.do("POST", "echo", toolCall("1", "again", ""), deleted)
	}
	if got := kept(); got != 0 {
		t.Errorf("got %d sessions kept of which nothing is a stream", got)
	}
	if got := g.do("GET", "echo", "", deleted, "Last-Event-ID: c1-0"); got.status != http.StatusBadRequest {
		t.Errorf("got %+v", got)
	}
	g.do("POST", "crash", toolCall("1", "x", ""), crashed)
	for end := time.Now().Add(30 * time.Second); kept() != 1; { // that has ended is forgotten
		if time.Now().After(end) {
			t.Fatalf("got %d sessions kept", kept())
		}
		<-time.After(time.Millisecond)
	}
	g.do("DELETE", "echo", "", deleted)
	if got := kept(); got != 0 {
		t.Errorf("got %d sessions kept after one was deleted", got)
	}
	if got := g.do("POST", "crash", toolCall("2", "x", ""), crashed); got.status != http.StatusNotFound || kept() != 0 {
		t.Errorf("got %+v, and %d sessions kept", got, kept())
	}
}

// A client that would rather have streams gets one for each result, and in
// 2025-11-25 one that can be had again from its start. Errors of the stateless era
// keep their status.
func TestClientPrefersStreams(t *testing.T) {
	g := newGateway(t, nil)
	events := "Accept: text/event-stream, application/json"
	for revision, want := range map[string]int{"2025-11-25": 2, "2025-06-18": 1} {
		got := eventsOf(g.open("POST", "echo", toolCall("5", "again", ""), g.sessionOf("echo", revision), events), 9)
		if len(got) != want || !strings.Contains(got[want-1].data, `"id":5,"result"`) || got[want-1].id != "c1-1" {
			t.Errorf("revision %s: got %+v", revision, got)
		}
	}
	got := eventsOf(g.open("POST", "echo", statelessBody("6", "tools/list", ""), append(statelessHeadersFor("tools/list", ""), events)...), 9)
	if len(got) != 1 || got[0].id != "" || !strings.Contains(got[0].data, `"id":6,"result"`) {
		t.Errorf("stateless era: got %+v", got)
	}
	refused := g.do("POST", "echo", statelessBody("7", "some/method", ""), append(statelessHeadersFor("some/method", ""), events)...)
	if refused.status != http.StatusNotFound || refused.header.Get("Content-Type") != "application/json" {
		t.Errorf("error: got %+v", refused)
	}
}

// A crash ends neither the session nor what is listened to: the next request is answered
// by another process, and the listener is told to look again.
func TestSessionOutlivesACrash(t *testing.T) {
	g := newGateway(t, nil)
	session := g.session("mortal")
	if got := g.do("POST", "mortal", `{"jsonrpc":"2.0","method":"notifications/initialized"}`, session); got.status != http.StatusAccepted {
		t.Fatalf("got %+v", got)
	}
	stream := g.open("GET", "mortal", "", session)
	eventsOf(stream, 1) // primed
	if got := g.do("POST", "mortal", toolCall("1", "die", ""), session); got.status != http.StatusOK || !strings.Contains(got.body, `server \"mortal\" exited with status 3`) {
		t.Fatalf("the call in flight: got %+v", got)
	}
	if got := g.do("POST", "mortal", toolCall("2", "again", ""), session); got.status != http.StatusOK || !strings.Contains(got.body, `"x-server":"kept"`) {
		t.Fatalf("the next call: got %+v", got)
	}
	told := eventsOf(stream, 2)
	if len(told) != 2 || !strings.Contains(told[0].data, "tools/list_changed") || !strings.Contains(told[1].data, "resources/list_changed") {
		t.Fatalf("got %+v", told)
	}
	resumed := g.open("GET", "mortal", "", session, "Last-Event-ID: "+told[0].id)
	if again := events(t, resumed, 1); len(again) != 1 || again[0] != told[1].data {
		t.Errorf("the stream resumed: got %q", again)
	}
	if got := g.do("DELETE", "mortal", "", session); got.status != http.StatusNoContent {
		t.Errorf("got %+v", got)
	}
}
