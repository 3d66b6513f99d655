package mcp

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
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

// FuzzEditAt compares an edit within a message with one of a part, which takes its place.
func FuzzEditAt(f *testing.F) {
	for _, text := range []string{
		`{"jsonrpc":"2.0","id":1,"result":{}}`,
		`{"jsonrpc":"2.0","result": { "resultType" : "complete","a":[1, 2] ,"b":{ },"c":3 } ,"id":"x"}`,
		`{"id":1,"result":{"a":1,"b":2,"c":3,"d":4,"e":5},"jsonrpc":"2.0"}`,
		`{"id":1,"result":7,"jsonrpc":"2.0"}`,
	} {
		for changes := range uint(6) {
			f.Add([]byte(text), 7*changes)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, changes uint) {
		m, err := Parse(data)
		if err != nil || m.Result() == nil {
			return
		}
		edit := func() func(string, []byte) ([]byte, bool) {
			left := changes
			return func(_ string, value []byte) ([]byte, bool) {
				what := left % 3
				left /= 3
				if what == 2 {
					value = []byte(`"else"`)
				}
				return value, what != 1
			}
		}
		before := bytes.Clone(m.Raw())
		got, want := m.EditAt(m.InResult(), edit()), m.Replace(m.InResult(), Edit(m.Result(), edit()))
		if !reflect.DeepEqual(decoded(t, got.Raw()), decoded(t, want.Raw())) || !bytes.Equal(m.Raw(), before) {
			t.Fatalf("got  %s\nwant %s", got.Raw(), want.Raw())
		}
		again, err := Parse(bytes.Clone(got.Raw()))
		if err != nil || !bytes.Equal(again.ID(), got.ID()) || !bytes.Equal(again.Result(), got.Result()) {
			t.Fatalf("got %s, whose parts are not where they are said to be: %v", got.Raw(), err)
		}
	})
}

// What is not changed is not copied, and what is, once; names are strings.
func TestEditAtCopiesOnce(t *testing.T) {
	m, err := Parse([]byte(`{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","content":[],"isError":false}}`))
	if err != nil {
		t.Fatal(err)
	}
	for drop, want := range map[string]float64{"": 3, "resultType": 4} {
		got := testing.AllocsPerRun(100, func() {
			m.EditAt(m.InResult(), func(name string, value []byte) ([]byte, bool) { return value, name != drop })
		})
		if got > want {
			t.Errorf("without %q: got %v allocations, want %v", drop, got, want)
		}
	}
}

// What was noted again is found where it is without notes, and where Parse finds it.
func TestNoted(t *testing.T) {
	t.Parallel()
	m, err := Parse([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"b":[1]},"_meta":{"progressToken":7}}}`))
	if err != nil {
		t.Fatal(err)
	}
	made := m.EditAt(m.Param(), func(name string, value []byte) ([]byte, bool) { return value, name != "arguments" }).WithMeta([]byte(`"x":"y"`))
	noted := made.Noted()
	parsed, err := Parse(bytes.Clone(made.Raw()))
	if err != nil {
		t.Fatal(err)
	}
	if made.notes != nil || noted.notes == nil || !reflect.DeepEqual(noted.notes, parsed.notes) {
		t.Errorf("got notes %v of %v, want %v", noted.notes, made.notes, parsed.notes)
	}
	for _, path := range [][]string{{"name"}, {"arguments"}, {"_meta", "x"}, {"_meta", "progressToken"}, {"_meta", "z"}} {
		if got, want := noted.Param(path...), made.Param(path...); got != want {
			t.Errorf("%s: got %v, want %v", path, got, want)
		}
	}
}

// BenchmarkNoted is what it costs to note a call's members again.
func BenchmarkNoted(b *testing.B) {
	m, err := Parse(bytes.Clone(messages()["call-256B"]))
	if err != nil {
		b.Fatal(err)
	}
	m = m.Insert(m.Param(), []byte(`"a":1`))
	b.Run("noted", func(b *testing.B) { cpu(b, func() { m.Noted() }) })
	b.Run("asked", func(b *testing.B) { cpu(b, func() { m.Param("_meta", MetaRevision) }) })
}

// Who counts long messages is told of those that are made of one.
func TestHeldBy(t *testing.T) {
	t.Parallel()
	m, err := Parse([]byte(`{"jsonrpc":"2.0","id":1,"result":{"a":"` + strings.Repeat("x", LongLine) + `","b":1}}`))
	if err != nil {
		t.Fatal(err)
	}
	var held []int
	m = m.HeldBy(func(long []byte) { held = append(held, cap(long)) })
	size := len(m.Raw())
	without := func(name string) func(string, []byte) ([]byte, bool) {
		return func(member string, value []byte) ([]byte, bool) { return value, member != name }
	}
	m.WithID([]byte("12345"))
	m.EditAt(m.InResult(), without(""))
	m.EditAt(m.InResult(), without("a")).WithID([]byte("2")) // the latter is not long
	m.EditAt(m.InResult(), without("b")).WithID([]byte("2"))
	if want := []int{size + 4, size, size, size - 6}; !slices.Equal(held, want) {
		t.Errorf("got %d, want %d", held, want)
	}
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
