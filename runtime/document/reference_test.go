package document

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// hidden is a Holder.
type hidden struct{ kept *kept }

type kept struct {
	text    string
	fetched []string
	set     bool
}

func (h *hidden) Later() func(string, []string) {
	h.kept = &kept{}
	return func(text string, fetched []string) { *h.kept = kept{text, fetched, true} }
}

func (h *hidden) UnmarshalText(text []byte) error {
	h.kept = &kept{text: string(text), set: true}
	return nil
}

type holding struct {
	Args []string          `config:"args" visible:"everybody"`
	Name string            `config:"name"`
	Key  hidden            `config:"key"`
	Env  map[string]hidden `config:"env"`
	More []hidden          `config:"more"`
}

func decodeHolding(t *testing.T, content string) (holding, *Report) {
	t.Helper()
	var h holding
	env := func(name string) (string, bool) { return "value of " + name, name != "UNSET" }
	return h, Decode("t.yaml", []byte(content), env, &h)
}

func TestReferences(t *testing.T) {
	t.Parallel()
	var h holding
	env := func(name string) (string, bool) { return "value of " + name, true }
	r := Decode("t.yaml", []byte(`
key: "plain"
env:
  A: "${VAR}"
  B: "postgres://${NAME:-x}:${file:/run/pw}@host"
  C: ${exec:vault:secret/a#b}
  D: "$${file:/x}"
more: ["${credential:token}", "${file:/run/pw}"]
`), env, &h)
	var found []string
	r.References(func(p Path, one Reference) { found = append(found, p.String()+"="+one.String()) })
	slices.Sort(found)
	want := "env.B=${file:/run/pw} env.C=${exec:vault:secret/a#b} more[0]=${credential:token} more[1]=${file:/run/pw}"
	if got := strings.Join(found, " "); got != want {
		t.Errorf("references: got %s, want %s", got, want)
	}
	if h.Env["B"].kept.set || !h.Env["A"].kept.set {
		t.Error("a reference is known before it was looked up, or a variable is not")
	}
	r.Resolve(At("more"), func(r Reference) (string, error) { return "<" + r.Name + ">", nil })
	if h.Env["B"].kept.set || !h.More[0].kept.set {
		t.Error("Resolve: want it within the path only")
	}
	r.Resolve("", func(r Reference) (string, error) { return "<" + r.Name + ">", nil })
	for _, tt := range []struct {
		name, text string
		fetched    string
		got        hidden
	}{
		{"plain", "plain", "", h.Key},
		{"variable", "value of VAR", "value of VAR", h.Env["A"]},
		{"within a text", "postgres://value of NAME:</run/pw>@host", "value of NAME|</run/pw>", h.Env["B"]},
		{"helper", "<secret/a#b>", "<secret/a#b>", h.Env["C"]},
		{"literal", "${file:/x}", "", h.Env["D"]},
		{"in a list", "<token>", "<token>", h.More[0]},
	} {
		if k := tt.got.kept; k.text != tt.text || strings.Join(k.fetched, "|") != tt.fetched {
			t.Errorf("%s: got %q with %q, want %q with %q", tt.name, k.text, k.fetched, tt.text, tt.fetched)
		}
	}
	if len(r.Errors()) > 0 {
		t.Errorf("got %v", r.Errors())
	}
}

func TestReferencesInPlainSight(t *testing.T) {
	t.Parallel()
	_, r := decodeHolding(t, "args: [\"${file:/a}\", \"--x=${HOME}\"]\nname: \"${exec:vault:x}\"\nkey: \"${UNSET} ${file:/a}\"\n")
	if got, want := r.Errors().Error(), `t.yaml:1:8: args[0]: ${file:/a} can't be used here: it would be seen by everybody: give it to the server in its env
t.yaml:2:7: name: ${exec:vault:x} can't be used here: only settings that are kept secret, such as those below env, can have it
t.yaml:3:6: key: variable UNSET is not set: set it, or give a default: ${UNSET:-value}`; got != want {
		t.Errorf("errors: got\n%s\nwant\n%s", got, want)
	}
	if got, want := r.Warnings().Error(), "t.yaml:1:22: args[1]: what is in variable HOME will be seen by everybody: it must be no secret"; got != want {
		t.Errorf("warnings: got %q, want %q", got, want)
	}
}

func TestResolveRefuses(t *testing.T) {
	t.Parallel()
	const secret = "the value"
	for _, tt := range []struct {
		name, want string
		get        func(Reference) (string, error)
	}{
		{"an error", "key: ${file:/a}: no such file", func(Reference) (string, error) { return secret, errors.New("no such file") }},
		{"NUL", "key: ${file:/a} holds a NUL byte", func(Reference) (string, error) { return secret + "\x00", nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h, r := decodeHolding(t, "key: ${file:/a}")
			r.Resolve("", tt.get)
			got := fmt.Sprint(r.Errors())
			if !strings.Contains(got, "t.yaml:1:6: "+tt.want) || strings.Contains(got, secret) {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if h.Key.kept != nil && h.Key.kept.set {
				t.Error("the value was set")
			}
		})
	}
}

// Aliases can't make secrets larger than a file may become.
func TestResolveIsBounded(t *testing.T) {
	t.Parallel()
	content := "more: [" + strings.Repeat("\"${file:/a}\",", 200) + "]"
	_, r := decodeHolding(t, content)
	large := strings.Repeat("x", MaxSecret)
	r.Resolve("", func(Reference) (string, error) { return large, nil })
	if got := fmt.Sprint(r.Errors()); !strings.Contains(got, "all secrets together are larger than") {
		t.Errorf("got %.200s", got)
	}
}
