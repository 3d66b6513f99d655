package rbac

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/rules"
)

// load makes an engine of a policy file's text.
func load(t testing.TB, text string) *Engine {
	t.Helper()
	data, err := rules.Parse("p.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(data)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

const example = `
roles:
  viewer:
    permissions:
      - actions: [resources/read]
        projects: [alpha]
        resources: ["file:///projects/alpha/*"]
  developer:
    extends: [viewer]
    permissions:
      - actions: [tools/call]
        projects: [alpha]
        servers: [files, "git-*"]
        tools: ["read_*"]
        when: 'args.path.startsWith("/projects/alpha") && identity.groups.exists(g, g == "dev")'
      - effect: deny
        actions: [tools/call]
        tools: ["delete_*"]
      - actions: ["*"]
        servers: [git-hub]
  prompter:
    permissions:
      - actions: [prompts/get]
        prompts: [hello]
      - actions: ["tasks/*"]
  nosy:
    from_credential: true
    permissions: [{actions: [tools/call], tools: [look]}, {actions: [resources/read], resources: ["db://table"]}]
  hidden:
    permissions: [{actions: ["*"]}]
  guarded:
    permissions:
      - actions: [tools/call]
      - {effect: deny, actions: [tools/call], tools: [write], when: 'args.path.startsWith("/etc")'}
      - {effect: deny, actions: [tools/call], tools: [own], when: 'project == "alpha"'}
  everything:
    permissions:
      - actions: ["*"]
      - effect: deny
        actions: ["*"]
        resources: ["file:///secret/*", "file:///exact", "http://internal.example/*"]
bindings:
  - {role: developer, users: ["ana@example.com"]}
  - {role: prompter, groups: [prompt], projects: [alpha]}
  - {role: guarded, keys: [ci]}
  - {role: everything, certificates: ["spiffe://example.org/ns/prod/*"]}
  - {role: prompter, claims: {org_id: org_1, plan: gold}}
  - {role: nosy, scopes: [a, b]}
  - {role: nosy, groups: [org], claims: {org_id: org_2}}
`

func TestDecide(t *testing.T) {
	t.Parallel()
	e := load(t, example)
	ana := policy.Identity{Subject: "jwt:x|ana", User: "ana@example.com", Groups: []string{"dev"}}
	anaAlone := policy.Identity{Subject: "jwt:x|ana", User: "ana@example.com"}
	ci := policy.Identity{Subject: "key:1", Key: "ci", Name: "ana@example.com"}
	pod := policy.Identity{Subject: "mtls:x", Certificate: "spiffe://example.org/ns/prod/a"}
	claims := func(v map[string]any) policy.Identity { return policy.Identity{Subject: "jwt:y", Claims: v} }
	call := func(server, tool, args string) Request {
		return Request{Project: "alpha", Server: server, Action: "tools/call", Tool: tool, Arguments: []byte(args)}
	}
	list := func(r Request) Request { r.Listing, r.Arguments = true, nil; return r }
	read := func(uri string) Request {
		return Request{Project: "alpha", Server: "files", Action: "resources/read", Resource: uri}
	}
	do := func(action string) Request { return Request{Project: "alpha", Server: "files", Action: action} }
	in := func(project string, r Request) Request { r.Project = project; return r }
	tests := []struct {
		name string
		id   policy.Identity
		r    Request
		want bool
		rule string // part of it
	}{
		{"nobody", policy.Identity{User: "ana@example.com"}, call("files", "read_a", `{"path":"/projects/alpha/x"}`), false, "nobody"},
		{"condition holds", ana, call("files", "read_a", `{"path":"/projects/alpha/x"}`), true, "p.yaml:11:9 (role developer)"},
		{"condition of args does not hold", ana, call("files", "read_a", `{"path":"/etc/passwd"}`), false, "condition of p.yaml:11:9"},
		{"condition of identity does not hold", anaAlone, call("files", "read_a", `{"path":"/projects/alpha/x"}`), false, "condition"},
		{"condition fails: no such argument", ana, call("files", "read_a", `{}`), false, "condition"},
		{"condition fails: no arguments", ana, call("files", "read_a", ""), false, "condition"},
		{"condition fails: a list", ana, call("files", "read_a", `["path"]`), false, "condition"},
		{"condition fails: twice the same", ana, call("files", "read_a", `{"path":"/projects/alpha/x","path":"/etc"}`), false, "condition"},
		{"condition fails: case", ana, call("files", "read_a", `{"path":"/projects/alpha/x","PATH":"/etc"}`), false, "condition"},
		{"condition fails: long s", ana, call("files", "read_a", `{"path":"/projects/alpha/x","s":1,"ſ":1}`), false, "condition"},
		{"condition fails: trailing", ana, call("files", "read_a", `{"path":"/projects/alpha/x"} {}`), false, "condition"},
		{"condition fails: large", ana, call("files", "read_a", `{"path":"/projects/alpha/x","b":"`+strings.Repeat("x", maxArguments)+`"}`), false, "condition"},
		{"condition fails: deep", ana, call("files", "read_a", `{"path":"/projects/alpha/x","b":`+strings.Repeat("[", 300)+strings.Repeat("]", 300)+`}`), false, "condition"},
		{"escaped argument", ana, call("files", "read_a", `{"pat\u0068":"\/projects/alpha/x"}`), true, ""},
		{"may be called", ana, list(call("files", "read_a", "")), true, ""},
		{"may not be called whatever the arguments", anaAlone, list(call("files", "read_a", "")), false, "condition"},
		{"pattern of a server", ana, call("git-lab", "read_a", `{"path":"/projects/alpha/x"}`), true, ""},
		{"other server", ana, call("db", "read_a", `{"path":"/projects/alpha/x"}`), false, "no rule"},
		{"other project", ana, in("beta", call("files", "read_a", `{"path":"/projects/alpha/x"}`)), false, "no rule"},
		{"other case", ana, call("files", "Read_a", `{"path":"/projects/alpha/x"}`), false, "no rule"},
		{"other alphabet", ana, call("files", "ꞧead_a", `{"path":"/projects/alpha/x"}`), false, "no rule"},
		{"all actions", ana, call("git-hub", "x", ""), true, ""},
		{"deny wins", ana, call("git-hub", "delete_x", ""), false, "p.yaml:16:9 (role developer)"},
		{"deny hides", ana, list(call("git-hub", "delete_x", "")), false, "p.yaml:16:9"},
		{"name is no user", ci, call("git-hub", "x", ""), true, "guarded"},
		{"unknown method by *", ana, Request{Project: "alpha", Server: "git-hub", Action: "tasks/get"}, true, ""},
		{"unknown method without", ana, do("tasks/get"), false, "no rule"},
		{"extends", ana, read("file:///projects/alpha/x"), true, "role viewer"},
		{"subscribe as read", ana, Request{Project: "alpha", Server: "files", Action: "resources/subscribe", Resource: "file:///projects/alpha/x"}, true, "viewer"},
		{"subscribe as read, other", ana, Request{Project: "alpha", Server: "files", Action: "resources/subscribe", Resource: "file:///x"}, false, ""},
		{"complete a template", ana, Request{Project: "alpha", Server: "files", Action: "completion/complete", Template: "file:///projects/{project}/{name}"}, true, "viewer"},
		{"complete another", ana, Request{Project: "alpha", Server: "files", Action: "completion/complete", Template: "db://{name}"}, false, ""},
		{"complete a prompt", policy.Identity{Subject: "s", Groups: []string{"prompt"}}, Request{Project: "alpha", Server: "x", Action: "completion/complete", Prompt: "hello"}, true, "prompter"},
		{"ping", ana, do("ping"), true, ""},
		{"ping elsewhere", ana, Request{Project: "beta", Server: "files", Action: "ping"}, false, ""},
		{"notification", ana, do("notifications/cancelled"), true, ""},
		{"role bound in a project", policy.Identity{Subject: "s", Groups: []string{"prompt"}}, do("tasks/list"), true, "prompter"},
		{"role bound in a project, elsewhere", policy.Identity{Subject: "s", Groups: []string{"prompt"}}, in("beta", do("tasks/list")), false, "no role"},
		{"claimed role", policy.Identity{Subject: "s", Roles: []string{"nosy"}}, call("x", "look", ""), true, "nosy"},
		{"exact resource", policy.Identity{Subject: "s", Roles: []string{"nosy"}}, read("db://table"), true, "nosy"},
		{"exact resource with a query", policy.Identity{Subject: "s", Roles: []string{"nosy"}}, read("db://table?all"), false, "no rule"},
		{"claimed role that can't be", policy.Identity{Subject: "s", Roles: []string{"hidden"}}, call("x", "look", ""), false, "no role"},
		{"claims, all", claims(map[string]any{"org_id": "org_1", "plan": "gold"}), do("tasks/x"), true, "prompter"},
		{"claims, lists", claims(map[string]any{"org_id": []any{"x", "org_1"}, "plan": []any{"gold"}}), do("tasks/x"), true, "prompter"},
		{"claims, one", claims(map[string]any{"org_id": "org_1"}), do("tasks/x"), false, ""},
		{"claims, inside a text", claims(map[string]any{"org_id": "org_1", "plan": "x gold"}), do("tasks/x"), false, ""},
		{"scopes", policy.Identity{Subject: "s", Scopes: []string{"b", "a"}}, call("x", "look", ""), true, "nosy"},
		{"scopes, one", policy.Identity{Subject: "s", Scopes: []string{"b"}}, call("x", "look", ""), false, ""},
		{"group and claim", policy.Identity{Subject: "s", Groups: []string{"org"}, Claims: map[string]any{"org_id": "org_2"}}, call("x", "look", ""), true, "nosy"},
		{"group alone", policy.Identity{Subject: "s", Groups: []string{"org"}}, call("x", "look", ""), false, ""},
		{"claim alone", claims(map[string]any{"org_id": "org_2"}), call("x", "look", ""), false, ""},
		{"deny on args", ci, call("x", "write", `{"path":"/etc/x"}`), false, "p.yaml:34:9"},
		{"deny on args, others", ci, call("x", "write", `{"path":"/home/x"}`), true, "p.yaml:33:9"},
		{"deny that fails", ci, call("x", "write", `{"path":["/home/x"]}`), false, "p.yaml:34:9"},
		{"deny that fails: unreadable", ci, call("x", "write", `{"path":"/home/x","n":123456789012345678901234567890}`), false, "p.yaml:34:9"},
		{"deny on args is not yet", ci, list(call("x", "write", "")), true, "p.yaml:33:9"},
		{"deny without args while listing", ci, list(call("x", "own", "")), false, "p.yaml:35:9"},
		{"certificate", pod, call("x", "y", ""), true, "everything"},
		{"denied resource", pod, read("file:///secret/x"), false, "p.yaml:39:9"},
		{"allowed resource", pod, read("file:///open/x"), true, ""},
		{"tools are no resources", pod, call("x", "file:///secret/x", ""), true, ""},
		{"denied template", pod, list(Request{Project: "alpha", Server: "files", Action: "resources/read", Template: "file:///secret/{name}"}), false, ""},
		{"open template", pod, list(Request{Project: "alpha", Server: "files", Action: "resources/read", Template: "file:///{name}"}), true, ""},
	}
	// Each of these may be what the policy denies, so what isn't plain is denied.
	for _, uri := range []string{
		"file:///open/../secret/x", "file:///open/%2e%2E/secret/x", "file:///%73ecret/x", "FILE:///secret/x", "file://localhost/secret/x",
		"file:/secret/x", "file:///./secret/x", "file:////secret/x", "file:///open//x", `file:///open\..\secret\x`, "file:///open/%2F../x",
		"file:///secret%2Fx", "file:///open/..;/secret/x", "file:///open?/../secret/x", "file:///\x00secret", "file:///secr\u00e9t", "secret/x", "/secret/x", "",
		"file:///exact?x", "file:///exact#y", "file:///exact/", "file:///exact//", "http://INTERNAL.example/x", "http://internal.example:80/x", "http://a@internal.example/x",
		"http://internal.example./x", "http://internal.example/x", "file:///open/%zz", "file:///open/%c3%a4", "file:///a b", "file:///open/%2525", "file:///open/.",
		"file:///open/..", "file:///open/../", "file:///" + strings.Repeat("a", maxURI),
	} {
		tests = append(tests, struct {
			name string
			id   policy.Identity
			r    Request
			want bool
			rule string
		}{"evasion " + uri[:min(len(uri), 40)], pod, read(uri), false, "p.yaml:39:9"})
	}
	for _, uri := range []string{"file:///projects/alpha/../x", "file:///projects/alpha/%2e%2e/x", "file:///projects/alpha//x", "FILE:///projects/alpha/x", "file:///projects/alphabet"} {
		tests = append(tests, struct {
			name string
			id   policy.Identity
			r    Request
			want bool
			rule string
		}{"way out " + uri, ana, read(uri), false, "no rule"})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.r.Identity = &tt.id
			for range 2 { // the second time the caller is known
				got := e.Decide(&tt.r)
				if got.Allowed != tt.want || !strings.Contains(got.Rule, tt.rule) || got.Rule == "" {
					t.Errorf("got %+v, want %v by %q", got, tt.want, tt.rule)
				}
			}
		})
	}
}

