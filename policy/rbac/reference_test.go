package rbac

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"mcpgateway/policy"
)

// reference decides as the documentation says, rule by rule, with nothing indexed and
// nothing remembered. Its conditions are "project == \"alpha\"" and "args.x == 1".
type reference struct{ data *policy.RBAC }

func (f reference) decide(r *Request) bool {
	roles := make(map[string]bool)
	for _, b := range f.data.Bindings {
		if f.bound(b, r) {
			f.extend(roles, b.Role)
		}
	}
	for _, role := range r.Identity.Roles {
		if f.data.Roles[role].FromCredential {
			f.extend(roles, role)
		}
	}
	allowed := false
	for role := range roles {
		for _, p := range f.data.Roles[role].Permissions {
			if !f.about(p, r) {
				continue
			}
			holds, known := true, true
			switch p.When {
			case `project == "alpha"`:
				holds = r.Project == "alpha"
			case `args.x == 1`:
				holds, known = strings.Contains(string(r.Arguments), `"x":1`), !r.Listing
				if known && p.Denies() && !strings.Contains(string(r.Arguments), "x") {
					holds = true // it can't be evaluated
				}
			}
			switch {
			case p.Denies() && known && holds:
				return false
			case !p.Denies() && (holds || !known):
				allowed = true
			}
		}
	}
	return allowed
}

func (f reference) extend(roles map[string]bool, role string) {
	if !roles[role] {
		roles[role] = true
		for _, other := range f.data.Roles[role].Extends {
			f.extend(roles, other)
		}
	}
}

func (f reference) bound(b policy.Binding, r *Request) bool {
	id := r.Identity
	who := len(b.Users)+len(b.Groups)+len(b.Keys)+len(b.Certificates) == 0
	for _, user := range b.Users {
		who = who || user == "*" || user == id.User
	}
	for _, group := range b.Groups {
		who = who || slices.Contains(id.Groups, group)
	}
	for _, key := range b.Keys {
		who = who || key == id.Key
	}
	for _, certificate := range b.Certificates {
		who = who || id.Certificate != "" && like(certificate, id.Certificate)
	}
	for name, want := range b.Claims {
		text, _ := id.Claims[name].(string)
		list, _ := id.Claims[name].([]any)
		who = who && (text == want || slices.Contains(list, any(want)))
	}
	for _, scope := range b.Scopes {
		who = who && slices.Contains(id.Scopes, scope)
	}
	return who && likeAny(b.Projects, r.Project)
}

func (f reference) about(p policy.Permission, r *Request) bool {
	action, named, name := r.Action, []string(nil), ""
	unnamed := len(p.Tools)+len(p.Resources)+len(p.Prompts) == 0
	switch action {
	case "tools/call":
		named, name = p.Tools, r.Tool
	case "prompts/get":
		named, name = p.Prompts, r.Prompt
	case "resources/read", "resources/subscribe":
		action, named, name = "resources/read", p.Resources, r.Resource
	}
	if !slices.ContainsFunc(p.Actions, func(a string) bool { return like(a, action) }) || !likeAny(p.Projects, r.Project) || !likeAny(p.Servers, r.Server) {
		return false
	}
	if unnamed {
		return true
	}
	return slices.ContainsFunc(named, func(pattern string) bool { return like(pattern, name) })
}

func likeAny(patterns []string, text string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool { return like(p, text) })
}

func TestAgainstReference(t *testing.T) {
	t.Parallel()
	allowed, denied := 0, 0
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		data := randomPolicy(random)
		e, err := New(data)
		if err != nil {
			t.Fatal(err)
		}
		for range 200 {
			r := randomRequest(random)
			got, want := e.Decide(r), reference{data}.decide(r)
			if got.Allowed != want {
				t.Fatalf("seed %d: got %+v, want %v\n%+v\n%+v\n%s\n%+v", seed, got, want, *r, *r.Identity, r.Arguments, data)
			}
			if want {
				allowed++
			} else {
				denied++
			}
		}
	}
	if allowed < 5000 || denied < 5000 {
		t.Errorf("got %d allowed and %d denied: too few of one to prove anything", allowed, denied)
	}
}

