package mcp

import (
	"bytes"
	"slices"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// FuzzWalk compares what is found in a checked message with what the library finds,
// at every depth; of anything else nothing is asked but an end.
func FuzzWalk(f *testing.F) {
	for _, seed := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":[1,"]}",{"b\\\"}":[]}],"c":{} , "d":-1.5e3,"e":true}}`,
		` { } `, `[]`, `[ [] , {} ]`, `{"a"`, `{"a":`, `[1`, `["\`, `{"a":1}}`, `{:,}`, `[,]`, `"`, ``,
		"{\"a\"\t:\n[ 1\r, null ]\n}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for range members(data) {
		}
		for range elements(data) {
		}
		value := jsontext.Value(data)
		if value.IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) {
			compare(t, bytes.TrimSpace(data))
		}
	})
}

func compare(t *testing.T, value []byte) {
	t.Helper()
	var got, want []Span
	for name, member := range members(value) {
		got = append(got, name, member)
	}
	for element := range elements(value) {
		got = append(got, element)
	}
	d := jsontext.NewDecoder(bytes.NewReader(value), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if kind := d.PeekKind(); kind != '{' && kind != '[' {
		return
	}
	if _, err := d.ReadToken(); err != nil {
		t.Fatal(err)
	}
	for d.PeekKind() != '}' && d.PeekKind() != ']' {
		inner, err := d.ReadValue()
		if err != nil {
			t.Fatal(err)
		}
		end := int(d.InputOffset())
		want = append(want, span(end-len(inner), end))
		compare(t, value[end-len(inner):end])
	}
	if !slices.Equal(got, want) {
		t.Fatalf("in %q: got %v, want %v", value, got, want)
	}
}
