package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const testRules = `roles:
  viewer:
    permissions: [{actions: [resources/read]}]
  developer:
    extends: [viewer]
    permissions:
      - {actions: [tools/call], servers: [files], tools: ["read_*"], when: 'args.path.startsWith("/a/")'}
      - {effect: deny, actions: [tools/call], tools: [read_key]}
      - {actions: [tools/call], servers: [other], tools: [read_x]}
  admin:
    permissions: [{actions: ["*"]}]
bindings:
  - {role: developer, users: [ana], claims: {org: o1}}
  - {role: viewer, keys: [ci]}
`

// runPolicy runs the policy command and gives what it writes, with the error that
// decides the status.
func runPolicy(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := newPolicyCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	err := cmd.Execute()
	return out.String(), err
}

func writePolicy(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func status(err error) int {
	switch {
	case err == nil:
		return 0
	case isUnusable(err):
		return 2
	case errors.Is(err, errReported):
		return 1
	}
	return -1
}

func TestPolicyExplain(t *testing.T) {
	t.Parallel()
	path := writePolicy(t, "p.yaml", testRules)
	tests := []struct {
		name   string
		args   string
		status int
		want   []string // lines, POLICY for the path
	}{
		{"allowed", `--as ana --claim org=o1 --server files --tool read_a --args {"path":"/a/x"}`, 0, []string{
			"allow: POLICY:7:9 (role developer)", "  role developer: given by POLICY:13:5", "  role viewer: extended by developer",
			"  POLICY:7:9 (role developer): allow: matches: its condition holds",
			"  POLICY:11:19 (role admin): allow: the caller does not have the role"}},
		{"condition", `--as ana --claim org=["o0","o1"] --server files --tool read_a --args {"path":"/b"}`, 1, []string{
			"deny: no rule allows it: the condition of POLICY:7:9 (role developer) does not hold", "  role developer: given by POLICY:13:5", "  role viewer: extended by developer",
			"  POLICY:7:9 (role developer): allow: its condition does not hold",
			"  POLICY:11:19 (role admin): allow: the caller does not have the role"}},
		{"denied, other server", `--as ana --claim org=o1 --server files --tool read_key`, 1, []string{
			"deny: POLICY:8:9 (role developer)", "  role developer: given by POLICY:13:5", "  role viewer: extended by developer",
			"  POLICY:7:9 (role developer): allow: its condition can't be evaluated: no such key: path",
			"  POLICY:8:9 (role developer): deny: matches",
			"  POLICY:11:19 (role admin): allow: the caller does not have the role"}},
		{"no role", `--as bob --server files --resource file:///x`, 1, []string{
			"deny: no role of the caller holds here", "  no role: no binding is for this caller",
			"  POLICY:3:19 (role viewer): allow: the caller does not have the role",
			"  POLICY:11:19 (role admin): allow: the caller does not have the role"}},
		{"key", `--key ci --server files --resource file:///x`, 0, []string{
			"allow: POLICY:3:19 (role viewer)", "  role viewer: given by POLICY:14:5", "  POLICY:3:19 (role viewer): allow: matches",
			"  POLICY:11:19 (role admin): allow: the caller does not have the role"}},
		{"nothing asked", `--as ana --server files`, 2, nil},
		{"two things asked", `--as ana --server files --tool x --prompt y`, 2, nil},
		{"bad arguments", `--as ana --server files --tool x --args {`, 2, nil},
		{"bad claim", `--claim x --server files --tool x`, 2, nil},
		{"bad list", `--claim x=[ --server files --tool x`, 2, nil},
		{"bad time", `--server files --tool x --now today`, 2, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			out, err := runPolicy(t, append([]string{"explain", "--policy", path}, strings.Fields(tt.args)...)...)
			if got := status(err); got != tt.status {
				t.Errorf("status: got %d (%v), want %d", got, err, tt.status)
			}
			want := strings.Join(append(tt.want, ""), "\n")
			if got := strings.ReplaceAll(out, path, "POLICY"); tt.want != nil && got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
	if _, err := runPolicy(t, "explain", "--policy", path+".none", "--server", "s", "--tool", "t"); status(err) != 2 {
		t.Errorf("no file: got %v, want status 2", err)
	}
}

// With the configuration, a server's project is known.
func TestPolicyExplainByConfiguration(t *testing.T) {
	t.Parallel()
	rules := writePolicy(t, "p.yaml", "roles: {r: {permissions: [{actions: ['*'], projects: [alpha]}]}}\nbindings: [{role: r, users: ['*']}]\n")
	config := writePolicy(t, "c.yaml", "projects: {alpha: {}}\nservers:\n  a: {command: /bin/true, project: alpha}\n  b: {command: /bin/true}\n"+
		"security: {authorization: {type: rbac, policy_file: "+rules+"}}\n")
	for server, want := range map[string]int{"a": 0, "b": 1, "c": 2} {
		if out, err := runPolicy(t, "explain", "--config", config, "--as", "x", "--server", server, "--tool", "t"); status(err) != want {
			t.Errorf("server %s: got %v and %q, want status %d", server, err, out, want)
		}
	}
}

func TestPolicyTest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "p.yaml"), []byte(testRules), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, text string
		status     int
		want       string // FILE for the path
	}{
		{"met", `policy: p.yaml
tests:
  - name: reads
    as: {user: ana, claims: {org: o1}}
    server: files
    tool: read_a
    args: '{"path": "/a/x"}'
    want: allow
    rule: role developer
  - {as: {user: ana}, server: files, tool: read_a, want: deny}
  - {as: {user: ana, claims: {org: o1}}, server: files, tool: read_a, listing: true, want: allow}
`, 0, "FILE: 3 expectations, 0 not met\n"},
		{"not met", `policy: p.yaml
tests:
  - {name: one, as: {user: ana}, server: files, tool: read_a, want: allow}
  - {as: {key: ci}, server: files, resource: "file:///x", want: allow, rule: role admin}
`, 1, "FILE:3: one: got deny (no role of the caller holds here), want allow\n" +
			"FILE:4: test 2: got allow (POLICY:3:19 (role viewer)), want allow by \"role admin\"\nFILE: 2 expectations, 2 not met\n"},
		{"nothing expected", "policy: p.yaml\n", 2, ""},
		{"no want", "policy: p.yaml\ntests: [{server: x, tool: y}]\n", 2, ""},
		{"typing mistake", "policy: p.yaml\ntests: [{server: x, tol: y, want: deny}]\n", 2, ""},
		{"no server", "policy: p.yaml\ntests: [{tool: y, want: deny}]\n", 2, ""},
		{"no policy", "policy: none.yaml\ntests: [{server: x, tool: y, want: deny}]\n", 2, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(dir, strings.ReplaceAll(tt.name, " ", "-")+".yaml")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := runPolicy(t, "test", path)
			if got := status(err); got != tt.status {
				t.Errorf("status: got %d (%v), want %d", got, err, tt.status)
			}
			got := strings.NewReplacer(path, "FILE", filepath.Join(dir, "p.yaml"), "POLICY").Replace(out)
			if got != tt.want {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
		})
	}
}

