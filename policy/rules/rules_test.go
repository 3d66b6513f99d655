package rules

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"mcpgateway/policy"
	"mcpgateway/policy/rbac"
	"mcpgateway/runtime/document"
)

// Each case is a file in testdata. What must be reported stands in its comments
// "want: line:column: text", in order, and nothing else may be.
func TestErrors(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/*.*")
	if err != nil || len(paths) == 0 {
		t.Fatalf("cases: got %d and %v, want some", len(paths), err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			name := filepath.Base(path)
			var want []string
			for line := range strings.Lines(string(content)) {
				if _, text, ok := strings.Cut(line, "# want: "); ok {
					want = append(want, name+":"+strings.TrimSpace(text))
				}
			}
			got := ""
			if _, err := Parse(name, content); err != nil {
				got = err.Error()
			}
			if got != strings.Join(want, "\n") {
				t.Errorf("errors:\ngot\n%s\nwant\n%s", got, strings.Join(want, "\n"))
			}
		})
	}
}

func TestPositions(t *testing.T) {
	t.Parallel()
	text := `roles:
  r:
    permissions:
      - actions: [tools/call]
        when: 'plain quotes'
      - actions: [tools/call]
        when: bare
      - actions: [tools/call]
        when: |

            block
              more
      - {effect: deny, actions: [tools/call], when: "double"}
bindings:
  - role: r
    keys: [ci]
`
	data, err := Parse("p.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	rules := data.Roles["r"].Permissions
	for i, want := range []struct{ rule, when, second policy.Position }{
		{policy.Position{Line: 4, Column: 9}, policy.Position{Line: 5, Column: 16}, policy.Position{Line: 6, Column: 7}},
		{policy.Position{Line: 6, Column: 9}, policy.Position{Line: 7, Column: 15}, policy.Position{Line: 8, Column: 7}},
		{policy.Position{Line: 8, Column: 9}, policy.Position{Line: 11, Column: 13}, policy.Position{Line: 12, Column: 13}},
		{policy.Position{Line: 13, Column: 9}, policy.Position{Line: 13, Column: 54}, policy.Position{Line: 14, Column: 1}},
	} {
		if got := rules[i].At; got != want.rule {
			t.Errorf("rule %d: got %v, want %v", i, got, want.rule)
		}
		if got := rules[i].WhenAt.Within(1, 1); got != want.when {
			t.Errorf("condition %d: got %v, want %v", i, got, want.when)
		}
		if got := rules[i].WhenAt.Within(2, 1); got != want.second {
			t.Errorf("second line of condition %d: got %v, want %v", i, got, want.second)
		}
	}
	if got, want := data.Bindings[0].At, (policy.Position{Line: 15, Column: 5}); got != want {
		t.Errorf("binding: got %v, want %v", got, want)
	}
	if got := data.Where(rules[0].At); got != "p.yaml:4:9" {
		t.Errorf("got %q", got)
	}
}

// Files are bounded, so that a decision is.
func TestBounds(t *testing.T) {
	t.Parallel()
	rule := "\n      - {actions: [a/b]}"
	role := "roles:\n  r:\n    permissions:"
	binding := "\n  - {role: r, users: [u]}"
	many := func(n int) string {
		var out strings.Builder
		for i := range n {
			fmt.Fprintf(&out, "\n  r%d: {}", i)
		}
		return out.String()
	}
	tests := []struct{ name, text, want string }{
		{"as many rules as may be", role + strings.Repeat(rule, MaxRules), ""},
		{"too many rules", role + strings.Repeat(rule, MaxRules+1), "roles: have 10001 permissions together"},
		{"too many roles", "roles:" + many(MaxRules+1), "roles: are 10001"},
		{"too many conditions", role + strings.Repeat("\n      - {actions: [a/b], when: 'true'}", MaxConditions+1), "roles: have 2001 conditions together"},
		{"too many bindings", "roles: {r: {}}\nbindings:" + strings.Repeat(binding, MaxRules+1), "bindings: are 10001"},
		{"a long condition", role + "\n      - {actions: [a/b], when: '" + strings.Repeat(" ", maxCondition) + "true'}", "when: is longer than 4096 bytes"},
		{"a long pattern", role + "\n      - {actions: [tools/call], tools: [" + strings.Repeat("x", maxPattern+1) + "]}", "tools[0]: must have 1 to 1024 bytes"},
		{"a long action", role + "\n      - {actions: [" + strings.Repeat("x", maxPattern+1) + "]}", "actions[0]: is no method"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse("p.yaml", []byte(tt.text))
			if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestLoadWantsATrustedFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "p.yaml")
	if err := os.WriteFile(path, []byte("roles: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err != nil {
		t.Errorf("own file: %v", err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "can be written by its group or others") {
		t.Errorf("anybody's file: got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(paths) == 0 {
		f.Fatalf("seeds: got %d and %v, want some", len(paths), err)
	}
	for _, path := range append(paths, "../../packaging/policies.yaml") {
		content, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	f.Add([]byte("roles: {r: {permissions: [{actions: [tools/call], when: 'args.x == '}]}}"))
	// No file makes it panic; an error says where; and what is accepted can be compiled,
	// or is refused with a place that is in the file.
	f.Fuzz(func(t *testing.T, content []byte) {
		data, err := Parse("p.yaml", content)
		again, _ := Parse("p.yaml", content)
		if !reflect.DeepEqual(data, again) {
			t.Fatalf("twice is not the same:\n%+v\n%+v", data, again)
		}
		var mistakes document.Errors
		if err != nil {
			if !errors.As(err, &mistakes) || len(mistakes) == 0 || !strings.HasPrefix(mistakes[0].Position, "p.yaml") {
				t.Fatalf("got %v, want mistakes with positions", err)
			}
			return
		}
		engine, err := rbac.New(data)
		var faults rbac.Errors
		if err != nil {
			if !errors.As(err, &faults) || len(faults) == 0 || !strings.HasPrefix(faults[0].Position, "p.yaml:") {
				t.Fatalf("got %v, want mistakes with positions", err)
			}
			return
		}
		id := &policy.Identity{Subject: "s", User: "u", Groups: []string{"g"}}
		engine.Decide(&rbac.Request{Identity: id, Project: "p", Server: "s", Action: "tools/call", Tool: "t"})
	})
}

// The examples of the documentation, and the file that packages install, load and
// compile, and the documented expectations are of the documented policy.
func TestPublishedPoliciesLoad(t *testing.T) {
	t.Parallel()
	installed, err := os.ReadFile("../../packaging/policies.yaml")
	if err != nil {
		t.Fatal(err)
	}
	manual, err := os.ReadFile("../../docs/authorization.md")
	if err != nil {
		t.Fatal(err)
	}
	documents := map[string]string{
		"installed.yaml":   string(installed),
		"uncommented.yaml": regexp.MustCompile(`(?m)^(\s+)# (\s*[a-z-].*)$`).ReplaceAllString(string(installed), "$1$2"),
	}
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(manual), -1) {
		if strings.HasPrefix(block[1], "version:") {
			documents["manual.yaml"] = block[1]
		}
	}
	roles := map[string]int{"installed.yaml": 0, "uncommented.yaml": 3, "manual.yaml": 3}
	for name, want := range roles {
		data, err := Parse(name, []byte(documents[name]))
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if _, err := rbac.New(data); err != nil {
			t.Errorf("%v", err)
		}
		if len(data.Roles) != want {
			t.Errorf("%s: got %d roles, want %d", name, len(data.Roles), want)
		}
	}
}

// Every key of the file is in its documentation.
func TestEveryKeyIsDocumented(t *testing.T) {
	t.Parallel()
	manual, err := os.ReadFile("../../docs/authorization.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[policy.Role](), reflect.TypeFor[policy.Permission](), reflect.TypeFor[policy.Binding]()} {
		for _, field := range document.Keys(typ) {
			key := "`" + field.Tag.Get("config") + "`"
			if key != "`role`" && !strings.Contains(string(manual), key) {
				t.Errorf("%s is not in docs/authorization.md", key)
			}
		}
	}
}