// some gives up to three of words, often none.
func some(random *rand.Rand, words ...string) (out []string) {
	for range max(0, random.IntN(6)-2) {
		out = append(out, words[random.IntN(len(words))])
	}
	return out
}

func randomPolicy(random *rand.Rand) *policy.RBAC {
	data := &policy.RBAC{File: "p", Roles: map[string]policy.Role{}}
	names := []string{"r0", "r1", "r2", "r3", "r4"}
	for i, name := range names {
		role := policy.Role{FromCredential: random.IntN(3) == 0}
		if i > 0 {
			role.Extends = some(random, names[:i]...)
		}
		for j := range random.IntN(40) {
			p := policy.Permission{
				Actions:  append(some(random, "tools/call", "tools/*", "prompts/get", "*"), "tools/call", "resources/read")[:1],
				Projects: some(random, "alpha", "al*", "*", "beta"), Servers: some(random, "files", "git-*", "*a*", "*"),
				At: policy.Position{Line: i*100 + j, Column: 1},
			}
			if random.IntN(2) == 0 {
				p.Tools = some(random, "read_*", "*", "*_file", "read_file", "*ad_f*", "r*d*e", "delete_*", "d*")
				p.Resources = some(random, "file:///a/*", "*", "file:///a/b", "*/b")
				p.Prompts = some(random, "hello", "h*")
			}
			if random.IntN(5) == 0 {
				p.Effect = "deny"
			}
			p.When = []string{"", "", "", `project == "alpha"`, `args.x == 1`}[random.IntN(5)]
			role.Permissions = append(role.Permissions, p)
		}
		data.Roles[name] = role
	}
	for range random.IntN(8) {
		b := policy.Binding{Role: names[random.IntN(5)], Users: some(random, "u0", "u1", "*"), Groups: some(random, "g0", "g1"), Keys: some(random, "k0"),
			Certificates: some(random, "spiffe://x/*", "spiffe://y/a"), Scopes: some(random, "s0", "s1"), Projects: some(random, "alpha", "b*")}
		if random.IntN(4) == 0 {
			b.Claims = map[string]string{"org": fmt.Sprint("o", random.IntN(2))}
		}
		data.Bindings = append(data.Bindings, b)
	}
	return data
}

func randomRequest(random *rand.Rand) *Request {
	pick := func(words ...string) string { return words[random.IntN(len(words))] }
	id := &policy.Identity{Subject: "s", User: pick("", "u0", "u1", "u2"), Groups: some(random, "g0", "g1", "g2"), Key: pick("", "k0", "k1"),
		Certificate: pick("", "spiffe://x/1", "spiffe://y/a", "spiffe://y/ab"), Scopes: some(random, "s0", "s1"), Roles: some(random, "r0", "r1", "r2", "r9")}
	switch random.IntN(3) {
	case 0:
		id.Claims = map[string]any{"org": pick("o0", "o1")}
	case 1:
		id.Claims = map[string]any{"org": []any{pick("o0", "o1"), pick("o0", "o2")}}
	}
	r := &Request{Identity: id, Project: pick("alpha", "beta"), Server: pick("files", "git-a", "db"), Listing: random.IntN(3) == 0}
	switch random.IntN(5) {
	case 0:
		r.Action, r.Resource = pick("resources/read", "resources/subscribe"), pick("file:///a/b", "file:///a/c", "file:///b", "x://y/b")
	case 1:
		r.Action, r.Prompt = "prompts/get", pick("hello", "hi", "x")
	case 2:
		r.Action = pick("tasks/get", "tools/other")
	default:
		r.Action, r.Tool = "tools/call", pick("read_file", "read_", "delete_file", "ad_f", "x_file", "", "rde", "write")
	}
	if !r.Listing {
		r.Arguments = []byte(pick("", `{}`, `{"x":1}`, `{"x":2}`))
	}
	return r
}

