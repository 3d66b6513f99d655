package bridge

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/proxytest"
)

// rig is a translation in front of a real process of the handshake era.
type rig struct {
	*Stateless
	t *testing.T
}

func newRig(t *testing.T, offered backend.Capabilities) rig {
	t.Helper()
	goroutines := goleak.IgnoreCurrent()
	opener := &proxytest.Opener{}
	pool := backend.NewPool(opener, nil, slog.New(slog.NewTextHandler(t.Output(), nil)))
	opener.Exited = pool.Exited
	t.Cleanup(func() {
		pool.Close()
		opener.Wait()
		goleak.VerifyNone(t, goroutines)
	})
	conn, err := pool.StartInitialized(t.Context(), backend.Spec{
		Server: "echo", Gateway: "test", Timeout: time.Minute, IdleTimeout: time.Hour, MaxMessageBytes: 4 << 20,
	}, offered)
	if err != nil {
		t.Fatal(err)
	}
	return rig{NewStateless(conn), t}
}

// request is one of the stateless era; members of params follow its _meta, and meta
// holds more members of that.
func (r rig) request(id, method, meta, params string) mcp.Message {
	r.t.Helper()
	if params != "" {
		params = "," + params
	}
	m, err := mcp.Parse([]byte(`{"jsonrpc":"2.0","id":` + id + `,"method":"` + method +
		`","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{},"x":1` + meta + `}` + params + `}}`))
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

func (r rig) do(owner string, m mcp.Message) link.Call {
	r.t.Helper()
	call, err := r.Do(r.t.Context(), owner, m)
	if err != nil {
		r.t.Fatal(err)
	}
	return call
}

// all returns the messages of a call.
func (r rig) all(call link.Call) (all []mcp.Message) {
	r.t.Helper()
	for len(all) == 0 || all[len(all)-1].Kind() != mcp.Response {
		select {
		case <-call.Ready():
			all = append(all, call.Take()...)
		case <-r.t.Context().Done():
			r.t.Fatal("no response")
		}
	}
	return all
}

func (r rig) answer(owner string, m mcp.Message) mcp.Message {
	r.t.Helper()
	all := r.all(r.do(owner, m))
	return all[len(all)-1]
}

func TestRequestLosesWhatInitializeSaid(t *testing.T) {
	r := newRig(t, 0)
	got := string(r.answer("a", r.request("7", "tools/call", `,"io.modelcontextprotocol/logLevel":"debug"`, `"name":"again","inputResponses":{}`)).Raw())
	if strings.Contains(got, "clientInfo") || strings.Contains(got, "logLevel") || strings.Contains(got, "inputResponses") || !strings.Contains(got, `\"x\":1`) {
		t.Errorf("the server saw %s", got)
	}
	for _, want := range []string{`"id":7`, `"resultType":"complete"`, `"io.modelcontextprotocol/serverInfo":{"name":"echo","version":"1.0"}`, `"big":9007199254740993`} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s without %s", got, want)
		}
	}
}

func TestMethodsOfTheOtherEra(t *testing.T) {
	r := newRig(t, 0)
	for _, method := range []string{"initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe", "tasks/list"} {
		if got := r.answer("a", r.request("1", method, "", "")); string(got.At(got.InError("code"))) != "-32601" {
			t.Errorf("%s: got %s", method, got.Raw())
		}
	}
	if got := r.answer("a", r.request("1", "server/discover", "", "")); got.InResult("capabilities", "resources", "subscribe").Empty() || got.InResult("capabilities", "logging").Empty() {
		t.Errorf("got %s", got.Raw())
	}
}

// ask makes the server ask for sampling, and returns the state that its caller gets.
func (r rig) ask(owner, name string) (state string) {
	r.t.Helper()
	got := r.answer(owner, r.request("1", "tools/call", "", `"name":"`+name+`","arguments":{"n":1}`))
	if kind, _ := got.Text(got.InResult("resultType")); kind != "input_required" {
		r.t.Fatalf("got %s", got.Raw())
	}
	if method, _ := got.Text(got.InResult("inputRequests", "input-1", "method")); method != "sampling/createMessage" {
		r.t.Fatalf("got %s", got.Raw())
	}
	if !strings.Contains(string(got.Raw()), "9007199254740993") {
		r.t.Errorf("got %s, want its numbers as they were", got.Raw())
	}
	state, _ = got.Text(got.InResult("requestState"))
	return state
}

