package bridge

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// Most calls are answered at once: nobody stands between server and reader.
func TestForwardedCallsHaveNoGoroutines(t *testing.T) {
	server := &fakeServer{}
	s := driven{newSession(t, server, "2025-11-25", `{}`)}
	before := runtime.NumGoroutine()
	const many = 100
	for range many {
		s.call(t, toCall)
	}
	if got := runtime.NumGoroutine(); got >= before+many/2 {
		t.Errorf("got %d goroutines after %d calls, and %d before", got, many, before)
	}
}

// While nobody reads, the call goes on and is over for the server when it has answered;
// who reads again has all of it.
func TestLeave(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		before bool // the server's messages come before nobody reads
	}{{"before", true}, {"after", false}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := &fakeServer{}
			s := driven{newSession(t, server, "2025-11-25", `{}`)}
			call := s.call(t, toCall)
			speak := func() {
				server.at(t, 0).notify(mcp.MethodProgress, `{"progress":1}`)
				server.at(t, 0).result(`{"resultType":"complete"}`)
			}
			if test.before {
				speak()
				<-call.Ready()
			}
			call.Leave()
			call.Leave()
			if !test.before {
				speak()
			}
			for s.inFlight() > 0 {
				runtime.Gosched()
			}
			got := take(t, call, 2)
			if got[0].Method() != mcp.MethodProgress || string(got[1].Result()) != "{}" {
				t.Errorf("got %s", raw(got))
			}
		})
	}
}

func (s driven) inFlight() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ongoing)
}

// A call that is cancelled has one response, whoever waits for it: what the server has
// answered by then, or why it has not.
func TestForwardedIsCancelled(t *testing.T) {
	t.Parallel()
	const why = "the request was cancelled: the client cancelled it"
	for _, test := range []struct {
		name  string
		leave bool
		prior func(c *fakeCall)
		want  string
		told  bool // the server
	}{
		{"in flight", false, func(*fakeCall) {}, why, true},
		{"in flight, and nobody reads", true, func(*fakeCall) {}, why, true},
		{"answered", false, func(c *fakeCall) { c.result(`{"a":1}`) }, `"result":{"a":1}`, false},
		{"asked", false, func(c *fakeCall) { c.input(`{"a":`+roots+`}`, "") }, why, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := &fakeServer{}
			s := driven{newSession(t, server, "2025-11-25", allCapabilities)}
			call := s.call(t, toCall)
			if test.leave {
				call.Leave()
			}
			test.prior(server.at(t, 0))
			s.send(t, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"it"}}`)
			s.send(t, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"it"}}`)
			got, err := link.Await(t.Context(), call)
			if err != nil || !strings.Contains(string(got.Raw()), test.want) {
				t.Errorf("got %s, %v", got.Raw(), err)
			}
			if left := call.Take(); len(left) > 0 {
				t.Errorf("got more: %s", raw(left))
			}
			if told := len(server.at(t, 0).cancelled) > 0; told != test.told {
				t.Errorf("got told %v, want %v", told, test.told)
			}
			for s.inFlight() > 0 {
				runtime.Gosched()
			}
		})
	}
}

// slow takes a request when it is released, or not at all.
type slow struct {
	*fakeServer
	entered chan struct{}
	release chan struct{}
	deaf    bool // to the end of the context
}

func (s *slow) Do(ctx context.Context, request mcp.Message) (link.Call, error) {
	if request.Method() != mcp.MethodToolsCall {
		return s.fakeServer.Do(ctx, request)
	}
	close(s.entered)
	if !s.deaf {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	<-s.release
	return s.fakeServer.Do(ctx, request)
}

// What ends before its server has it, does not reach the server or is cancelled there.
func TestForwardedEndsEarly(t *testing.T) {
	t.Parallel()
	cancel := func(s driven) {
		_ = s.Send(context.Background(), mcp.NewRequest(nil, mcp.MethodCancelled, []byte(`{"requestId":"it"}`)))
	}
	for _, test := range []struct {
		name string
		deaf bool
		end  func(s driven)
		want string
	}{
		{"cancelled", false, cancel, "the client cancelled it"},
		{"cancelled, unheard", true, cancel, "the client cancelled it"},
		{"closed", false, func(s driven) { s.Close() }, errClosed.Error()},
		{"closed, unheard", true, func(s driven) { s.Close() }, errClosed.Error()},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := &slow{&fakeServer{}, make(chan struct{}), make(chan struct{}), test.deaf}
			s := driven{newSession(t, server, "2025-11-25", `{}`)}
			go func() {
				<-server.entered
				test.end(s)
				close(server.release)
			}()
			call, err := s.Call(t.Context(), message(t, toCall))
			got := ""
			if err != nil {
				got = err.Error()
			} else {
				got = string(response(t, call).Err())
				select {
				case <-server.at(t, 0).cancelled:
				case <-time.After(time.Minute):
					t.Error("the server was not told")
				}
			}
			if !strings.Contains(got, test.want) || (err == nil) != test.deaf {
				t.Errorf("got %q (%v)", got, err)
			}
		})
	}
}
