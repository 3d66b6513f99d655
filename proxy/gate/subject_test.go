package gate

import (
	"slices"
	"testing"

	"mcpgateway/policy"
	"mcpgateway/policy/rbac"
	"mcpgateway/policy/rules"
	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/mcp"
)

// ruled returns the gate under a policy file.
func ruled(t *testing.T, g *Gate, file string) *Gate {
	t.Helper()
	data, err := rules.Parse("p.yaml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	next := g.rules
	if next.RBAC, err = rbac.New(data); err != nil {
		t.Fatal(err)
	}
	return New(next, g.fleet, g.sessions)
}

const twoGroups = `
roles:
  all: {permissions: [{actions: ["*"]}]}
  little: {permissions: [{actions: [prompts/get]}, {actions: [resources/read], resources: ["test://a*"]}]}
bindings:
  - {role: all, groups: [admins]}
  - {role: little, groups: [guests]}
`

// One subject can have a token that is good for all and one that is good for little. The
// latter has nothing of the former: not its lists, and not its sessions' permissions.
func TestOneSubjectTwoTokens(t *testing.T) {
	first, _ := newGate(t)
	g := ruled(t, first, twoGroups)
	wide := &user{t: t, gate: g, caller: &policy.Identity{Subject: "jwt:i|s", Servers: []string{"modern"}, Groups: []string{"admins"}, Claims: map[string]any{"iat": 1}}}
	narrow := &user{t: t, gate: g, caller: &policy.Identity{Subject: "jwt:i|s", Servers: []string{"modern"}, Groups: []string{"guests"}}}
	if got := wide.names(stateless); !slices.Contains(got, "modern__echo") {
		t.Fatalf("got %q", got)
	}
	if tool, err := g.Tool(t.Context(), wide.caller, wide.scope, "modern__echo", false); tool == nil || err != nil {
		t.Fatalf("got %s, %v", tool, err)
	}
	if tool, err := g.Tool(t.Context(), narrow.caller, narrow.scope, "modern__echo", false); tool != nil || err != nil {
		t.Errorf("got %s, %v of a tool that may not be used", tool, err)
	}
	if got := narrow.names(stateless); len(got) != 0 {
		t.Errorf("got %q in the list of who may use no tool", got)
	}
	wide.open()
	narrow.session = wide.session
	// The other one comes between the caller's request and its dispatch.
	held, err := g.sessions.find(wide.session, wide.caller.Subject, wide.scope)
	if err != nil {
		t.Fatal(err)
	}
	held.caller.Store(wide.caller)
	ctx := &passenger{Context: t.Context(), caller: narrow.caller}
	request, err := mcp.Parse([]byte(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"modern__echo"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := held.Call(ctx, request); err == nil {
		t.Error("got a call for who may use no tool")
	}
}

// A renewed token of the same person has the same lists.
func TestRenewedTokenSeesTheSame(t *testing.T) {
	first, _ := newGate(t)
	g := ruled(t, first, twoGroups)
	token := func(iat, org string) string {
		return g.remembered(&policy.Identity{Subject: "s", Claims: map[string]any{"iat": iat, "org": org}}, fleet.Owner{Subject: "s"})
	}
	if token("1", "a") != token("2", "a") || token("1", "a") == token("1", "b") {
		t.Error("got other lists for the same, or the same for others")
	}
}

// Who subscribes to a folder is told of what is in it, but of nothing else than what it
// may read.
func TestUpdatesOfOtherResourcesAreHidden(t *testing.T) {
	first, _ := newGate(t)
	g := ruled(t, first, twoGroups)
	p := &passage{guard: g.guard(&policy.Identity{Subject: "s", Groups: []string{"guests"}}, on("modern"))}
	for text, want := range map[string]bool{
		`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"test://a/b"}}`: false,
		`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"test://b"}}`:   true,
		`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{}}`:                   true,
		`{"jsonrpc":"2.0","method":"notifications/progress","params":{}}`:                            false,
	} {
		m, err := mcp.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := p.hides(m); got != want {
			t.Errorf("%s: got %t, want %t", text, got, want)
		}
	}
}