func (r rig) bring(owner, id, params, state, responses string) mcp.Message {
	r.t.Helper()
	return r.answer(owner, r.request(id, "tools/call", "", params+`,"requestState":"`+state+`","inputResponses":`+responses))
}

func TestServersRequestBecomesInput(t *testing.T) {
	r := newRig(t, backend.Sampling)
	const params = `"name":"ask","arguments":{"n":1}`
	const responses = `{"input-1":{"role":"assistant","model":"m","n":1e3},"unexpected":{}}`
	state := r.ask("a", "ask")
	refused := []struct{ name, owner, params, state string }{
		{"altered", "a", params, state[:len(state)-1] + "x"},
		{"another's", "b", params, state},
		{"of another request", "a", `"name":"ask","arguments":{"n":2}`, state},
		{"of another tool", "a", `"name":"again","arguments":{"n":1}`, state},
	}
	for _, test := range refused {
		if got := r.bring(test.owner, "2", test.params, test.state, responses); string(got.At(got.InError("code"))) != "-32602" {
			t.Errorf("%s: got %s", test.name, got.Raw())
		}
	}
	// What is left out is asked again, with a state of its own.
	got := r.bring("a", "3", params, state, `{}`)
	again, _ := got.Text(got.InResult("requestState"))
	if again == "" || again == state || got.InResult("inputRequests", "input-1").Empty() {
		t.Fatalf("got %s", got.Raw())
	}
	// Members may come in another order.
	got = r.bring("a", `"four"`, `"arguments":{ "n":1 },"name":"ask"`, again, responses)
	if string(got.ID()) != `"four"` || !strings.Contains(string(got.Raw()), `\"id\":\"ask-1\",\"result\":{\"role\":\"assistant\",\"model\":\"m\",\"n\":1e3}`) {
		t.Errorf("got %s", got.Raw())
	}
	if got := r.bring("a", "5", params, again, responses); got.Err() == nil {
		t.Errorf("a state was good twice: got %s", got.Raw())
	}
}

func TestWhatIsAskedTogetherIsOneRound(t *testing.T) {
	r := newRig(t, backend.Sampling|backend.Roots)
	got := r.answer("a", r.request("1", "tools/call", "", `"name":"ask-twice"`))
	for key, want := range map[string]string{"input-1": "sampling/createMessage", "input-2": "roots/list"} {
		if method, _ := got.Text(got.InResult("inputRequests", key, "method")); method != want {
			t.Errorf("%s: got %s, want %s", key, got.Raw(), want)
		}
	}
}

// A queue may be ready for what was taken already. That is not the end of a round.
func TestRoundGoesOnWithoutMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &leg{Call: new(backend.Call)}
		l.Init()
		var r round
		r.asked()
		l.Wake()
		go func() {
			<-time.After(askedTogether / 2)
			l.Offer(message(t, `{"jsonrpc":"2.0","id":2,"method":"roots/list"}`))
		}()
		if got := l.more(&r); len(got) != 1 {
			t.Errorf("got %d messages, want the question that came in time", len(got))
		}
		l.Wake()
		if got := l.more(&r); got != nil {
			t.Errorf("got %d messages, want none", len(got))
		}
	})
}

func TestInputThatIsNoObject(t *testing.T) {
	r := newRig(t, 0)
	for _, responses := range []string{"null", "7", `"x"`, "[]", `{"a":{},"b":7}`} {
		got := r.answer("a", r.request("1", "tools/call", "", `"name":"again","inputResponses":`+responses))
		if string(got.At(got.InError("code"))) != "-32602" {
			t.Errorf("inputResponses %s: got %s", responses, got.Raw())
		}
	}
}

func TestServerAsksOnlyWhatWasOffered(t *testing.T) {
	r := newRig(t, backend.Roots|backend.Elicitation)
	got := r.answer("a", r.request("1", "tools/call", "", `"name":"ask"`))
	if !strings.Contains(string(got.Raw()), "offers no such capability") {
		t.Errorf("got %s", got.Raw())
	}
}

