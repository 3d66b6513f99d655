package retry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/proxytest"
	"mcpgateway/runtime/control"
)

func TestMain(m *testing.M) { os.Exit(proxytest.Main(m)) }

var spec = Spec{Retry: policy.Retry{Attempts: 3, Backoff: 100 * time.Millisecond, MaxBackoff: time.Second}, Limit: time.Minute}

func parse(t *testing.T, text string) mcp.Message {
	t.Helper()
	m, err := mcp.Parse([]byte(text))
	if err != nil {
		t.Fatalf("parse %s: %v", text, err)
	}
	return m
}

func list(t *testing.T) mcp.Message {
	t.Helper()
	return parse(t, `{"jsonrpc":"2.0","id":"mine","method":"tools/list"}`)
}

// script is a server of which each attempt goes as it says.
type script struct {
	steps []step

	mu    sync.Mutex
	asked []time.Time
	calls []*scripted
}

// step is how one attempt goes: an error, or messages, the last of which is a response
// unless it hangs.
type step struct {
	err      error
	messages []mcp.Message
}

// scripted is a call that tells whether it was cancelled or detached.
type scripted struct {
	*link.Queue
	cancelled, detached bool
}

func (c *scripted) Cancel(reason string) {
	c.cancelled = true
	c.Force(mcp.NewFailure([]byte(`"mine"`), mcp.FailureCancelled, reason))
}

func (c *scripted) Detach() { c.detached = true }

func (s *script) Do(ctx context.Context, _ mcp.Message) (link.Call, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.steps[len(s.asked)]
	s.asked = append(s.asked, time.Now())
	if next.err != nil {
		return nil, next.err
	}
	c := &scripted{Queue: link.NewQueue()}
	for _, m := range next.messages {
		c.Force(m)
	}
	s.calls = append(s.calls, c)
	return c, context.Cause(ctx)
}

var (
	good     = mcp.NewResult([]byte(`"mine"`), []byte(`{"tools":[]}`))
	died     = mcp.NewFailure([]byte(`"mine"`), mcp.FailureEnded, "it exited")
	progress = mcp.NewRequest(nil, mcp.MethodProgress, []byte(`{}`))
	ended    = step{err: &link.EndedError{Cause: errors.New("it has exited")}}
	limited  = step{err: fmt.Errorf("start: %w", &control.Error{Code: control.CodeLimit, Text: "too many"})}
)

// at is a notification of progress.
func at(progress float64) mcp.Message {
	return mcp.NewRequest(nil, mcp.MethodProgress, fmt.Appendf(nil, `{"progressToken":"p","progress":%v}`, progress))
}

func answer(messages ...mcp.Message) step { return step{messages: messages} }

// all reads a call to its response and gives what came, in short.
func all(t *testing.T, call link.Call) string {
	t.Helper()
	var got []string
	for {
		select {
		case <-call.Ready():
		case <-t.Context().Done():
			t.Fatal("there is no response")
		}
		for _, m := range call.Take() {
			if m.Kind() != mcp.Response {
				got = append(got, m.Method())
				continue
			}
			text, _ := m.Text(m.InError("message"))
			return strings.Join(append(got, string(m.Result())+text), " ")
		}
	}
}

