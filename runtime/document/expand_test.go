package document

import (
	"strings"
	"testing"
)

// expand replaces the variables of a text.
func expand(text string, env func(string) (string, bool)) (string, []string) {
	parts, problem := split(text)
	if problem != "" {
		return "", []string{problem}
	}
	d := &decoder{Report: &Report{failed: map[Path]bool{}}, env: env}
	d.variables("", parts)
	var problems []string
	for _, found := range d.errors {
		problems = append(problems, found.text)
	}
	out, _ := join(parts)
	return out, problems
}

func TestExpand(t *testing.T) {
	t.Parallel()
	env := func(name string) (string, bool) {
		values := map[string]string{"A": "one", "EMPTY": "", "LOOP": "${LOOP} $${A}"}
		value, ok := values[name]
		return value, ok
	}
	for _, tt := range []struct{ name, text, want, problem string }{
		{"none", "a $ $5 $A {b} $$", "a $ $5 $A {b} $$", ""},
		{"one", "${A}", "one", ""},
		{"inside", "x${A}y${A}", "xoneyone", ""},
		{"empty", "${EMPTY}", "", ""},
		{"default", "${B:-two}", "two", ""},
		{"default for empty", "${EMPTY:-two}", "two", ""},
		{"default unused", "${A:-two}", "one", ""},
		{"empty default", "${B:-}", "", ""},
		{"default with signs", "${B:-a:-b c}", "a:-b c", ""},
		{"literal", "$${A}", "${A}", ""},
		{"dollar and literal", "$$${A}", "$${A}", ""},
		{"value is not expanded again", "${LOOP}", "${LOOP} $${A}", ""},
		{"env", "${env:A}", "one", ""},
		{"env with a default", "${env:B:-two}", "two", ""},
		{"a variable called env", "${env:-two}", "two", ""},
		{"a variable called file", "${file:-/x}", "/x", ""},
		{"env unset", "${env:B}", "", "variable B is not set"},
		{"env of nothing", "${env:}", "", "does not begin a variable"},
		{"file of nothing", "${file:}", "", "does not begin a variable"},
		{"unknown kind", "${vault:x}", "", "does not begin a variable"},
		{"relative file", "${file:x}", "", "needs an absolute path"},
		{"file not clean", "${file:/a/../b}", "", "needs an absolute path"},
		{"file with a line", "${file:/a\nb}", "", "control characters"},
		{"credential in a folder", "${credential:a/b}", "", "needs the name of a credential"},
		{"credential above", "${credential:..}", "", "needs the name of a credential"},
		{"exec without a path", "${exec:vault}", "", "needs a helper and what it is asked for"},
		{"exec with an option", "${exec:vault:-x}", "", "needs a helper and what it is asked for"},
		{"exec of nobody", "${exec::x}", "", "needs a helper and what it is asked for"},
		{"unset", "${B}", "", "variable B is not set"},
		{"unclosed", "${A", "", "does not begin a variable"},
		{"no name", "${}", "", "does not begin a variable"},
		{"digit first", "${1A}", "", "does not begin a variable"},
		{"other operator", "${A?x}", "", "does not begin a variable"},
		{"nested", "${B:-${A}}", "", "does not begin a variable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, problems := expand(tt.text, env)
			if got != tt.want {
				t.Errorf("expand(%q): got %q, want %q", tt.text, got, tt.want)
			}
			if found := strings.Join(problems, "\n"); !strings.Contains(found, tt.problem) || (found != "") != (tt.problem != "") {
				t.Errorf("expand(%q): got problems %q, want %q", tt.text, found, tt.problem)
			}
		})
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"command", "args", "env", "allowed_directories"}
	for _, tt := range []struct{ word, want string }{
		{"comand", "command"},
		{"commando", "command"},
		{"arg", "args"},
		{"alowed_directorys", "allowed_directories"},
		{"image", ""},
		{"", ""},
		{strings.Repeat("command", 1000), ""},
	} {
		if got := Nearest(tt.word, known); got != tt.want {
			t.Errorf("Nearest(%.20q): got %q, want %q", tt.word, got, tt.want)
		}
	}
}