func TestInputThatDoesNotComeIsGivenUp(t *testing.T) {
	r := newRig(t, backend.Sampling)
	state := r.ask("a", "ask")
	r.inputs.forget(state)
	if got := r.bring("a", "2", `"name":"ask","arguments":{"n":1}`, state, `{}`); got.Err() == nil {
		t.Errorf("got %s", got.Raw())
	}
	if got := r.conn.InFlight(); got != 0 {
		t.Errorf("got %d calls in flight, want the server to have heard of its end", got)
	}
}

// A server that asks and asks, of callers who do not come back, fills no memory.
func TestInputsAreBounded(t *testing.T) {
	t.Parallel()
	waiting := inputs{waiting: map[string]*input{}}
	t.Cleanup(func() {
		for _, in := range waiting.waiting {
			in.timer.Stop()
		}
	})
	keep := func(state string, size int) {
		waiting.keep(state, &input{questions: []question{{params: make([]byte, size)}}})
	}
	for i := range maxWaiting + 2 {
		keep(fmt.Sprint(i), 1)
	}
	if len(waiting.waiting) != maxWaiting || waiting.waiting["1"] != nil || waiting.waiting["2"] == nil {
		t.Errorf("got %d entries, want the newest %d", len(waiting.waiting), maxWaiting)
	}
	keep("large", maxWaitingBytes)
	keep("larger", maxWaitingBytes+1)
	if len(waiting.waiting) != 1 || waiting.waiting["larger"] == nil {
		t.Errorf("got %d entries, want the newest, whatever its size", len(waiting.waiting))
	}
}

func TestPagesToVisit(t *testing.T) {
	r := newRig(t, backend.ElicitationURLs)
	const able = `,"io.modelcontextprotocol/clientCapabilities":{"elicitation":{"url":{}}}`
	if got := r.answer("a", r.request("1", "tools/call", "", `"name":"visit"`)); string(got.At(got.InError("code"))) != "-32021" {
		t.Errorf("from a client that opens no pages: got %s", got.Raw())
	}
	for _, test := range []struct{ action, want string }{{"decline", "did not agree"}, {"accept", "welcome"}} {
		r := newRig(t, backend.ElicitationURLs)
		got := r.answer("a", r.request("1", "tools/call", able, `"name":"visit"`))
		url, _ := got.Text(got.InResult("inputRequests", "input-1", "params", "url"))
		if url != "https://example.com/" || !got.InResult("inputRequests", "input-1", "params", "elicitationId").Empty() {
			t.Fatalf("got %s", got.Raw())
		}
		state, _ := got.Text(got.InResult("requestState"))
		got = r.answer("a", r.request("2", "tools/call", able, `"name":"visit","requestState":"`+state+`","inputResponses":{"input-1":{"action":"`+test.action+`"}}`))
		if !strings.Contains(string(got.Raw()), test.want) {
			t.Errorf("%s: got %s", test.action, got.Raw())
		}
	}
}

func TestLogLevels(t *testing.T) {
	tests := []struct {
		level string
		want  string // data of the messages
	}{{"", ""}, {"debug", "little much"}, {"warning", "much"}, {"emergency", ""}}
	for _, test := range tests {
		r := newRig(t, 0)
		meta := ""
		if test.level != "" {
			meta = `,"io.modelcontextprotocol/logLevel":"` + test.level + `"`
		}
		var got []string
		for _, m := range r.all(r.do("a", r.request("1", "tools/call", meta, `"name":"debug"`))) {
			if data, ok := m.Text(m.Param("data")); ok {
				got = append(got, data)
			}
		}
		if text := strings.Join(got, " "); text != test.want {
			t.Errorf("level %q: got messages %q, want %q", test.level, text, test.want)
		}
	}
	r := newRig(t, 0)
	if got := r.answer("a", r.request("1", "tools/list", `,"io.modelcontextprotocol/logLevel":"loud"`, "")); string(got.At(got.InError("code"))) != "-32602" {
		t.Errorf("got %s", got.Raw())
	}
}

