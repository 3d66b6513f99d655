package rbac

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"mcpgateway/policy"
)

// shape is a policy of so many rules, and a request by it.
type shape struct {
	name    string
	rules   func(n int) *policy.RBAC
	request Request
}

func permissions(n int, each func(i int) policy.Permission) *policy.RBAC {
	role := policy.Role{}
	for i := range n {
		p := each(i)
		p.At = policy.Position{Line: i, Column: 1}
		if p.Actions == nil {
			p.Actions = []string{"tools/call"}
		}
		role.Permissions = append(role.Permissions, p)
	}
	return &policy.RBAC{File: "p", Roles: map[string]policy.Role{"r": role}, Bindings: []policy.Binding{{Role: "r", Users: []string{"ana"}}}}
}

func tools(format string) func(int) policy.Permission {
	return func(i int) policy.Permission {
		return policy.Permission{Tools: []string{fmt.Sprintf(format, i)}, Servers: []string{"files"}}
	}
}

func shapes() []shape {
	call := Request{Action: "tools/call", Tool: "read_file_750", Server: "files", Project: "alpha"}
	return []shape{
		{"exact", func(n int) *policy.RBAC { return permissions(n, tools("read_file_%d")) }, call},
		{"prefix", func(n int) *policy.RBAC { return permissions(n, tools("read_file_%d*")) }, call},
		{"suffix", func(n int) *policy.RBAC { return permissions(n, tools("*_%d")) }, call},
		{"middle", func(n int) *policy.RBAC { return permissions(n, tools("*e_%d*")) }, call},
		{"many_stars", func(n int) *policy.RBAC { return permissions(n, tools("*re*d*%d*")) }, call},
		{"all_globs_match", func(n int) *policy.RBAC {
			return permissions(n, func(i int) policy.Permission {
				p := policy.Permission{Tools: []string{"read_*"}, Servers: []string{"file*"}, Projects: []string{"al*"}}
				if i < n-1 {
					p.Effect, p.Servers = "deny", []string{"git"}
				}
				return p
			})
		}, call},
		{"deny_heavy", func(n int) *policy.RBAC {
			return permissions(n, func(i int) policy.Permission {
				p := tools("delete_%d_*")(i)
				p.Effect = "deny"
				if i == n-1 {
					p = policy.Permission{}
				}
				return p
			})
		}, call},
		{"nothing_matches", func(n int) *policy.RBAC { return permissions(n, tools("delete_%d*")) }, call},
		{"roles", func(n int) *policy.RBAC {
			data := &policy.RBAC{File: "p", Roles: map[string]policy.Role{}}
			for i := range n {
				name := fmt.Sprintf("role-%d", i)
				data.Roles[name] = policy.Role{Permissions: []policy.Permission{tools("read_file_%d*")(i)}}
				data.Roles[name].Permissions[0].Actions = []string{"tools/call"}
				data.Bindings = append(data.Bindings, policy.Binding{Role: name, Users: []string{"ana"}, Claims: map[string]string{"org": "o"}})
			}
			return data
		}, call},
		{"resources", func(n int) *policy.RBAC {
			return permissions(n, func(i int) policy.Permission {
				return policy.Permission{Actions: []string{"resources/read"}, Resources: []string{fmt.Sprintf("file:///projects/%d/*", i)}}
			})
		}, Request{Action: "resources/read", Resource: "file:///projects/750/src/main.go?x", Server: "files", Project: "alpha"}},
		{"condition", func(n int) *policy.RBAC {
			return permissions(n, func(i int) policy.Permission {
				p := tools("read_file_%d*")(i)
				p.When = `args.path.startsWith("/projects/alpha") && identity.groups.exists(g, g == "dev")`
				return p
			})
		}, Request{Action: "tools/call", Tool: "read_file_750", Server: "files", Project: "alpha", Arguments: []byte(`{"path":"/projects/alpha/x"}`)}},
	}
}

func someone() *policy.Identity {
	return &policy.Identity{Subject: "jwt:x|ana", User: "ana", Groups: []string{"dev", "ops", "all"}, Scopes: []string{"a"},
		Claims: map[string]any{"org": "o", "n": json.Number("1")}}
}

func BenchmarkDecide(b *testing.B) {
	for _, s := range shapes() {
		for _, n := range []int{10, 1000} {
			b.Run(fmt.Sprintf("%s/%d", s.name, n), func(b *testing.B) {
				e, r := s.engine(b, n)
				b.ReportAllocs()
				for b.Loop() {
					e.Decide(r)
				}
			})
		}
	}
}

func (s shape) engine(t testing.TB, n int) (*Engine, *Request) {
	e, err := New(s.rules(n))
	if err != nil {
		t.Fatal(err)
	}
	r := s.request
	r.Identity, r.Now = someone(), time.Now()
	return e, &r
}

// A decision allocates what it does whatever the number of rules.
func TestAllocations(t *testing.T) {
	for _, s := range shapes() {
		few, many := 0.0, 0.0
		for _, n := range []int{800, 4000} {
			e, r := s.engine(t, n)
			if got := e.Decide(r).Allowed; got == (s.name == "nothing_matches") {
				t.Errorf("%s: got %v: it is not what is meant to be measured", s.name, got)
			}
			few, many = many, testing.AllocsPerRun(100, func() { e.Decide(r) })
		}
		// With the race detector, a sync.Pool forgets now and then.
		if many > few+1 {
			t.Errorf("%s: got %v allocations with 4000 rules and %v with 800", s.name, many, few)
		}
	}
}
