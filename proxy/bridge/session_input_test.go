package bridge

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

const (
	elicit = `{"method":"elicitation/create","params":{"mode":"form","message":"name?","requestedSchema":{"type":"object","n":1e3}}}`
	sample = `{"method":"sampling/createMessage","params":{"messages":[],"maxTokens":9007199254740993}}`
	roots  = `{"method":"roots/list"}`
	toCall = `{"jsonrpc":"2.0","id":"it","method":"tools/call","params":{"name":"a","n":1e3}}`
)

// asking is a server that asks for input until it has been called n times.
func asking(n int, requests, state string) *fakeServer {
	calls := 0
	return &fakeServer{handle: func(c *fakeCall) {
		if calls++; calls <= n {
			c.input(requests, state)
		} else {
			c.result(`{"resultType":"complete","content":[],"calls":%d}`, calls)
		}
	}}
}

// The server's questions reach the client as requests, and its answers the server
// in a repeated request, byte by byte.
func TestInput(t *testing.T) {
	t.Parallel()
	server := asking(1, `{"a":`+elicit+`,"\u0062":`+sample+`,"c":`+roots+`}`, `"state \u0061"`)
	s := driven{newSession(t, server, "2025-11-25", allCapabilities)}
	call := s.call(t, toCall)
	questions := take(t, call, 3)
	want := []string{
		`{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"mode":"form","message":"name?","requestedSchema":{"type":"object","n":1e3}}}`,
		`{"jsonrpc":"2.0","id":2,"method":"sampling/createMessage","params":{"messages":[],"maxTokens":9007199254740993}}`,
		`{"jsonrpc":"2.0","id":3,"method":"roots/list"}`,
	}
	if got := raw(questions); got != strings.Join(want, "\n") {
		t.Errorf("got  %s\nwant %s", got, strings.Join(want, "\n"))
	}
	s.send(t, `{"jsonrpc":"2.0","id":3,"result":{"roots":[]}}`)
	s.send(t, `{"jsonrpc":"2.0","id":99,"result":{}}`) // to nobody
	s.send(t, `{"jsonrpc":"2.0","id":1,"result":{"action":"accept","content":{"n":1.0}}}`)
	s.send(t, `{"jsonrpc":"2.0","id":1,"result":{"action":"decline"}}`) // too late
	s.send(t, `{"jsonrpc":"2.0","id":2,"result":{"role":"assistant"}}`)
	if got := string(response(t, call).Raw()); got != `{"jsonrpc":"2.0","id":"it","result":{"content":[],"calls":2}}` {
		t.Errorf("got %s", got)
	}
	first, again := server.at(t, 0), server.at(t, 1)
	if got, want := again.param("inputResponses"), `{"a":{"action":"accept","content":{"n":1.0}},"\u0062":{"role":"assistant"},"c":{"roots":[]}}`; got != want {
		t.Errorf("got responses %s, want %s", got, want)
	}
	if got := again.param("requestState"); got != `"state \u0061"` {
		t.Errorf("got state %s", got)
	}
	left := again.request.Replace(again.request.Param(), mcp.Without(again.request.Params(), "inputResponses", "requestState"))
	if string(left.Raw()) != string(first.request.Raw()) {
		t.Errorf("got  %s\nwant %s", left.Raw(), first.request.Raw())
	}
}

// Forms are what a client has that can ask people and does not say how.
func TestInputByForm(t *testing.T) {
	t.Parallel()
	for _, revision := range []string{"2025-06-18", "2025-11-25"} {
		server := asking(1, `{"a":`+elicit+`}`, "")
		s := driven{newSession(t, server, revision, `{"elicitation":{}}`)}
		if question := take(t, s.call(t, toCall), 1)[0]; question.Method() != mcp.MethodElicit {
			t.Errorf("%s: got %s, want a question", revision, question.Raw())
		}
	}
}