// A text that an index finds is one that its pattern matches, and the reverse.
func FuzzPattern(f *testing.F) {
	f.Add("read_*", "*_file", "read_file")
	f.Add("a*b*c", "*", "abc")
	f.Add("*ab*ab*", "**", "abab")
	f.Add("", "x", "")
	f.Add("ab*ba", "aa*a", "aba")
	f.Add("ab*ba", "aa*a", "aa")
	f.Fuzz(func(t *testing.T, a, b, text string) {
		patterns := []string{a, b}
		x := newIndex(2, func(i int) []string { return patterns[i : i+1] }, func(int) bool { return false })
		found, seen := newSet(2), newSet(2)
		x.find(text, found, seen)
		for i, pattern := range patterns {
			want := like(pattern, text)
			if g := newGlob(pattern); found.has(i) != want || g.match(text) != want {
				t.Errorf("%q and %q: got %v from the index and %v, want %v", pattern, text, found.has(i), g.match(text), want)
			}
		}
		if like(a, text) && like(b, text) && !overlap(a, b) {
			t.Errorf("%q and %q both match %q, but don't overlap", a, b, text)
		}
		if overlap(a, b) != overlap(b, a) {
			t.Errorf("%q and %q overlap one way only", a, b)
		}
		if !strings.Contains(text, "*") && overlap(a, text) != like(a, text) {
			t.Errorf("%q and %q: got overlap %v", a, text, overlap(a, text))
		}
	})
}

// like matches byte by byte, trying all.
func like(pattern, text string) bool {
	row := make([]bool, len(text)+1) // row[i]: pattern so far matches text[:i]
	row[0] = true
	for p := range len(pattern) {
		next := make([]bool, len(row))
		for i := range row {
			if pattern[p] == '*' {
				next[i] = row[i] || i > 0 && next[i-1]
			} else {
				next[i] = i > 0 && row[i-1] && text[i-1] == pattern[p]
			}
		}
		row = next
	}
	return row[len(text)]
}

// No arguments make a condition panic or hold by mistake.
func FuzzArguments(f *testing.F) {
	e := load(f, "roles: {r: {permissions: [{actions: [tools/call], when: 'args.path == \"/ok\"'}]}}\nbindings: [{role: r, users: ['*']}]")
	for _, seed := range []string{`{"path":"/ok"}`, `{"path":"/ok","path":"x"}`, `[]`, `{"a":[1,2.5,1e3,null,true,{"b":{}}]}`, "{\"path\":\"\\ud800\"}", `{`, ``} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got := e.Decide(&Request{Identity: &policy.Identity{Subject: "s"}, Action: "tools/call", Tool: "t", Arguments: raw})
		value, err := decodeArguments(raw)
		if want := err == nil && value["path"] == "/ok"; got.Allowed != want {
			t.Errorf("%q: got %+v, want %v", raw, got, want)
		}
	})
}

// A URI in normal form has no way up, and is in no other form.
func FuzzURI(f *testing.F) {
	for _, seed := range []string{"file:///a/b", "http://example.com/a?b#c", "db://x@y:1/z", "urn:a:b", "file:///%C3%A4", "FILE:///a", "a:/../b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		if !isNormal(uri) {
			return
		}
		if strings.Contains(uri+"/", "/../") || strings.ContainsAny(uri, "\\ \x00\x7f") || strings.Contains(strings.ToLower(uri), "%2e") || strings.Contains(uri, "%2F") {
			t.Errorf("%q is taken for normal", uri)
		}
		if scheme, _, _ := strings.Cut(uri, ":"); scheme != strings.ToLower(scheme) {
			t.Errorf("%q is taken for normal", uri)
		}
	})
}