// A server of the handshake era logs for whomever; with callers of two owners in
// flight nobody gets what may be the other's.
func TestLogsOfOthersAreKeptBack(t *testing.T) {
	r := newRig(t, 0)
	const loud = `,"io.modelcontextprotocol/logLevel":"debug"`
	other := r.do("b", r.request("1", "tools/call", "", `"name":"wait"`))
	if got := r.all(r.do("a", r.request("2", "tools/call", loud, `"name":"debug"`))); len(got) != 1 {
		t.Errorf("got %s", got[0].Raw())
	}
	other.Cancel("the test goes on")
	if got := r.all(r.do("a", r.request("3", "tools/call", loud, `"name":"debug"`))); len(got) != 3 {
		t.Errorf("alone: got %d messages, want 3", len(got))
	}
}

func TestSubscription(t *testing.T) {
	r := newRig(t, 0)
	sub := r.do("a", r.request(`"s"`, "subscriptions/listen", "", `"notifications":{"toolsListChanged":true,"promptsListChanged":true,"resourceSubscriptions":["file:///a","file:///a"]}`))
	next := func() mcp.Message {
		t.Helper()
		select {
		case <-sub.Ready():
		case <-t.Context().Done():
			t.Fatal("nothing came")
		}
		got := sub.Take()
		if len(got) != 1 {
			t.Fatalf("got %d messages, the first %s", len(got), got[0].Raw())
		}
		return got[0]
	}
	// The server offers changed tools and resources, and no prompts.
	if got := next(); string(got.Params()) != `{"_meta":{"io.modelcontextprotocol/subscriptionId":"s"},"notifications":{"toolsListChanged":true,"resourceSubscriptions":["file:///a"]}}` {
		t.Errorf("got %s", got.Raw())
	}
	r.answer("a", r.request("1", "tools/call", "", `"name":"touch"`))
	if got := next(); string(got.Params()) != `{"_meta":{"io.modelcontextprotocol/subscriptionId":"s"},"uri":"file:///a/b"}` {
		t.Errorf("got %s", got.Raw())
	}
	r.answer("a", r.request("1", "tools/call", "", `"name":"log"`))
	if got := next(); got.Method() != mcp.MethodToolsChanged || string(got.At(got.Param("_meta", mcp.MetaSubscription))) != `"s"` {
		t.Errorf("got %s", got.Raw())
	}
	// Another one for the same resource asks the server nothing.
	second := r.do("b", r.request("9", "subscriptions/listen", "", `"notifications":{"resourceSubscriptions":["file:///a"]}`))
	<-second.Ready()
	second.Take()
	for _, call := range []link.Call{sub, second} {
		call.Cancel("enough")
		if got := r.all(call); !strings.Contains(string(got[0].Result()), `"resultType":"complete","_meta":{"io.modelcontextprotocol/subscriptionId":`) {
			t.Errorf("got %s", got[0].Raw())
		}
	}
	got := r.answer("a", r.request("1", "tools/call", "", `"name":"told"`))
	if !strings.Contains(string(got.Raw()), `"text":"resources/subscribe resources/unsubscribe"`) {
		t.Errorf("the server was told %s", got.Raw())
	}
}

func TestSubscriptionEndsWithItsServer(t *testing.T) {
	r := newRig(t, 0)
	sub := r.do("a", r.request("1", "subscriptions/listen", "", `"notifications":{}`))
	<-sub.Ready()
	if got := sub.Take(); string(got[0].Params()) != `{"_meta":{"io.modelcontextprotocol/subscriptionId":1},"notifications":{}}` {
		t.Errorf("got %s", got[0].Raw())
	}
	r.conn.Discard()
	if got := r.all(sub); got[0].Err() == nil || string(got[0].ID()) != "1" {
		t.Errorf("got %s", got[0].Raw())
	}
}

// A client may ask for more resources than anybody can compare with each other.
func TestURIsAreBounded(t *testing.T) {
	t.Parallel()
	list := []byte(`"a"`)
	for i := range 1 << 18 {
		list = fmt.Appendf(list, `,"a","%d"`, i)
	}
	m := mcp.NewRequest([]byte("1"), mcp.MethodListen, fmt.Appendf(nil, `{"notifications":{"resourceSubscriptions":[%s]}}`, list))
	if got := uris(m); len(got) != maxTopics+1 || got[1] != "0" {
		t.Errorf("got %d", len(got))
	}
}