// Without a state there is none in the repeated request, and ids are never used
// again.
func TestInputRounds(t *testing.T) {
	t.Parallel()
	server := asking(maxRounds, `{"a":`+roots+`}`, "")
	s := driven{newSession(t, server, "2024-11-05", `{"roots":{}}`)}
	call := s.call(t, `{"jsonrpc":"2.0","id":"it","method":"prompts/get"}`)
	for i := range maxRounds {
		if got := string(take(t, call, 1)[0].ID()); got != fmt.Sprint(i+1) {
			t.Fatalf("got id %s, want %d", got, i+1)
		}
		s.send(t, `{"jsonrpc":"2.0","id":%d,"result":{"roots":[]}}`, i+1)
	}
	if answer := response(t, call); answer.Err() != nil {
		t.Errorf("got %s, want a result", answer.Raw())
	}
	if got := server.at(t, 1).param("requestState"); got != "" {
		t.Errorf("got state %s, want none", got)
	}
}

func TestInputRefused(t *testing.T) {
	t.Parallel()
	many := make([]string, maxInputs+1)
	for i := range many {
		many[i] = fmt.Sprintf(`"%d":%s`, i, roots)
	}
	tests := []struct{ name, revision, capabilities, requests, state, want string }{
		{"no capability", "2025-11-25", `{"roots":{}}`, `{"a":` + roots + `,"b":` + elicit + `}`, "", "not offered"},
		{"no roots", "2025-11-25", `{"roots":true}`, `{"b":` + roots + `}`, "", "not offered"},
		{"no sampling", "2025-11-25", `{}`, `{"b":` + sample + `}`, "", "not offered"},
		{"not in that revision", "2025-03-26", allCapabilities, `{"b":` + elicit + `}`, "", "not offered"},
		{"no links", "2025-06-18", allCapabilities, `{"b":{"method":"elicitation/create","params":{"mode":"url"}}}`, "", "not offered"},
		{"no forms", "2025-11-25", `{"elicitation":{"url":{}}}`, `{"b":` + elicit + `}`, "", "not offered"},
		{"no tools", "2025-11-25", `{"sampling":{}}`, `{"b":{"method":"sampling/createMessage","params":{"tools":[]}}}`, "", "not offered"},
		{"another method", "2025-11-25", allCapabilities, `{"b":{"method":"ping"}}`, "", "not offered"},
		{"no method", "2025-11-25", allCapabilities, `{"b":7}`, "", "not offered"},
		{"neither", "2025-11-25", allCapabilities, "", "", "does not say what"},
		{"nothing", "2025-11-25", allCapabilities, "{}", "", "does not say what"},
		{"no object", "2025-11-25", allCapabilities, "[]", "", "does not say what"},
		{"too much", "2025-11-25", allCapabilities, "{" + strings.Join(many, ",") + "}", "", "at once"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := asking(1, test.requests, test.state)
			s := driven{newSession(t, server, test.revision, test.capabilities)}
			answer := s.ask(t, toCall)
			if text, _ := answer.Text(answer.InError("message")); !strings.Contains(text, test.want) {
				t.Errorf("got %s, want an error with %q", answer.Raw(), test.want)
			}
		})
	}
}

func TestInputTooOften(t *testing.T) {
	t.Parallel()
	server := asking(1000, `{"a":`+roots+`}`, "")
	s := driven{newSession(t, server, "2025-11-25", `{"roots":{}}`)}
	call := s.call(t, toCall)
	for i := range maxRounds {
		take(t, call, 1)
		s.send(t, `{"jsonrpc":"2.0","id":%d,"result":{"roots":[]}}`, i+1)
	}
	if answer := response(t, call); !strings.Contains(string(answer.Err()), "more than 16 times") {
		t.Errorf("got %s, want an error", answer.Raw())
	}
}

