package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

func TestInitialize(t *testing.T) {
	t.Parallel()
	const old = `"logging":{},"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"subscribe":true,"listChanged":true},"experimental":{"x":{}}`
	tests := []struct{ name, revision, capabilities, wantRevision, wantOffers, wantCapabilities string }{
		{"2024-11-05", "2024-11-05", allCapabilities, "2024-11-05", old, `{"roots":{},"sampling":{}}`},
		{"2025-03-26", "2025-03-26", allCapabilities, "2025-03-26", old + `,"completions":{}`, `{"roots":{},"sampling":{}}`},
		{"2025-06-18", "2025-06-18", allCapabilities, "2025-06-18", old + `,"completions":{}`, `{"roots":{},"sampling":{},"elicitation":{"form":{}}}`},
		{"2025-11-25", "2025-11-25", allCapabilities, "2025-11-25", old + `,"completions":{}`,
			`{"roots":{},"sampling":{"tools":{},"context":{}},"elicitation":{"form":{},"url":{}}}`},
		{"forms by default", "2025-11-25", `{"elicitation":{}}`, "2025-11-25", old + `,"completions":{}`, `{"elicitation":{"form":{}}}`},
		{"links alone", "2025-11-25", `{"elicitation":{"url":{}}}`, "2025-11-25", old + `,"completions":{}`, `{"elicitation":{"url":{}}}`},
		{"unknown", "2099-01-01", `{"experimental":{"y":{}},"x":{}}`, "2025-11-25", old + `,"completions":{}`, `{"experimental":{"y":{}}}`},
		{"stateless", "2026-07-28", `{}`, "2025-11-25", old + `,"completions":{}`, `{}`},
		{"no objects", "2025-11-25", `{"roots":true,"sampling":[],"elicitation":1}`, "2025-11-25", old + `,"completions":{}`, `{}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := &fakeServer{}
			s := bareSession(t, server)
			answer := s.ask(t, `{"jsonrpc":"2.0","id":"x","method":"initialize","params":{"protocolVersion":%q,"capabilities":%s,"clientInfo":{"name":"c","version":"1"},"_meta":{"io.modelcontextprotocol/clientCapabilities":{"evil":{}}}}}`,
				test.revision, test.capabilities)
			equal(t, answer.Raw(), `{"jsonrpc":"2.0","id":"x","result":{"protocolVersion":"`+test.wantRevision+`","capabilities":{`+test.wantOffers+
				`},"serverInfo":{"name":"fake","version":"1e3"},"instructions":"be kind","big":9007199254740993}}`)
			asked := server.at(t, -1).request
			equal(t, asked.Raw(), `{"jsonrpc":"2.0","id":"x","method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",
				"io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},"io.modelcontextprotocol/clientCapabilities":`+test.wantCapabilities+`}}}`)
		})
	}
}

// silent is a server that tells nothing of itself.
type silent struct{ text string }

func (s silent) Do(_ context.Context, request mcp.Message) (link.Call, error) {
	return link.Answered(mcp.NewResult(request.ID(), []byte(s.text))), nil
}

func TestInitializeWithoutServerInfo(t *testing.T) {
	t.Parallel()
	answer := bareSession(t, silent{`{"serverInfo":{"name":"x"},"protocolVersion":7,"_meta":{"a":1}}`}).ask(t,
		`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}`)
	equal(t, answer.Result(), `{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"gate","version":"1"},"_meta":{"a":1}}`)
}

// A session whose server did not answer well can be initialized after all.
func TestInitializeAgainAfterRefusal(t *testing.T) {
	t.Parallel()
	server := &fakeServer{refusal: link.ErrBusy}
	s := bareSession(t, server)
	const hello = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{}}}`
	if _, err := s.Call(t.Context(), message(t, hello)); !errors.Is(err, link.ErrBusy) {
		t.Errorf("got error %v, want %v", err, link.ErrBusy)
	}
	server.refuses(nil)
	if answer := s.ask(t, hello); answer.Err() != nil {
		t.Errorf("got %s, want a result", answer.Raw())
	}
	unfit := bareSession(t, silent{`7`})
	unfit.ask(t, hello)
	equal(t, unfit.ask(t, hello).Raw(), `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"the server answered with a result that is no object"}}`)
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	const hello = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{}}}`
	tests := []struct {
		name, before, request string
		want                  string // error code; "": a result
	}{
		{"early", "", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, "-32600"},
		{"early ping", "", `{"jsonrpc":"2.0","id":1,"method":"ping"}`, ""},
		{"ping", hello, `{"jsonrpc":"2.0","id":1,"method":"ping"}`, ""},
		{"no version", "", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}`, "-32602"},
		{"again", hello, hello, "-32600"},
		{"discover", hello, `{"jsonrpc":"2.0","id":1,"method":"server/discover"}`, "-32601"},
		{"listen", hello, `{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen"}`, "-32601"},
		{"tasks", hello, `{"jsonrpc":"2.0","id":1,"method":"tasks/get"}`, "-32601"},
		{"others pass", hello, `{"jsonrpc":"2.0","id":1,"method":"x/y"}`, ""},
		{"level", hello, `{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"loud"}}`, "-32602"},
		{"no uri", hello, `{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{}}`, "-32602"},
		{"long uri", hello, `{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"` + strings.Repeat("x", maxURIBytes+1) + `"}}`, "-32602"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := bareSession(t, &fakeServer{handle: func(c *fakeCall) { c.result("{}") }})
			if test.before != "" {
				s.ask(t, "%s", test.before)
			}
			answer := s.ask(t, "%s", test.request)
			if got := string(answer.At(answer.InError("code"))); got != test.want || string(answer.ID()) != "1" {
				t.Errorf("got %s, want error code %q", answer.Raw(), test.want)
			}
		})
	}
}