// Without the normal form, each way around a rule leads somewhere: the defence is
// what stops it.
func TestWithoutNormalForm(t *testing.T) {
	t.Parallel()
	e := load(t, example)
	match, seen := newSet(len(e.rules)), newSet(1000)
	for _, uri := range []string{"file:///projects/alpha/../x", "file:///projects/alpha/%2e%2e/x"} {
		e.resources.find(uri, match, seen)
		if !match.has(0) {
			t.Errorf("%s: no pattern matches it: the test proves nothing", uri)
		}
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	id := &policy.Identity{
		Subject: "jwt:i|s", Name: "Ana", Method: policy.MethodJWT, User: "s", Groups: []string{"g"}, Roles: []string{"r"}, Scopes: []string{"a"},
		Certificate: "c", Key: "k", Claims: map[string]any{"n": json.Number("9007199254740993"), "list": []any{json.Number("1"), "x"}, "big": json.Number("1e999")},
	}
	for when, want := range map[string]bool{
		`identity.subject == "jwt:i|s" && identity.name == "Ana" && identity.method == "jwt" && identity.user == "s"`:                       true,
		`identity.groups == ["g"] && "r" in identity.roles && "a" in identity.scopes && identity.certificate == "c" && identity.key == "k"`: true,
		`identity.claims.n == 9007199254740993`: true,
		`identity.claims.n == 9007199254740992`: false,
		`1 in identity.claims.list`:             true,
		`identity.claims.big > 1`:               false,
		`identity.claims.absent == 1`:           false,
		`!has(identity.claims.absent)`:          true,
		`identity.claims["list"].size() == 2`:   true,
		`args.n == 9007199254740993`:            true,
		`args.n == 9007199254740992`:            false,
		`args.u == 18446744073709551615u`:       true,
		`args.d == 1.5 && args.one == 1`:        true,
		`args.big > 1`:                          true,
		`args.nothing == null`:                  true,
		`args.list[1].x == "y"`:                 true,
		`project == "p" && server == "s" && action == "tools/call" && tool == "t" && resource == "" && prompt == ""`: true,
		`now < timestamp("2026-01-02T00:00:00Z") && now.getHours() == 12`:                                            true,
		`args.text.matches("^[a-z]+$")`: true,
		`[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, a+b+c+d+e > 0)))))`: false, // too dear
	} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			e := load(t, "roles: {r: {permissions: [{actions: [tools/call], when: '"+when+"'}]}}\nbindings: [{role: r, users: ['*']}]")
			got := e.Decide(&Request{Identity: id, Project: "p", Server: "s", Action: "tools/call", Tool: "t", Now: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC),
				Arguments: []byte(`{"n": 9007199254740993, "u": 18446744073709551615, "d": 1.5, "one": 1.0, "nothing": null, "list": [1, {"x": "y"}], "text": "abc", "big": 1e10}`)})
			if got.Allowed != want {
				t.Errorf("got %+v, want %v", got, want)
			}
		})
	}
}

