package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"

	"mcpgateway/proxy/screen"
)

func TestShown(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want string }{
		{"plain", "Reads a “file”, ü 中 😀", "Reads a “file”, ü 中 😀"},
		{"terminal", "\x1b[2J\x1b]0;x\a", `\u{1b}[2J\u{1b}]0;x\u{7}`},
		{"bidi", "a\u202eb", `a\u{202e}b`},
		{"zero width", "a\u200bb\ufeff", `a\u{200b}b\u{feff}`},
		{"joiner, also where it has a use", "👨\u200d👩", `👨\u{200d}👩`},
		{"selector", "x\ufe0f\U000E0101", `x\u{fe0f}\u{e0101}`},
		{"tags", "\U000E0041", `\u{e0041}`},
		{"spaces", "a\u00a0b\u3000c\r\n\t", `a\u{a0}b\u{3000}c\u{d}\n\t`},
		{"what looks like an escape", `\u{200b}`, `\\u{200b}`},
		{"no UTF-8", "a\xffb", `a\xffb`},
		{"private", "\ue000", `\u{e000}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := shown(test.text); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func FuzzShown(f *testing.F) {
	f.Add("a\u200b", `a\u{200b}`)
	f.Fuzz(func(t *testing.T, a, b string) {
		got := shown(a)
		for _, r := range got {
			if !unicode.IsPrint(r) || screen.Curious(r) {
				t.Fatalf("%U is in %q", r, got)
			}
		}
		if a != b && got == shown(b) {
			t.Fatalf("%q and %q look the same: %s", a, b, got)
		}
	})
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	const definition = `{"name":"a","description":"one\ntwo \u200bthree\n","inputSchema":{"properties":{"a.b":{"enum":["x",null,true]},"n":{"maximum":9007199254740993,"default":1.50}},"required":[],"x":{}}}`
	want := []string{
		`description: "one\n"`,
		`description: "two \u{200b}three\n"`,
		`inputSchema.properties."a.b".enum[0]: "x"`,
		`inputSchema.properties."a.b".enum[1]: null`,
		`inputSchema.properties."a.b".enum[2]: true`,
		`inputSchema.properties.n.default: 1.50`,
		`inputSchema.properties.n.maximum: 9007199254740993`,
		`inputSchema.required: []`,
		`inputSchema.x: {}`,
		`name: "a"`,
	}
	got, err := describe([]byte(definition))
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v\n%s\nwant\n%s", err, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestDifference(t *testing.T) {
	t.Parallel()
	many := make([]string, 3000)
	for i := range many {
		many[i] = fmt.Sprint("a", i)
	}
	other := make([]string, 3000)
	for i := range other {
		other[i] = fmt.Sprint("b", i)
	}
	tests := []struct {
		name, before, after, want string
	}{
		{"same", "a b", "a b", ""},
		{"new", "", "a b", "+ a|+ b"},
		{"gone", "a b", "", "- a|- b"},
		{"changed", "a b c", "a x c", "- b|+ x"},
		{"moved", "a b c d", "a c b d", "- b|+ b"},
		{"in between", "a b c d e", "x a c d y e", "+ x|- b|+ y"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := strings.Join(difference(strings.Fields(test.before), strings.Fields(test.after)), "|"); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
	if got := len(difference(many, other)); got != 6000 {
		t.Errorf("got %d lines of two long definitions, want all of both", got)
	}
}
