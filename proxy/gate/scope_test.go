package gate

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"mcpgateway/policy"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/proxytest"
)

const initializing = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{"elicitation":{}},"clientInfo":{"name":"c","version":"1"}}}`

// user is one caller of a gate at one address.
type user struct {
	t       *testing.T
	gate    *Gate
	caller  *policy.Identity
	scope   policy.Scope
	session string // "": of the stateless era

	opener   *proxytest.Opener // of tests that end servers
	passages []*passages       // of its sessions
}

func (u *user) do(text string) Reply {
	u.t.Helper()
	m, err := mcp.Parse([]byte(text))
	if err != nil {
		u.t.Fatal(err)
	}
	stateless := strings.Contains(text, mcp.MetaRevision)
	reply, err := u.gate.Do(u.t.Context(), Request{Caller: u.caller, Scope: u.scope, Stateless: stateless, Session: u.session, Message: m})
	if err != nil {
		u.t.Fatalf("%s: %v", text, err)
	}
	return reply
}

func (u *user) answer(text string) mcp.Message {
	u.t.Helper()
	answer, err := link.Await(u.t.Context(), u.do(text).Call)
	if err != nil {
		u.t.Fatal(err)
	}
	return answer
}

// open makes the user one of the handshake era.
func (u *user) open() {
	u.t.Helper()
	reply := u.do(initializing)
	if u.session = reply.Session; u.session == "" {
		u.t.Fatalf("got no session but %s", reply.Call.Take()[0].Raw())
	}
	reply.Call.Take()
	u.do(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
}

// names are the tools that the user sees.
func (u *user) names(meta string) (names []string) {
	u.t.Helper()
	answer := u.answer(`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{` + meta + `}}`)
	for tool := range mcp.Elements(answer.At(answer.InResult("tools"))) {
		name, _ := mcp.TextOf(tool[mcp.Find(tool, "name").Start:mcp.Find(tool, "name").End])
		names = append(names, name)
	}
	return names
}

const stateless = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`

// One address shows what its caller may use, and no more, in both eras.
func TestMergedScope(t *testing.T) {
	g, opener := newGate(t)
	for _, test := range []struct {
		name    string
		caller  *policy.Identity
		scope   policy.Scope
		session bool
		want    string
	}{
		{"stateless", caller("key:a", "echo", "modern"), policy.Scope{}, false, "echo__echo modern__echo"},
		{"session", caller("key:a", "echo", "modern"), policy.Scope{}, true, "echo__echo modern__echo"},
		{"another's", caller("key:b", "modern"), policy.Scope{}, false, "modern__echo"},
		{"one server", caller("key:a", "echo", "modern"), on("echo"), false, "echo"},
	} {
		u := &user{t: t, gate: g, caller: test.caller, scope: test.scope}
		meta := stateless
		if test.session {
			u.open()
			meta = ""
		}
		if got := strings.Join(u.names(meta), " "); got != test.want {
			t.Errorf("%s: got tools %q, want %q", test.name, got, test.want)
		}
		if u.session == "" {
			continue
		}
		got := u.answer(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"modern__echo"}}`)
		if !strings.Contains(string(got.Raw()), `\"name\":\"echo\"`) || !got.InResult("resultType").Empty() {
			t.Errorf("%s: got %s", test.name, got.Raw())
		}
		before := opener.Running()
		if err := g.End(u.caller, u.scope, u.session); err != nil {
			t.Fatal(err)
		}
		g.fleet.Close()
		opener.Wait()
		if before == 0 || opener.Running() != 0 {
			t.Errorf("got %d servers before and %d after", before, opener.Running())
		}
		g, opener = newGate(t)
	}
}

// changed is the gate of a generation with another echo.
func changed(g *Gate, change func(echo *policy.Server)) *Gate {
	rules, next := g.rules, *g.policy
	next.Servers = maps.Clone(next.Servers)
	echo := next.Servers["echo"]
	change(&echo)
	next.Servers["echo"] = echo
	rules.Policy = &next
	return New(rules, g.fleet, g.sessions)
}