// check compiles conditions, which the daemon does not, and names what rules can't
// mean.
func TestCheckPolicy(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, when, status, want string }{
		{"good", "project == 'alpha'", "", `POLICY:1:31: warning: there is no server "fils": did you mean "files"?`},
		{"bad", "projct == 'alpha'", "reported", "POLICY:1:72: when: undeclared reference to 'projct'"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rules := writePolicy(t, "p.yaml", `roles: {r: {permissions: [    {actions: ["*"], servers: [fils], when: "`+tt.when+"\"}]}}\n")
			config := writePolicy(t, "c.yaml", "servers: {files: {command: /bin/true}}\nsecurity: {authorization: {type: rbac, policy_file: "+rules+"}}\n")
			var out, problems bytes.Buffer
			err := check(&out, &problems, config, nil, &output{})
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != tt.status {
				t.Errorf("got %v", err)
			}
			if text := strings.ReplaceAll(problems.String(), rules, "POLICY"); !strings.Contains(text, tt.want) {
				t.Errorf("got %s, want %s", text, tt.want)
			}
		})
	}
}

// The documentation's expectations are met by the documentation's policy.
func TestDocumentedExpectations(t *testing.T) {
	t.Parallel()
	manual, err := os.ReadFile("../../docs/authorization.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, block := range strings.Split(string(manual), "```yaml\n")[1:] {
		text, _, _ := strings.Cut(block, "```")
		name := "c.yaml"
		switch {
		case strings.HasPrefix(text, "version:"):
			name = "policies.yaml"
		case strings.HasPrefix(text, "# policy-tests.yaml"):
			name = "policy-tests.yaml"
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := runPolicy(t, "test", filepath.Join(dir, "policy-tests.yaml"))
	if err != nil || !strings.HasSuffix(out, "2 expectations, 0 not met\n") {
		t.Errorf("got %v and %s", err, out)
	}
}
