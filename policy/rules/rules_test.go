package rules

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
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