func TestLacksWhatTheServerLacks(t *testing.T) {
	t.Parallel()
	server := &fakeServer{offers: `{"tools":{}}`}
	s := driven{newSession(t, server, "2025-11-25", `{}`)}
	for _, request := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"info"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"a:b"}}`,
	} {
		if answer := s.ask(t, "%s", request); string(answer.At(answer.InError("code"))) != "-32601" {
			t.Errorf("got %s, want error code -32601", answer.Raw())
		}
	}
	s.send(t, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	s.call(t, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
	if got := server.at(t, 0).param("_meta", mcp.MetaLogLevel); got != "" {
		t.Errorf("got log level %s, want none", got)
	}
}

func TestLogLevel(t *testing.T) {
	t.Parallel()
	server := &fakeServer{handle: func(c *fakeCall) { c.result("{}") }}
	s := driven{newSession(t, server, "2025-06-18", `{}`)}
	s.ask(t, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
	s.ask(t, `{"jsonrpc":"2.0","id":2,"method":"logging/setLevel","params":{"level":"debug"}}`)
	s.ask(t, `{"jsonrpc":"2.0","id":3,"method":"tools/list"}`)
	for i, want := range []string{`"info"`, `"debug"`} {
		if got := server.at(t, i).param("_meta", mcp.MetaLogLevel); got != want {
			t.Errorf("request %d: got log level %s, want %s", i, got, want)
		}
	}
}

// What relates to a call comes before its response; nothing else passes.
func TestRelaysNotifications(t *testing.T) {
	t.Parallel()
	server := &fakeServer{handle: func(c *fakeCall) {
		c.notify(mcp.MethodProgress, `{"progressToken":"p","progress":1e0}`)
		c.notify(mcp.MethodLogged, `{"level":"info","data":9007199254740993}`)
		c.Offer(mcp.NewRequest([]byte("1"), mcp.MethodRoots, nil)) // no server may do that
		c.result(`{"resultType":"complete","content":[]}`)
	}}
	s := driven{newSession(t, server, "2025-06-18", `{"roots":{}}`)}
	got := raw(take(t, s.call(t, `{"jsonrpc":"2.0","id":"7","method":"tools/call","params":{"name":"a","_meta":{"progressToken":"p"}}}`), 3))
	want := `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p","progress":1e0}}
{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":9007199254740993}}
{"jsonrpc":"2.0","id":"7","result":{"content":[]}}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		cancel func(*testing.T, driven, link.Call)
	}{
		{"by its client", func(t *testing.T, s driven, _ link.Call) {
			s.send(t, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"other"}}`)
			s.send(t, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"it"}}`)
		}},
		{"by its front", func(_ *testing.T, _ driven, c link.Call) { c.Cancel("gone") }},
		{"by the end", func(_ *testing.T, s driven, _ link.Call) { s.Close() }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := &fakeServer{}
			s := driven{newSession(t, server, "2025-11-25", `{}`)}
			call := s.call(t, `{"jsonrpc":"2.0","id":"it","method":"tools/call","params":{}}`)
			test.cancel(t, s, call)
			<-server.at(t, 0).cancelled
			if answer := response(t, call); string(answer.ID()) != `"it"` || answer.Err() == nil {
				t.Errorf("got %s, want an error with the call's id", answer.Raw())
			}
		})
	}
}

// The handshake can't be cancelled.
func TestCancelDoesNotEndInitialize(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := bareSession(t, held{release})
	call := s.call(t, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}`)
	s.send(t, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`)
	close(release)
	if answer := response(t, call); answer.Err() != nil {
		t.Errorf("got %s, want a result", answer.Raw())
	}
}

// held answers when it is released.
type held struct{ release chan struct{} }

func (h held) Do(_ context.Context, request mcp.Message) (link.Call, error) {
	c := &fakeCall{Queue: link.NewQueue(), request: request, cancelled: make(chan string, 1)}
	go func() {
		<-h.release
		c.result("{}")
	}()
	return c, nil
}

