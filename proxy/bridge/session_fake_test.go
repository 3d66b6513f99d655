package bridge

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// fakeServer is a stateless-era server whose answers a test writes.
type fakeServer struct {
	offers string // capabilities; "": logging, subscriptions and all lists

	mu      sync.Mutex
	refusal error // of every Do
	handle  func(*fakeCall)
	calls   []*fakeCall
}

// fakeCall is one request at a fakeServer.
type fakeCall struct {
	*link.Queue
	request   mcp.Message
	cancelled chan string
	once      sync.Once
}

const everything = `{"logging":{},"completions":{},"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"subscribe":true,"listChanged":true},"extensions":{"a/b":{}},"experimental":{"x":{}},"new":{}}`

func (f *fakeServer) Do(_ context.Context, request mcp.Message) (link.Call, error) {
	c := &fakeCall{Queue: link.NewQueue(), request: request, cancelled: make(chan string, 1)}
	f.mu.Lock()
	refusal, handle := f.refusal, f.handle
	if refusal == nil {
		f.calls = append(f.calls, c)
	}
	f.mu.Unlock()
	if refusal != nil {
		return nil, refusal
	}
	if request.Method() == mcp.MethodDiscover {
		offers := f.offers
		if offers == "" {
			offers = everything
		}
		c.result(`{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":%s,"instructions":"be kind","ttlMs":5,"cacheScope":"public","big":9007199254740993,"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"fake","version":"1e3"}}}`, offers)
		return c, nil
	}
	if handle != nil {
		handle(c)
	}
	return c, nil
}

// does makes the server do something else from now on.
func (f *fakeServer) does(handle func(*fakeCall)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.handle = handle
}

// refuses makes the server refuse every request; nil: none.
func (f *fakeServer) refuses(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refusal = err
}

// at returns the n-th request after server/discover.
func (f *fakeServer) at(t *testing.T, n int) *fakeCall {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.calls) <= n+1 {
		t.Fatalf("got %d requests at the server, want one more than %d", len(f.calls)-1, n)
	}
	return f.calls[n+1]
}

func (f *fakeServer) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.calls) - 1
}

func (c *fakeCall) Cancel(reason string) {
	c.once.Do(func() {
		c.cancelled <- reason
		c.Force(mcp.NewError(c.request.ID(), mcp.CodeInternal, "cancelled", nil))
	})
}

func (c *fakeCall) Detach() {}

func (c *fakeCall) result(format string, args ...any) {
	c.once.Do(func() { c.Force(mcp.NewResult(c.request.ID(), fmt.Appendf(nil, format, args...))) })
}

func (c *fakeCall) error(code int, text, data string) {
	c.once.Do(func() { c.Force(mcp.NewError(c.request.ID(), code, text, []byte(data))) })
}

func (c *fakeCall) notify(method, params string) {
	c.Offer(mcp.NewRequest(nil, method, []byte(params)))
}

// input asks for more input.
func (c *fakeCall) input(requests, state string) {
	members := `"resultType":"input_required"`
	if requests != "" {
		members += `,"inputRequests":` + requests
	}
	if state != "" {
		members += `,"requestState":` + state
	}
	c.result("{%s}", members)
}

// param is a raw value inside the params of the request.
func (c *fakeCall) param(path ...string) string {
	return string(c.request.At(c.request.Param(path...)))
}

const allCapabilities = `{"roots":{"listChanged":true},"sampling":{"tools":{},"context":{}},"elicitation":{"form":{},"url":{}},"tasks":{}}`

// newSession returns a session that is initialized, and closes it in the end.
func newSession(t *testing.T, server link.Server, revision, capabilities string) *Session {
	t.Helper()
	s := bareSession(t, server)
	answer := s.ask(t, `{"jsonrpc":"2.0","id":"hello","method":"initialize","params":{"protocolVersion":%q,"capabilities":%s,"clientInfo":{"name":"client","version":"2"}}}`, revision, capabilities)
	if answer.Err() != nil {
		t.Fatalf("initialize: %s", answer.Raw())
	}
	return s.Session
}

func bareSession(t *testing.T, server link.Server) driven {
	t.Helper()
	s := NewSession(server, Info{Gateway: "gate", Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() {
		s.Close()
		select {
		case <-s.Done():
		case <-time.After(20 * time.Second):
			t.Error("something of the session is left")
		}
	})
	return driven{s}
}

// driven is a session with what a test does to it.
type driven struct{ *Session }

func message(t *testing.T, format string, args ...any) mcp.Message {
	t.Helper()
	m, err := mcp.Parse(fmt.Appendf(nil, format, args...))
	if err != nil {
		t.Fatalf("%v: %s", err, fmt.Sprintf(format, args...))
	}
	return m
}

func (s driven) call(t *testing.T, format string, args ...any) link.Call {
	t.Helper()
	call, err := s.Call(t.Context(), message(t, format, args...))
	if err != nil {
		t.Fatal(err)
	}
	return call
}

func (s driven) send(t *testing.T, format string, args ...any) {
	t.Helper()
	if err := s.Send(t.Context(), message(t, format, args...)); err != nil {
		t.Fatal(err)
	}
}

// ask calls and waits for the response.
func (s driven) ask(t *testing.T, format string, args ...any) mcp.Message {
	t.Helper()
	return response(t, s.call(t, format, args...))
}

// source is a call or an inbox.
type source interface {
	Ready() <-chan struct{}
	Take() []mcp.Message
}

// take waits for n messages and returns them.
func take(t *testing.T, from source, n int) []mcp.Message {
	t.Helper()
	var got []mcp.Message
	timeout := time.After(time.Hour) // of a synctest bubble's clock, mostly
	for len(got) < n {
		select {
		case <-from.Ready():
			got = append(got, from.Take()...)
		case <-timeout:
			t.Fatalf("got %d messages, want %d: %s", len(got), n, raw(got))
		}
	}
	if len(got) > n {
		t.Fatalf("got %d messages, want %d: %s", len(got), n, raw(got))
	}
	return got
}

// response waits for the one message that is left.
func response(t *testing.T, call link.Call) mcp.Message {
	t.Helper()
	m := take(t, call, 1)[0]
	if m.Kind() != mcp.Response {
		t.Fatalf("got %s, want a response", m.Raw())
	}
	return m
}

func raw(messages []mcp.Message) string {
	var lines []string
	for _, m := range messages {
		lines = append(lines, string(m.Raw()))
	}
	return strings.Join(lines, "\n")
}

// equal compares JSON by its sense, numbers by their digits.
func equal(t *testing.T, got []byte, want string) {
	t.Helper()
	sense := func(text string) string {
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		sorted, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(sorted)
	}
	if g, w := sense(string(got)), sense(want); g != w {
		t.Errorf("got  %s\nwant %s", g, w)
	}
}

// pass lets time pass on the clock of a synctest bubble.
func pass(d time.Duration) { <-time.After(d) }
