package mcp

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
)

func TestEdit(t *testing.T) {
	t.Parallel()
	edit := func(name string, value []byte) ([]byte, bool) {
		if name == "change" {
			return []byte("0"), true
		}
		return value, name != "drop"
	}
	tests := []struct{ name, object, want string }{
		{"none", `{}`, `{}`},
		{"the rest stays", `{ "a":1e3, "drop":{"a":1}, "b" : [ 1.0 ] }`, `{"a":1e3,"b":[ 1.0 ]}`},
		{"all", `{"drop":1}`, `{}`},
		{"a change", `{"change":[1],"drop":1,"a":9007199254740993}`, `{"change":0,"a":9007199254740993}`},
		{"an escaped name", `{"dr\u006fp":1,"\u0061":2,"\ud800":3}`, `{"\u0061":2,"\ud800":3}`},
		{"no object", `[1]`, `{}`},
		{"nothing", ``, `{}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := string(Edit([]byte(test.object), edit)); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestEditElements(t *testing.T) {
	t.Parallel()
	edit := func(element []byte) ([]byte, bool) {
		if string(element) == `"change"` {
			return []byte("0"), true
		}
		return element, string(element) != "1"
	}
	tests := []struct{ name, array, want string }{
		{"none", `[]`, `[]`},
		{"the rest stays", `[1, {"a": 1e3} ,1,"change",[1]]`, `[{"a": 1e3},0,[1]]`},
		{"all", `[1,1]`, `[]`},
		{"no array", `{"a":1}`, `{"a":1}`},
		{"nothing", ``, ``},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := string(EditElements([]byte(test.array), edit)); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// Whatever is left out, what is left is still JSON without duplicates.
func FuzzEdit(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"result":{"a":[1,{"b":2}],"\ud800":3,"\udfff":4}}`), uint(1))
	f.Fuzz(func(t *testing.T, data []byte, drop uint) {
		m, err := Parse(data)
		if err != nil {
			return
		}
		seen := uint(0)
		keep := func(value []byte) ([]byte, bool) {
			seen++
			return value, seen%8 != drop%8
		}
		edited := Edit(m.Raw(), func(_ string, value []byte) ([]byte, bool) {
			return keep(EditElements(value, keep))
		})
		if !json.Valid(edited) {
			t.Fatalf("got %q of %q", edited, m.Raw())
		}
		whole := Edit(m.Raw(), func(_ string, value []byte) ([]byte, bool) { return value, true })
		if again, err := Parse(bytes.Clone(whole)); err != nil || !bytes.Equal(again.ID(), m.ID()) {
			t.Fatalf("a copy of the message differs: %q: %v", whole, err)
		}
	})
}

// FuzzWithMeta compares what WithMeta makes with what encoding/json makes of the same
// change.
func FuzzWithMeta(f *testing.F) {
	for _, text := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"ping"}`,
		`{"jsonrpc":"2.0","id":1,"method":"a","params":{}}`,
		`{"jsonrpc":"2.0","id":1,"method":"a","params": { } }`,
		`{"method":"a","params":{"_meta":{}, "x":[1e400,{"_meta":2}]},"id":"\u0031","jsonrpc":"2.0"}`,
		`{"method":"a","params":{"_meta":{ "a":1 ,"traceparent":{"b":[]},"c":{} }, "x":1.0},"jsonrpc":"2.0","id":3}`,
		`{"method":"a","params":{"_\u006deta":{"tr\u0061ceparent":"x"}},"jsonrpc":"2.0","id":3}`,
		`{"method":"a","params":null,"jsonrpc":"2.0","id":3}`,
		`{"method":"a","params":{"_meta":null},"jsonrpc":"2.0","id":3 }`,
		`{"method":"a","unknown":true,"jsonrpc":"2.0"}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse(bytes.Clone(data))
		if err != nil || m.Kind() == Response {
			return
		}
		changed := m.WithMeta([]byte(`"traceparent":"new"`), "traceparent", "tracestate")
		got, want := decoded(t, changed.Raw()), decoded(t, m.Raw())
		setMeta(want)
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %s\nfrom %s", changed.Raw(), m.Raw())
		}
		again, err := Parse(bytes.Clone(changed.Raw()))
		if err != nil || !bytes.Equal(again.ID(), changed.ID()) || !bytes.Equal(again.Params(), changed.Params()) || again.Method() != changed.Method() {
			t.Fatalf("got %s, whose parts are not where they are said to be: %v", changed.Raw(), err)
		}
	})
}

// decoded keeps numbers as they are written.
func decoded(t *testing.T, raw []byte) map[string]any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var value map[string]any
	if err := d.Decode(&value); err != nil {
		t.Fatalf("decode %s: %v", raw, err)
	}
	return value
}

func setMeta(message map[string]any) {
	if _, there := message["params"]; !there {
		message["params"] = map[string]any{}
	}
	params, isObject := message["params"].(map[string]any)
	if !isObject {
		return
	}
	if _, there := params["_meta"]; !there {
		params["_meta"] = map[string]any{}
	}
	if meta, isObject := params["_meta"].(map[string]any); isObject {
		delete(meta, "tracestate")
		meta["traceparent"] = "new"
	}
}
