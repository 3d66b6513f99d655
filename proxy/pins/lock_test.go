package pins

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestDigest(t *testing.T) {
	t.Parallel()
	const base = `{"name":"a","title":"t","description":"d","inputSchema":{"type":"object","properties":{"n":{"default":1.0}}},"annotations":{"readOnlyHint":true},"icons":[{"src":"s"}]}`
	tests := []struct {
		name, definition string
		same             bool
	}{
		{"as it is", base, true},
		{"order and white space", ` { "title" : "t", "icons":[ {"src":"s"} ], "annotations":{"readOnlyHint":true},"description":"d","name":"a","inputSchema":{"properties":{"n":{"default":1.0}},"type":"object"}}` + "\n", true},
		{"escapes", strings.Replace(base, `"d"`, `"\u0064"`, 1), true},
		{"_meta", strings.Replace(base, `{"name"`, `{"_meta":{"x":1},"name"`, 1), true},
		{"name", strings.Replace(base, `"a"`, `"b"`, 1), false},
		{"title", strings.Replace(base, `"t"`, `"u"`, 1), false},
		{"description", strings.Replace(base, `"d"`, `"d\u200b"`, 1), false},
		{"schema", strings.Replace(base, `"object"`, `"array"`, 1), false},
		{"a number as it is written", strings.Replace(base, `1.0`, `1`, 1), false},
		{"annotations", strings.Replace(base, `true`, `false`, 1), false},
		{"icons", strings.Replace(base, `"s"`, `"z"`, 1), false},
		{"order of a list", strings.Replace(base, `[{"src":"s"}]`, `[{},{"src":"s"}]`, 1), false},
		{"another member", strings.Replace(base, `{"name"`, `{"x":null,"name"`, 1), false},
		{"_meta inside", strings.Replace(base, `"type":"object"`, `"type":"object","_meta":1`, 1), false},
	}
	want := DigestOf([]byte(base))
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			before := test.definition
			if got := DigestOf([]byte(test.definition)) == want; got != test.same {
				t.Errorf("got the same digest: %v, want %v", got, test.same)
			}
			if test.definition != before {
				t.Error("the definition was changed")
			}
		})
	}
	big := DigestOf([]byte(`{"a":9007199254740993}`))
	if big == DigestOf([]byte(`{"a":9007199254740992}`)) {
		t.Error("two big integers have one digest, want two")
	}
	for _, none := range []string{``, `[]`, `{"a":1,"a":2}`, `{"a":1}x`, `{`} {
		if got := DigestOf([]byte(none)); got != (Digest{}) {
			t.Errorf("%s has digest %s, want none", none, got)
		}
	}
}

// lockOf approves definitions of one server.
func lockOf(t *testing.T, server string, at time.Time, definitions ...string) Lock {
	t.Helper()
	lock := Lock{server: {}}
	for _, d := range definitions {
		name, ok := NameOf([]byte(d))
		if !ok {
			t.Fatalf("%s has no name", d)
		}
		lock[server][name] = Entry{SHA256: DigestOf([]byte(d)), Approved: at, By: "root", Definition: json.RawMessage(d)}
	}
	return lock
}

func TestParseLock(t *testing.T) {
	t.Parallel()
	lock := lockOf(t, "files", time.Unix(5, 7).UTC(), `{"name":"a","description":"x"}`, `{"name":"b"}`)
	content, err := json.MarshalIndent(lock, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseLock(content)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got["files"]["a"].SHA256, got["files"]["a"].Approved) != fmt.Sprint(lock["files"]["a"].SHA256, lock["files"]["a"].Approved) {
		t.Errorf("got %v, want %v", got, lock)
	}
	if empty, err := ParseLock([]byte(" \n")); err != nil || len(empty) > 0 {
		t.Errorf("got %v, %v of an empty file, want nothing", empty, err)
	}
	text := string(content)
	tests := []struct{ name, content, want string }{
		{"no JSON", "x", "invalid character"},
		{"no object", "[]", "not an object"},
		{"more", text + "{}", "after the object"},
		{"unknown member", strings.Replace(text, `"by"`, `"bye"`, 1), "unknown field"},
		{"edited definition", strings.Replace(text, `"x"`, `"y"`, 1), "sha256 is not that of the definition"},
		{"no digest", `{"s":{"a":{"definition":{"name":"a"}}}}`, "sha256 is not"},
		{"short digest", `{"s":{"a":{"sha256":"00"}}}`, "64 hexadecimal"},
		{"moved definition", strings.Replace(text, `"a": {`, `"c": {`, 1), `another name, "a"`},
		{"twice", strings.Replace(text, `"b": {`, `"a": {`, 1), "duplicate"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if _, err := ParseLock([]byte(test.content)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func FuzzCanonical(f *testing.F) {
	f.Add(`{"b":1.0,"a":[1e3,"\u00e9\ud800"],"_meta":{}}`)
	f.Add(`{"a":"\u200b","A":{"z":1,"y":-0}}`)
	f.Fuzz(func(t *testing.T, definition string) {
		once, err := Canonical([]byte(definition))
		if err != nil {
			return
		}
		again, err := Canonical(once)
		if err != nil || !bytes.Equal(once, again) {
			t.Fatalf("got %q of %q, %v, want it to stay", again, once, err)
		}
		var indented bytes.Buffer
		if err := json.Indent(&indented, []byte(definition), " ", "\t"); err == nil && DigestOf(indented.Bytes()) != DigestOf([]byte(definition)) {
			t.Fatalf("white space changes the digest of %q", definition)
		}
	})
}

func FuzzParseLock(f *testing.F) {
	f.Add([]byte(`{"s":{"a":{"sha256":"0000000000000000000000000000000000000000000000000000000000000000","approved":"2026-01-02T03:04:05Z","by":"root","definition":{"name":"a"}}}}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		lock, err := ParseLock(content)
		if err != nil {
			return
		}
		for _, tools := range lock {
			for name, entry := range tools {
				if DigestOf(entry.Definition) != entry.SHA256 {
					t.Fatalf("%q was taken with a digest that is not its own", name)
				}
			}
		}
	})
}