func TestBoundsCalls(t *testing.T) {
	t.Parallel()
	s := driven{newSession(t, &fakeServer{}, "2025-11-25", `{}`)}
	for i := range maxOngoing {
		s.call(t, `{"jsonrpc":"2.0","id":%d,"method":"tools/call"}`, i)
	}
	if _, err := s.Call(t.Context(), message(t, `{"jsonrpc":"2.0","id":"more","method":"tools/call"}`)); !errors.Is(err, link.ErrBusy) {
		t.Errorf("got error %v, want %v", err, link.ErrBusy)
	}
}

// A session outlives the processes that serve it, but not its own end.
func TestEnds(t *testing.T) {
	t.Parallel()
	server := &fakeServer{}
	s := driven{newSession(t, server, "2025-11-25", `{}`)}
	waiting := s.call(t, `{"jsonrpc":"2.0","id":1,"method":"tools/call"}`)
	server.refuses(&link.EndedError{Cause: errors.New("it crashed")})
	again := message(t, `{"jsonrpc":"2.0","id":2,"method":"tools/call"}`)
	var ended *link.EndedError
	if _, err := s.Call(t.Context(), again); errors.As(err, &ended) || err.Error() != "it crashed" || s.Err() != nil {
		t.Errorf("got error %v and end %v, want the end of the process alone", err, s.Err())
	}
	s.Close()
	if answer := response(t, waiting); !strings.Contains(string(answer.Raw()), errClosed.Error()) {
		t.Errorf("got %s, want the cause of the end", answer.Raw())
	}
	<-s.Done()
	if _, err := s.Call(t.Context(), again); !errors.As(err, &ended) || !errors.Is(err, errClosed) {
		t.Errorf("got error %v, want the end of the session", err)
	}
	if err := s.Send(t.Context(), message(t, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)); !errors.As(err, &ended) {
		t.Errorf("got error %v, want the end of the session", err)
	}
}

func TestIdleSessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &fakeServer{}
		s := driven{NewSession(server, Info{IdleTimeout: time.Minute, Log: slog.New(slog.DiscardHandler)})}
		s.ask(t, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}`)
		call := s.call(t, `{"jsonrpc":"2.0","id":2,"method":"tools/call"}`)
		pass(5 * time.Minute)
		if err := s.Err(); err != nil {
			t.Fatalf("got end %v with a call in flight", err)
		}
		_, stop, ok := s.Listen()
		if _, _, again := s.Listen(); !ok || again {
			t.Fatal("want one listener")
		}
		server.at(t, 0).result("{}")
		response(t, call)
		pass(5 * time.Minute)
		if err := s.Err(); err != nil {
			t.Fatalf("got end %v with a listener", err)
		}
		stop()
		pass(59 * time.Second)
		s.ask(t, `{"jsonrpc":"2.0","id":3,"method":"ping"}`)
		pass(59 * time.Second)
		if err := s.Err(); err != nil {
			t.Fatalf("got end %v, want a session that is used", err)
		}
		<-s.Done()
		if err := s.Err(); !errors.Is(err, errUnused) {
			t.Errorf("got end %v, want %v", err, errUnused)
		}
	})
}

// A caller who goes before the server has taken the request waits no longer.
func TestCallerLeaves(t *testing.T) {
	t.Parallel()
	s := bareSession(t, stuck{})
	ctx, cancel := context.WithCancel(t.Context())
	go cancel()
	if _, err := s.Call(ctx, message(t, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}`)); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want %v", err, context.Canceled)
	}
	go s.Close()
	if _, err := s.Call(t.Context(), message(t, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}`)); err == nil || !strings.Contains(fmt.Sprint(err), errClosed.Error()) {
		t.Errorf("got error %v, want %v", err, errClosed)
	}
}

// stuck is a server that takes nothing.
type stuck struct{}

func (stuck) Do(ctx context.Context, _ mcp.Message) (link.Call, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

// There may be many sessions that do nothing: none has a goroutine.
func TestIdleSessionsHaveNoGoroutines(t *testing.T) {
	server := &fakeServer{offers: `{"tools":{},"resources":{"subscribe":true}}`}
	before := runtime.NumGoroutine()
	const many = 100
	for range many {
		s := driven{newSession(t, server, "2025-11-25", `{}`)}
		s.AfterDone(func() {})
		s.send(t, ready)
	}
	for runtime.NumGoroutine() >= before+many/2 { // those of the handshakes end
		runtime.Gosched()
	}
}

// What a client says of itself is remembered, and so it is bounded.
func TestClientsAreBounded(t *testing.T) {
	t.Parallel()
	s := bareSession(t, &fakeServer{})
	const format = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":%q}}}`
	if answer := s.ask(t, format, strings.Repeat("x", maxMeta)); !strings.Contains(string(answer.Err()), "more than 16384 bytes") {
		t.Errorf("got %.100s, want an error", answer.Raw())
	}
	if answer := s.ask(t, format, "x"); answer.Err() != nil {
		t.Errorf("got %s", answer.Raw())
	}
}