func TestInputErrors(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, request, answer, wantInput, wantError string }{
		{"people not asked", elicit, `"error":{"code":-32603,"message":"m"}`, `{"a":{"action":"cancel"}}`, ""},
		{"model refused", sample, `"error":{"code":-1,"message":"no","data":[1e3]}`, "", `{"code":-1,"message":"the client refused sampling/createMessage: no","data":[1e3]}`},
		{"no code", roots, `"error":{"code":1e1,"message":"no"}`, "", `{"code":-32603,"message":"the client refused roots/list: no"}`},
		{"no object", roots, `"result":[]`, "", `{"code":-32603,"message":"the client answered roots/list with a result that is no object"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := asking(1, `{"a":`+test.request+`}`, "")
			s := driven{newSession(t, server, "2025-11-25", allCapabilities)}
			call := s.call(t, toCall)
			take(t, call, 1)
			s.send(t, `{"jsonrpc":"2.0","id":1,%s}`, test.answer)
			answer := response(t, call)
			if got := string(answer.Err()); got != test.wantError {
				t.Errorf("got error %s, want %s", got, test.wantError)
			}
			if test.wantError == "" && server.at(t, 1).param("inputResponses") != test.wantInput {
				t.Errorf("got input %s, want %s", server.at(t, 1).param("inputResponses"), test.wantInput)
			}
		})
	}
}

// When one question has failed the call, the others need not be answered.
func TestInputWithdrawn(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		end  func(*testing.T, driven, link.Call)
		want string
	}{
		{"one refused", func(t *testing.T, s driven, _ link.Call) {
			s.send(t, `{"jsonrpc":"2.0","id":2,"error":{"code":-1,"message":"no"}}`)
		}, "refused"},
		{"cancelled by the client", func(t *testing.T, s driven, _ link.Call) {
			s.send(t, `{"jsonrpc":"2.0","id":2,"result":{}}`)
			s.send(t, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"it"}}`)
		}, "the client cancelled it"},
		{"cancelled by the front", func(t *testing.T, s driven, c link.Call) {
			s.send(t, `{"jsonrpc":"2.0","id":2,"result":{}}`)
			c.Cancel("gone")
		}, "gone"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := asking(1, `{"a":`+elicit+`,"b":`+roots+`}`, "")
			s := driven{newSession(t, server, "2025-11-25", allCapabilities)}
			call := s.call(t, toCall)
			take(t, call, 2)
			test.end(t, s, call)
			got := take(t, call, 2)
			if want := `{"requestId":1,"reason":"the request that it belongs to has ended"}`; got[0].Method() != mcp.MethodCancelled || string(got[0].Params()) != want {
				t.Errorf("got %s, want a cancellation with %s", got[0].Raw(), want)
			}
			if !strings.Contains(string(got[1].Err()), test.want) {
				t.Errorf("got %s, want an error with %q", got[1].Raw(), test.want)
			}
			if n := server.count(); n != 1 {
				t.Errorf("got %d calls at the server, want 1", n)
			}
		})
	}
}

