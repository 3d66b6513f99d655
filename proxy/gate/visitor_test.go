package gate

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"mcpgateway/policy"
)

// TestSame: two identities are the same if nothing of them differs, whatever an identity
// has.
func TestSame(t *testing.T) {
	t.Parallel()
	whole := func() *policy.Identity {
		return &policy.Identity{
			Subject: "s", Name: "n", Method: "m", Servers: []string{"a"}, Projects: []string{"a"}, User: "u", Groups: []string{"a"}, Roles: []string{"a"},
			Scopes: []string{"a"}, Certificate: "c", Key: "k", Claims: map[string]any{"a": "b"}, Expires: time.Unix(1, 0),
		}
	}
	one := whole()
	other := whole()
	if other.Claims = one.Claims; !same(one, other) {
		t.Error("two of one token are not the same")
	}
	for i := range reflect.TypeFor[policy.Identity]().NumField() {
		other := whole()
		other.Claims = one.Claims
		field := reflect.ValueOf(other).Elem().Field(i)
		name := reflect.TypeFor[policy.Identity]().Field(i).Name
		if field.IsZero() {
			t.Errorf("%s: the test has nothing of it", name)
		}
		switch field.Kind() {
		case reflect.Slice:
			field.Set(reflect.ValueOf([]string{"b"}))
		case reflect.Map:
			field.Set(reflect.ValueOf(whole().Claims)) // of another token
		case reflect.String:
			field.SetString("other")
		default:
			field.Set(reflect.ValueOf(time.Unix(2, 0)))
		}
		if same(one, other) {
			t.Errorf("%s differs: got the same", name)
		}
	}
}

const byTime = `
roles:
  always: {permissions: [{actions: ["*"], servers: [echo]}]}
  now: {permissions: [{actions: ["*"], servers: [modern], when: 'now > timestamp("2000-01-01T00:00:00Z")'}]}
  later: {permissions: [{actions: ["*"], servers: [crash], when: 'now > timestamp("3000-01-01T00:00:00Z")'}]}
bindings:
  - {role: always, users: ["*"]}
  - {role: now, users: ["*"]}
  - {role: later, users: ["*"]}
`

// TestVisitorsAreRemembered: who comes again is the same visitor, unless time may decide
// otherwise, or the gate is another.
func TestVisitorsAreRemembered(t *testing.T) {
	first, _ := newGate(t)
	g := ruled(t, first, byTime)
	who := &policy.Identity{Subject: "s", User: "u"}
	visit := func(g *Gate, who *policy.Identity, scope policy.Scope) *visitor {
		t.Helper()
		v, err := g.visit(who, scope)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	one := visit(g, who, on("echo"))
	if visit(g, who, on("echo")) != one {
		t.Error("got another visitor the second time")
	}
	if visit(ruled(t, first, byTime), who, on("echo")) == one {
		t.Error("got the same visitor by another gate")
	}
	for _, scope := range []policy.Scope{on("modern"), {}} {
		one, again := visit(g, who, scope), visit(g, who, scope)
		if one == again {
			t.Errorf("%s: got the same visitor, where time decides", scope)
		}
	}
	narrow := *who
	narrow.Servers = []string{"modern"}
	var denied *policy.DeniedError
	if _, err := g.visit(&narrow, on("echo")); !errors.As(err, &denied) {
		t.Errorf("one subject with less: got %v", err)
	}
	if _, err := g.visit(who, on("crash")); !errors.As(err, &denied) {
		t.Errorf("too early: got %v", err)
	}
}
