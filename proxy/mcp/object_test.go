package mcp

import (
	"strings"
	"testing"
)

func TestParseObject(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, data, want, err string }{
		{"empty", `{}`, `{}`, ""},
		{"on one line", "\r\n{\n\"a\":\r\n1e3}\n", `{ "a":  1e3}`, ""},
		{"half a surrogate pair", `{"a":"\ud800"}`, `{"a":"\ud800"}`, ""},
		{"no value", ``, "", "EOF"},
		{"array", `[]`, "", "not an object"},
		{"number", `1`, "", "not an object"},
		{"two", `{}{}`, "", "after the object"},
		{"a member more", `{},"name":"other"`, "", "after the object"},
		{"brace", `{}}`, "", "after the object"},
		{"twice", `{"a":1,"\u0061":2}`, "", "duplicate"},
		{"cut", `{"a":`, "", "EOF"},
		{"not UTF-8", "{\"a\":\"\xff\"}", "", "UTF-8"},
		{"deep", strings.Repeat(`{"a":`, 20000), "", "depth"},
	}
	for _, test := range tests {
		got, err := ParseObject([]byte(test.data))
		switch {
		case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err) || len(err.Error()) > maxReason):
			t.Errorf("%s: got %q, %v, want an error with %q", test.name, got, err, test.err)
		case test.err == "" && (err != nil || string(got) != test.want):
			t.Errorf("%s: got %q, %v, want %q", test.name, got, err, test.want)
		}
	}
}

// What ParseObject lets through is one object wherever it is put.
func FuzzParseObject(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":"\ud800"}]}`))
	f.Add([]byte("{},\"name\":\"x\"\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		object, err := ParseObject(data)
		if err != nil {
			return
		}
		m, err := Parse([]byte(`{"jsonrpc":"2.0","id":1,"method":"a","params":{"arguments":` + string(object) + `,"name":"b"}}`))
		if err != nil || string(m.At(m.Param("arguments"))) != string(object) || string(m.At(m.Param("name"))) != `"b"` {
			t.Errorf("%q: got %q, %v", object, m.Raw(), err)
		}
	})
}