// A link for people has an id in the client's revision, and no other in the
// server's.
func TestInputLink(t *testing.T) {
	t.Parallel()
	server := asking(1, `{"a":{"method":"elicitation/create","params":{"mode":"url","url":"https://a","elicitationId":"server's"}}}`, "")
	s := driven{newSession(t, server, "2025-11-25", allCapabilities)}
	call := s.call(t, toCall)
	question := take(t, call, 1)[0]
	if got, want := string(question.Params()), `{"elicitationId":"1","mode":"url","url":"https://a"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	s.send(t, `{"jsonrpc":"2.0","id":1,"result":{"action":"accept"}}`)
	response(t, call)
}

// A question has only what the client's revision knows.
func TestInputOfOlderRevision(t *testing.T) {
	t.Parallel()
	const (
		audio   = `{"type":"audio","mimeType":"a/b"}`
		noAudio = `{"type":"text","text":"[audio of type a/b, which clients of revision 2024-11-05 can't get]"}`
		hi      = `{"type":"text","text":"hi"}`
		titled  = `{"type":"object","properties":{"a":{"type":"string","oneOf":[{"const":"1","title":"one"},{"const":"2","title":"two"}],"default":"1"},"b":{"oneOf":[{"const":"1"}]},"c":{"type":"number","n":1e3},"d":{"oneOf":[{"const":"1","title":"one"}]}},"required":["a"]}`
	)
	tests := []struct{ name, revision, method, params, want string }{
		{"sound", "2024-11-05", "sampling/createMessage", `{"messages":[{"role":"user","content":` + audio + `},7]}`, `{"messages":[{"role":"user","content":` + noAudio + `},7]}`},
		{"sound that is known", "2025-03-26", "sampling/createMessage", `{"messages":[{"role":"user","content":` + audio + `}]}`, `{"messages":[{"role":"user","content":` + audio + `}]}`},
		{"several", "2025-06-18", "sampling/createMessage", `{"messages":[{"role":"user","content":[` + hi + `,` + audio + `],"n":1e3},{"role":"user","content":[]},{}]}`,
			`{"messages":[{"role":"user","content":` + hi + `,"n":1e3},{"role":"user","content":` + audio + `,"n":1e3},{}]}`},
		{"several that are known", "2025-11-25", "sampling/createMessage", `{"messages":[{"role":"user","content":[` + hi + `]}]}`, `{"messages":[{"role":"user","content":[` + hi + `]}]}`},
		{"titles", "2025-06-18", "elicitation/create", `{"message":"m","requestedSchema":` + titled + `}`,
			`{"message":"m","requestedSchema":{"type":"object","properties":{"a":{"enum":["1","2"],"enumNames":["one","two"],"type":"string","default":"1"},"b":{"oneOf":[{"const":"1"}]},"c":{"type":"number","n":1e3},"d":{"enum":["1"],"enumNames":["one"]}},"required":["a"]}}`},
		{"titles that are known", "2025-11-25", "elicitation/create", `{"requestedSchema":` + titled + `}`, `{"requestedSchema":` + titled + `}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := asking(1, fmt.Sprintf(`{"a":{"method":%q,"params":%s}}`, test.method, test.params), "")
			s := driven{newSession(t, server, test.revision, allCapabilities)}
			if got := string(take(t, s.call(t, toCall), 1)[0].Params()); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// Nobody reads the call's messages any more: the listener gets the questions.
func TestInputAfterDetach(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		server *fakeServer
		after  bool // the question comes after the detachment
	}{
		{"before", asking(1, `{"a":`+roots+`}`, ""), false},
		{"after", &fakeServer{}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := driven{newSession(t, test.server, "2025-11-25", allCapabilities)}
			inbox, stop, _ := s.Listen()
			defer stop()
			call := s.call(t, toCall)
			if !test.after {
				<-call.Ready()
			}
			call.Detach()
			if test.after {
				test.server.at(t, 0).notify(mcp.MethodLogged, "{}")
				take(t, inbox, 1)
				test.server.at(t, 0).input(`{"a":`+roots+`}`, "")
			}
			if question := take(t, inbox, 1)[0]; question.Method() != mcp.MethodRoots {
				t.Errorf("got %s, want a question", question.Raw())
			}
		})
	}
}

// A request that lacks nothing but time is repeated, ever more slowly, but not
// for ever.
func TestInputPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := asking(1000, "", `"s"`)
		s := driven{newSession(t, server, "2025-11-25", `{}`)}
		start := time.Now()
		call := s.call(t, toCall)
		call.Leave() // it goes on, whether or not anybody reads
		pass(10 * time.Second)
		if n := server.count(); n < 6 || n > 8 {
			t.Errorf("got %d calls in 10 s, want 0.1+0.2+0.4+0.8+1.6+3.2 s between", n)
		}
		answer := response(t, call)
		if took := time.Since(start); took != maxInputTime || !strings.Contains(string(answer.Err()), "10m0s") {
			t.Errorf("got %s after %s, want an error after %s", answer.Raw(), took, maxInputTime)
		}
		if got := server.at(t, 1).param("requestState") + server.at(t, 1).param("inputResponses"); got != `"s"` {
			t.Errorf("got input %s, want the state alone", got)
		}
	})
}

func TestInputTakesTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := asking(1, `{"a":`+elicit+`}`, "")
		s := driven{newSession(t, server, "2025-11-25", allCapabilities)}
		call := s.call(t, toCall)
		start := time.Now()
		got := take(t, call, 3)
		if took := time.Since(start); took != maxInputTime || got[2].Err() == nil {
			t.Errorf("got %s after %s, want an error after %s", raw(got), took, maxInputTime)
		}
	})
}