// A project's address shows its servers only.
func TestProjectScope(t *testing.T) {
	g, _ := newGate(t)
	g = changed(g, func(echo *policy.Server) { echo.Project = "shop" })
	u := &user{t: t, gate: g, caller: caller("key:a"), scope: policy.Scope{Project: "shop"}}
	if got := u.names(stateless); !slices.Equal(got, []string{"echo__echo"}) {
		t.Errorf("got %v", got)
	}
	_, err := g.policy.Resolve(caller("key:b", "modern"), policy.Scope{Project: "shop"})
	wantDenied(t, err)
}

// A handshake client meets a server of the stateless era, which asks it something.
func TestTranslatedSession(t *testing.T) {
	g, opener := newGate(t)
	u := &user{t: t, gate: g, caller: caller("key:a"), scope: on("modern")}
	u.open()
	if revision, err := g.Revision(u.caller, u.scope, u.session); revision != "2025-06-18" || err != nil {
		t.Errorf("got revision %q, %v", revision, err)
	}
	call := u.do(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"input"}}`).Call
	var asked []mcp.Message
	for len(asked) == 0 {
		<-call.Ready()
		asked = call.Take()
	}
	if len(asked) != 1 || asked[0].Method() != mcp.MethodElicit {
		t.Fatalf("got %s", asked[0].Raw())
	}
	u.do(`{"jsonrpc":"2.0","id":` + string(asked[0].ID()) + `,"result":{"action":"accept","content":{"who":"me"}}}`)
	got, err := link.Await(t.Context(), call)
	if err != nil || string(got.ID()) != "7" || !strings.Contains(string(got.Raw()), `the server's own: {\"who\":{\"action\":\"accept\",\"content\":{\"who\":\"me\"}}}`) {
		t.Errorf("got %s, %v", got.Raw(), err)
	}
	// Another caller has another process, and no way into this session.
	other := &user{t: t, gate: g, caller: caller("key:b"), scope: on("modern")}
	other.open()
	_, err = g.Do(t.Context(), Request{Caller: other.caller, Scope: other.scope, Session: u.session, Message: initialize()})
	if RefusalOf(err).Reason != Gone {
		t.Errorf("got %v for another's session", err)
	}
	pids := map[string]bool{}
	for _, who := range []*user{u, other} {
		pids[string(who.answer(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pid"}}`).Result())] = true
	}
	if len(pids) != 2 {
		t.Errorf("got %d processes for two sessions, want 2", len(pids))
	}
	if opener.Running() < 2 {
		t.Errorf("got %d servers", opener.Running())
	}
}

// Sessions that share a process see nothing of each other.
func TestSharedServer(t *testing.T) {
	g, _ := newGate(t)
	g = changed(g, func(echo *policy.Server) { echo.Instances, echo.Replicas = policy.InstancesShared, 1 })
	var users []*user
	pids := map[string]bool{}
	for _, subject := range []string{"key:a", "key:b"} {
		u := &user{t: t, gate: g, caller: caller(subject), scope: on("echo")}
		u.open()
		users = append(users, u)
		pids[string(u.answer(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pid"}}`).Result())] = true
	}
	if len(pids) != 1 {
		t.Errorf("got %d processes, want one that is shared", len(pids))
	}
	// The same ids and tokens at the same time.
	const progressing = `{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"progress","arguments":{"n":3},"_meta":{"progressToken":"p"}}}`
	calls := []link.Call{users[0].do(progressing).Call, users[1].do(progressing).Call}
	for i, call := range calls {
		var got []mcp.Message
		for len(got) == 0 || got[len(got)-1].Kind() != mcp.Response {
			<-call.Ready()
			got = append(got, call.Take()...)
		}
		if len(got) != 4 || string(got[0].At(got[0].Param("progressToken"))) != `"p"` || string(got[3].ID()) != "5" {
			t.Errorf("user %d: got %d messages, the first %s", i, len(got), got[0].Raw())
		}
	}
	// A cancellation is for one's own call.
	waiting := users[0].do(`{"jsonrpc":"2.0","id":6,"method":"tools/call","params":{"name":"wait"}}`).Call
	users[1].do(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":6}}`)
	users[1].answer(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"pid"}}`)
	select {
	case <-waiting.Ready():
		t.Errorf("got %s, cancelled by another", waiting.Take()[0].Raw())
	default:
	}
	// What the server asks can be put to neither.
	got := users[0].answer(`{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"name":"ask"}}`)
	if !strings.Contains(string(got.Raw()), "offers no such capability") {
		t.Errorf("got %s", got.Raw())
	}
}

// A translated session obeys the policy of the time.
func TestSessionLosesWhatItMayNoMoreUse(t *testing.T) {
	g, _ := newGate(t)
	who := caller("key:a", "echo", "modern")
	u := &user{t: t, gate: g, caller: who, scope: policy.Scope{}}
	u.open()
	next := *g.policy
	next.Servers = map[string]policy.Server{"modern": g.policy.Servers["modern"]}
	u.gate = New(Rules{Policy: &next}, g.fleet, g.sessions)
	if got := u.names(""); !slices.Equal(got, []string{"modern__echo"}) {
		t.Errorf("got %v", got)
	}
	got := u.answer(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"echo__echo"}}`)
	if got.Err() == nil {
		t.Errorf("got %s from a server that is gone", got.Raw())
	}
}

// A merged subscription ends with the policy that it was opened under.
func TestMergedSubscriptionEndsWithItsPolicy(t *testing.T) {
	g, _ := newGate(t)
	u := &user{t: t, gate: g, caller: caller("key:a", "echo", "modern"), scope: policy.Scope{}}
	call := u.do(`{"jsonrpc":"2.0","id":"s","method":"subscriptions/listen","params":{` + stateless + `,"notifications":{"toolsListChanged":true}}}`).Call
	<-call.Ready()
	if got := call.Take(); got[0].Method() != mcp.MethodAcknowledged {
		t.Fatalf("got %s", got[0].Raw())
	}
	New(g.rules, g.fleet, g.sessions)
	if got, err := link.Await(t.Context(), call); err != nil || string(got.ID()) != `"s"` {
		t.Errorf("got %s, %v", got.Raw(), err)
	}
}

// What the stateless era has no more is refused here: servers that speak both eras
// would take initialize for the other one.
func TestStatelessEraHasNoHandshake(t *testing.T) {
	g, opener := newGate(t)
	for _, method := range []string{"initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"} {
		_, err := g.Do(t.Context(), Request{Caller: caller("key:a"), Scope: on("modern"), Stateless: true, Message: mcp.NewRequest([]byte("1"), method, nil)})
		if got := RefusalOf(err); got.Reason != NoMethod || got.Code != mcp.CodeMethodNotFound {
			t.Errorf("%s: got %v", method, err)
		}
	}
	if got := opener.Opened(); len(got) != 0 {
		t.Errorf("got %v started", got)
	}
}

func TestTool(t *testing.T) {
	g, opener := newGate(t)
	for scope, name := range map[policy.Scope]string{on("echo"): "echo", {}: "modern__echo"} {
		definition, err := g.Tool(t.Context(), caller("key:a", "echo", "modern"), scope, name, false)
		if err != nil || !strings.Contains(string(definition), `"inputSchema"`) {
			t.Errorf("%s: got %s, %v", scope, definition, err)
		}
	}
	definition, err := g.Tool(t.Context(), caller("key:a"), on("echo"), "nothing", false)
	if definition != nil || err != nil {
		t.Errorf("got %s, %v", definition, err)
	}
	before := len(opener.Opened())
	_, err = g.Tool(t.Context(), caller("key:a", "echo"), on("modern"), "echo", false)
	wantDenied(t, err)
	if len(opener.Opened()) != before {
		t.Error("a server was started for somebody who may not use it")
	}
}
