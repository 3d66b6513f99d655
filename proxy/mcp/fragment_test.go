package mcp

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// TestInsertFragment: what a fragment is put into is what Insert makes, and its members are
// found where they are, if they were noted before.
func TestInsertFragment(t *testing.T) {
	t.Parallel()
	meta := NewFragment([]byte(`"_meta":{"a":{"b":1},"c":"d"}`))
	many := NewFragment([]byte(`"m0":0` + members24("m")))
	for params, noted := range map[string]bool{
		`{}`: true, `{ }`: true, `{"name":"a"}`: true, `{ "name" : "a" , "arguments":{"name":"b"}}`: true,
		`{"uri":"x"` + members24("n") + `}`: false, `{"n\u0061me":"a"}`: false,
	} {
		for _, order := range []string{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":%s}`, `{"params":%s,"method":"tools/call","id":"x","jsonrpc":"2.0"}`} {
			for _, f := range []Fragment{meta, many} {
				text := fmt.Sprintf(order, params)
				m, err := Parse([]byte(text))
				if err != nil {
					t.Fatal(err)
				}
				made := m.InsertFragment(f)
				if want := m.Insert(m.Param(), f.raw); !bytes.Equal(made.Raw(), want.Raw()) {
					t.Fatalf("%s: got %s, want %s", text, made.Raw(), want.Raw())
				}
				if want := noted && f.notes != nil; want != (made.notes != nil) {
					t.Errorf("%s with %s: got %d notes", text, f.raw, len(made.notes))
				}
				sameByNotes(t, made)
				if string(m.Raw()) != text {
					t.Errorf("got %s, want the message as it was: %s", m.Raw(), text)
				}
			}
		}
	}
}

// members24 are more members than are noted.
func members24(name string) string {
	var all strings.Builder
	for i := range maxNotes {
		fmt.Fprintf(&all, `,"%s%d":%d`, name, i+1, i)
	}
	return all.String()
}