// Every mistake in a condition is reported, where it is in the file.
func TestConditionMistakes(t *testing.T) {
	t.Parallel()
	text := `roles:
  r:
    permissions:
      - {actions: [tools/call], when: 'args.x = 1'}
      - actions: [tools/call]
        when: args.x
      - actions: [tools/call]
        when: |
          args.x == 1 &&
            identity.grups == []
      - {actions: [tools/call], when: "nme == 'x'"}
      - {actions: [resources/read], resources: ["FILE:///x", "file:///a/../*", "file:///ok/*", "*"]}
`
	data, err := rules.Parse("p.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	_, err = New(data)
	var got Errors
	if !errors.As(err, &got) {
		t.Fatalf("got %v, want Errors", err)
	}
	want := []string{
		"p.yaml:4:47: when: Syntax error", "p.yaml:4:49: when: Syntax error", "p.yaml:6:15: when: is dyn, want true or false",
		`p.yaml:10:21: when: identity has no "grups"`, "p.yaml:11:40: when: undeclared reference to 'nme'",
		`p.yaml:12:9: resources: "FILE:///x" matches no URI`, `p.yaml:12:9: resources: "file:///a/../*" matches no URI`,
	}
	lines := strings.Split(got.Error(), "\n")
	for i := range max(len(want), len(lines)) {
		if i >= len(want) || i >= len(lines) || !strings.HasPrefix(lines[i], want[i]) {
			t.Fatalf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
		}
	}
}

// What package rules refuses, New refuses too: no proxy goes on with half a policy.
func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, data := range map[string]*policy.RBAC{
		"a role that is not there": {Roles: map[string]policy.Role{"a": {Extends: []string{"b"}}}},
		"a binding to nothing":     {Bindings: []policy.Binding{{Role: "x", Users: []string{"u"}}}},
	} {
		if _, err := New(data); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	if _, err := New(&policy.RBAC{Roles: map[string]policy.Role{"a": {Extends: []string{"a"}}}}); err != nil {
		t.Errorf("a cycle: got %v, want an end", err)
	}
}

func TestMayUse(t *testing.T) {
	t.Parallel()
	e := load(t, `
roles:
  r:
    permissions:
      - {actions: [tools/call], servers: [a, b, c, d], when: 'tool == "x"'}
      - {effect: deny, actions: ["*"], servers: [b]}
      - {effect: deny, actions: ["*"], servers: [c], when: 'tool == "y"'}
      - {effect: deny, actions: ["*"], servers: [d], when: 'project == "p"'}
      - {actions: [tools/call], servers: [e], when: 'project == "q"'}
      - {actions: [tools/call], servers: [f]}
      - {effect: deny, actions: ["*"], servers: [f], tools: ["*"]}
      - {actions: [tools/call], servers: [h], when: '[1].exists(n, n == 1 && now < timestamp("2030-01-01T00:00:00Z"))'}
      - {actions: [tools/call], servers: [i]}
      - {effect: deny, actions: ["*"], servers: [i], when: 'now.getFullYear() == 2029'}
bindings: [{role: r, keys: [k]}]
`)
	id := &policy.Identity{Subject: "key:1", Key: "k"}
	for server, want := range map[string]bool{"a": true, "b": false, "c": true, "d": false, "e": false, "f": true, "g": false, "h": false, "i": true} {
		now := time.Date(2030, 1, 2, 0, 0, 0, 0, time.UTC)
		got, always := e.MayUse(id, "p", server, now)
		before, _ := e.MayUse(id, "p", server, now.AddDate(-1, 0, 0))
		timed := server == "h" || server == "i"
		if got != want || before == got && timed || always == timed {
			t.Errorf("%s: got %v, before that %v, and %v that it is always so, want %v", server, got, before, always, want)
		}
	}
}