func TestAttempts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		steps []step
		spec  func(*Spec)
		call  string // that is made; "": a list
		want  string // what comes, or the error
		asked int
	}{
		{name: "good", steps: []step{answer(progress, good)}, want: `notifications/progress {"tools":[]}`, asked: 1},
		{name: "died with progress", steps: []step{answer(at(0), at(1), died), answer(at(0), at(1), at(1.5), good)},
			want: `notifications/progress notifications/progress notifications/progress {"tools":[]}`, asked: 2},
		{name: "died without progress", steps: []step{answer(died), answer(at(-1), at(0), good)}, want: `notifications/progress notifications/progress {"tools":[]}`, asked: 2},
		{name: "died once", steps: []step{answer(progress, died), answer(progress, good)}, want: `notifications/progress notifications/progress {"tools":[]}`, asked: 2},
		{name: "died always", steps: []step{answer(died), answer(died), answer(died)}, want: "it exited", asked: 3},
		{name: "had ended", steps: []step{ended, ended, answer(good)}, want: `{"tools":[]}`, asked: 3},
		{name: "never there", steps: []step{ended, ended, ended}, want: "it has exited", asked: 3},
		{name: "too many start", steps: []step{limited, answer(good)}, want: `{"tools":[]}`, asked: 2},
		{name: "died, then not there", steps: []step{answer(died), limited, answer(good)}, want: `{"tools":[]}`, asked: 3},
		{name: "died, then refused", steps: []step{answer(died), {err: link.ErrBusy}}, want: "it exited", asked: 2},
		{name: "refused", steps: []step{{err: link.ErrBusy}}, want: link.ErrBusy.Error(), asked: 1},
		{name: "time-out", steps: []step{answer(mcp.NewFailure([]byte("1"), mcp.FailureLate, "late"))}, want: "late", asked: 1},
		{name: "the server's own error", steps: []step{answer(mcp.NewError([]byte("1"), mcp.CodeInternal, "oops", nil))}, want: "oops", asked: 1},
		{name: "off", steps: []step{answer(died)}, spec: func(s *Spec) { s.Attempts = 1 }, want: "it exited", asked: 1},
		{name: "zero", steps: []step{ended}, spec: func(s *Spec) { s.Retry = policy.Retry{} }, want: "it has exited", asked: 1},
		{name: "no time left", steps: []step{answer(died)}, spec: func(s *Spec) { s.Limit = 10 * time.Millisecond }, want: "it exited", asked: 1},
		{name: "a tool", steps: []step{answer(died)}, call: `"method":"tools/call","params":{"name":"x"}`, want: "it exited", asked: 1},
		{name: "a tool that was not reached", steps: []step{ended}, call: `"method":"tools/call","params":{"name":"x"}`, want: "it has exited", asked: 1},
		{name: "an idempotent tool", steps: []step{answer(died), answer(good)}, spec: func(s *Spec) { s.Idempotent = true }, call: `"method":"tools/call","params":{"name":"x"}`, want: `{"tools":[]}`, asked: 2},
		{name: "an answer to what was asked", steps: []step{answer(died)}, spec: func(s *Spec) { s.Idempotent = true }, call: `"method":"tools/call","params":{"name":"x","requestState":"s"}`, want: "it exited", asked: 1},
		{name: "a task", steps: []step{answer(died)}, spec: func(s *Spec) { s.Idempotent = true }, call: `"method":"tools/call","params":{"name":"x","task":{}}`, want: "it exited", asked: 1},
		{name: "a read", steps: []step{answer(died), answer(good)}, call: `"method":"resources/read","params":{"uri":"a:b"}`, want: `{"tools":[]}`, asked: 2},
		{name: "a subscription", steps: []step{answer(died)}, call: `"method":"subscriptions/listen","params":{}`, want: "it exited", asked: 1},
		{name: "of unknown effect", steps: []step{answer(died)}, spec: func(s *Spec) { s.Idempotent = true }, call: `"method":"x/y"`, want: "it exited", asked: 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server, by := &script{steps: test.steps}, spec
				if test.spec != nil {
					test.spec(&by)
				}
				request := list(t)
				if test.call != "" {
					request = parse(t, `{"jsonrpc":"2.0","id":"mine",`+test.call+`}`)
				}
				got := ""
				call, err := Do(t.Context(), server, request, by)
				if err != nil {
					got = err.Error()
				} else {
					got = all(t, call)
				}
				if got != test.want || len(server.asked) != test.asked {
					t.Errorf("got %q after %d attempts, want %q after %d", got, len(server.asked), test.want, test.asked)
				}
				for i, asked := range server.asked[1:] { // half more or less than 100 ms, 200 ms
					if wait, base := asked.Sub(server.asked[i]), spec.Backoff<<i; wait < base/2 || wait > base*3/2+1 {
						t.Errorf("got attempt %d after %s", i+2, wait)
					}
				}
			})
		})
	}
}

// Who cancels gets one response at once and no more attempts, whenever it is.
func TestCancel(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		steps []step
		until func(t *testing.T, call link.Call) // when it is cancelled
	}{
		"in the first attempt": {[]step{answer(progress)}, func(*testing.T, link.Call) {}},
		"with its answer there": {[]step{answer(good)}, func(*testing.T, link.Call) {
			synctest.Wait()
		}},
		"between attempts": {[]step{answer(died)}, func(_ *testing.T, call link.Call) {
			<-call.Ready()
			call.Take()
			synctest.Wait()
		}},
		"in the second attempt": {[]step{answer(died), answer(progress)}, func(_ *testing.T, call link.Call) {
			<-call.Ready()
			call.Take()
			<-call.Ready()
		}},
	}
	for name, test := range tests {
		for _, reads := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, read %v", name, reads), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { // which fails if a goroutine is left
					server := &script{steps: test.steps}
					call, err := Do(t.Context(), server, list(t), spec)
					if err != nil {
						t.Fatal(err)
					}
					test.until(t, call)
					began := time.Now()
					call.Cancel("enough")
					if reads {
						if got := all(t, call); !strings.Contains(got, "enough") && !strings.Contains(got, "tools") {
							t.Errorf("got %q", got)
						}
					}
					if time.Since(began) > 0 || len(server.asked) != len(test.steps) {
						t.Errorf("got %d attempts, and %s until the response", len(server.asked), time.Since(began))
					}
				})
			})
		}
	}
}

func TestDetach(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := &script{steps: []step{answer(progress), answer(died), answer(died)}}
		call, err := Do(t.Context(), server, list(t), spec)
		if err != nil {
			t.Fatal(err)
		}
		call.Detach()
		if !server.calls[0].detached {
			t.Error("got no detached call")
		}
		call, err = Do(t.Context(), server, list(t), spec)
		if err != nil {
			t.Fatal(err)
		}
		<-call.Ready()
		call.Take()
		call.Detach()
		synctest.Wait()
		if len(server.asked) != 2 {
			t.Errorf("got %d attempts, want none for nobody", len(server.asked))
		}
	})
}

// Who goes away while there is no call ends the attempts.
func TestCallerGoesAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := &script{steps: []step{ended, ended, ended}}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := Do(ctx, server, list(t), spec); err == nil || len(server.asked) != 1 {
			t.Errorf("got %v after %d attempts", err, len(server.asked))
		}
	})
}

// A call that needs no second attempt costs no goroutine.
func BenchmarkGood(b *testing.B) {
	request, err := mcp.Parse([]byte(`{"jsonrpc":"2.0","id":"mine","method":"tools/list"}`))
	if err != nil {
		b.Fatal(err)
	}
	for name, by := range map[string]Spec{"once": {}, "three": spec} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				call, err := Do(b.Context(), immediate{}, request, by)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := link.Await(b.Context(), call); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

type immediate struct{}

func (immediate) Do(context.Context, mcp.Message) (link.Call, error) { return link.Answered(good), nil }
