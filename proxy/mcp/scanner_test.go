package mcp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// reference is what jsontext finds in data: where the members of the message are, the
// last of a name if that were possible.
func reference(data []byte) (map[string]Span, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not UTF-8")
	}
	d := jsontext.NewDecoder(bytes.NewBuffer(data), jsontext.AllowInvalidUTF8(true))
	if d.PeekKind() != '{' {
		return nil, errors.New("not an object")
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	found := map[string]Span{}
	for d.PeekKind() != '}' {
		name, err := d.ReadValue()
		if err != nil {
			return nil, err
		}
		text := string(unquote(bytes.Clone(name)))
		value, err := d.ReadValue()
		if err != nil {
			return nil, err
		}
		end := int(d.InputOffset())
		found[text] = span(end-len(value), end)
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("text after the message")
	}
	return found, nil
}

// agree compares the scanner with jsontext: what is accepted, where the members are, and
// that those of params, result, error and _meta are found by notes as by a walk.
func agree(t *testing.T, data []byte) {
	t.Helper()
	data = bytes.Trim(data, " \t\r\n")
	want, err := reference(data)
	s := newScanner(data)
	defer s.free()
	ok := utf8.Valid(data) && s.whole(inEnvelope)
	if ok != (err == nil) {
		t.Fatalf("got %t, and of jsontext %v: %.200q", ok, err, data)
	}
	if !ok {
		if utf8.Valid(data) && len(data) > 0 {
			located(t, refusal("message", data))
		}
		return
	}
	for name, got := range map[string]Span{
		"jsonrpc": s.found.version, "method": s.found.method, "id": s.found.id,
		"params": s.found.params, "result": s.found.result, "error": s.found.err,
	} {
		if got != want[name] {
			t.Fatalf("%s: got %v, want %v: %q", name, got, want[name], data)
		}
	}
	sameByNotes(t, Message{raw: data, params: s.found.params, result: s.found.result, err: s.found.err, notes: s.noted()})
}

// sameByNotes compares what is found of a message by its notes with what is found without.
func sameByNotes(t *testing.T, m Message) {
	t.Helper()
	if m.notes == nil {
		return
	}
	walked := m
	walked.notes = nil
	for _, find := range []func(Message, ...string) Span{Message.Param, Message.InResult, Message.InError} {
		part := find(walked)
		paths := [][]string{{}, {"absent"}, {"_meta"}, {"_meta", "absent"}}
		for name := range Members(m.At(part)) {
			paths = append(paths, []string{name}, []string{name, "a"}, []string{name, "_meta"})
		}
		for name := range Members(m.At(find(walked, "_meta"))) {
			paths = append(paths, []string{"_meta", name}, []string{"_meta", name, "a"})
		}
		for _, path := range paths {
			if got, want := find(m, path...), find(walked, path...); got != want {
				t.Fatalf("%q: got %v by notes, want %v: %q", path, got, want, m.raw)
			}
		}
	}
	for drop := range Members(m.Result()) {
		without := func(name string, value []byte) ([]byte, bool) { return value, name != drop }
		if got, want := m.EditAt(m.InResult(), without).Raw(), walked.EditAt(walked.InResult(), without).Raw(); !bytes.Equal(got, want) {
			t.Fatalf("without %q: got %q by notes, want %q: %q", drop, got, want, m.raw)
		}
	}
	if got, want := m.Lookalike(), walked.Lookalike(); (got == "") != (want == "") {
		t.Fatalf("got lookalike %q by notes, want %q: %q", got, want, m.raw)
	}
}

// located demands that a refusal says where: by an offset, or by the path of a name that
// comes twice; what is wrong from the start, or at the end, needs neither.
func located(t *testing.T, reason string) {
	t.Helper()
	for _, place := range []string{" offset ", "duplicate", "not an object", "at start of value", "unexpected EOF"} {
		if strings.Contains(reason, place) || len(reason) == maxReason {
			return
		}
	}
	t.Fatalf("got %q, want a place", reason)
}

// odd is JSON that parsers differ on, valid and not.
func odd() []string {
	seeds := []string{
		``, `{`, `{}`, ` { } `, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `{a:1}`, `{"a":1}}`, `{"a":1}{}`, `{"a" :1 , "b": [ ] }`,
		`{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"\ud800":1,"\ud801":2}`, `{"\ud83d\ude00":1,"😀":2}`, `{"\ud800":1,"�":2}`,
		`{"a":{"b":1,"b":2}}`, `{"a":[{"b":1,"c":{"b":2}},{"b":1}]}`, `{"a":[{"b":[{"x":1,"x":1}]}]}`, `{"":1,"":2}`, `{"":1}`,
		`{"a":01}`, `{"a":-}`, `{"a":-0}`, `{"a":-01}`, `{"a":1.}`, `{"a":.5}`, `{"a":1e}`, `{"a":1e+}`, `{"a":1E-5}`, `{"a":1.5e+10}`, `{"a":+1}`, `{"a":0x1}`, `{"a":1_0}`,
		`{"a":NaN}`, `{"a":Infinity}`, `{"a":tru}`, `{"a":true}`, `{"a":truex}`, `{"a":nul`, `{"a":False}`, `{"a":null}`,
		`{"a":"\x"}`, `{"a":"\u12"}`, `{"a":"\u12G4"}`, `{"a":"\uABcd"}`, `{"a":"\`, `{"a":"\"`, `{"a":"\\"}`, `{"a":"\/\b\f\n\r\t"}`, `{"a":'b'}`,
		"{\"a\":\"\t\"}", "{\"a\":\"\x00\"}", "{\"a\":\"\x1f\"}", "{\"a\":\"\x7f\"}", "{\"a\":\"\xff\"}", "{\"a\":\"\u2028\"}", "{\"\n\":1}", "{\x00}", "{\"a\":1\v}", "\ufeff{}", "{\u00a0}",
		"{\"a\":\"01234567\x01\"}", "{\"a\":\"0123456\\u0041\\u004\"}", "{\"a\":\"é01234567\"}", "{\"a\":\"\x80\x80\x80\x80\x80\x80\x80\x80\"}", "{\"a\":\"\xc0\x80\"}", "{\"a\":\"\xed\xa0\x80\"}",
		`[]`, `[{}]`, `"a"`, `1`, `{"a":[1,]}`, `{"a":[,1]}`, `{"a":[1 2]}`, `{"a":[}`, `{"a":[1}`, `{"a":[]]}`, `{"a":/**/1}`, `{"a":1}//`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"name":"y"},"_meta":{"progressToken":1,"a":{"a":2}}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":7,"n\u0061me":"a"}}`, `{"id":1,"params":{"NAME":1},"Method":2}`, `{"params":{"_meta":{"ProgressToken":1},"ref":{"URI":1}}}`,
		`{"jsonrpc":"2.0","id":1,"result":{"isError":true,"_meta":{"a":{}},"content":[]},"error":null}`, `{"error":{"code":-1,"_meta":{"a":1},"data":{"a":1}}}`, `{"params":{"params":{"a":1}},"result":{"result":1}}`,
	}
	for _, n := range []int{maxNotes - 1, maxNotes, maxNotes + 1, maxNames - 1, maxNames, maxNames + 1, 3 * maxNames} {
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprintf(`"n%d":{"a":%d}`, i, i)
		}
		object := strings.Join(names, ",")
		for _, twice := range []string{"", `,"n0":1`, fmt.Sprintf(`,"n%d":1`, n-1), `,"\u006e1":1`} {
			seeds = append(seeds, `{"params":{`+object+twice+`}}`, `{"x":[{`+object+twice+`},{`+object+`}]}`)
		}
	}
	for _, n := range []int{maxDepth - 2, maxDepth - 1, maxDepth, maxDepth + 1} {
		seeds = append(seeds,
			`{"a":`+strings.Repeat("[", n)+strings.Repeat("]", n)+`}`, `{"a":`+strings.Repeat("[", n)+"1"+strings.Repeat("]", n)+`}`,
			strings.Repeat(`{"a":`, n)+"1"+strings.Repeat("}", n), strings.Repeat(`{"a":[`, n/2)+strings.Repeat("]}", n/2), strings.Repeat(`{"a":`, n)+"{}"+strings.Repeat("}", n))
	}
	return seeds
}

func TestScannerAgreesWithJSONText(t *testing.T) {
	t.Parallel()
	for _, text := range odd() {
		agree(t, []byte(text))
		if len(text) > 300 {
			continue
		}
		for i := range text { // cut, and with a byte that is another
			agree(t, []byte(text[:i]))
			for _, c := range []byte("\"\\{}[],:0e.-\x00\x1f \n\x80u") {
				changed := []byte(text)
				changed[i] = c
				agree(t, changed)
			}
		}
	}
}

// Strings are read eight bytes at a time: whatever stands at whatever place of them.
func TestText(t *testing.T) {
	t.Parallel()
	for size := range 20 {
		text := append(bytes.Repeat([]byte{'a'}, size), '"')
		for at := range size {
			for c := range 256 {
				text[at] = byte(c)
				want := size + 1
				switch {
				case c == '"':
					want = at + 1
				case c < ' ', c == '\\' && (at != size-2 || text[at+1] != 'b'):
					want = invalid
				}
				if c == '\\' && at == size-1 { // the last quote is no end
					want = invalid
				}
				if got, _ := (&scanner{data: text}).text(0); got != want {
					t.Fatalf("got %d, want %d: %q", got, want, text)
				}
			}
			text[at] = []byte{'a', 0x80, 0xff, '!', '#', '[', ']', 0x7f}[at%8]
		}
	}
}

// What is noted of a message is true of it after each change, too.
func TestNotesFollowEdits(t *testing.T) {
	t.Parallel()
	edits := []func(Message) Message{
		func(m Message) Message { return m.WithID([]byte(`"a longer one"`)) },
		func(m Message) Message { return m.WithID([]byte(`"a longer one"`)).WithID([]byte("6")) },
		func(m Message) Message { return m.WithMeta([]byte(`"b":{"a":2}`), "a") },
		func(m Message) Message { return m.Complete(MethodToolsList, []byte(`{"name":"s"}`)) },
		func(m Message) Message {
			if token := m.Param("_meta", "progressToken"); !token.Empty() {
				m = m.Replace(token, []byte(`{"a":"longer"}`))
			}
			return m.WithID([]byte("7777"))
		},
		func(m Message) Message {
			if m.Params() == nil {
				return m
			}
			return m.Insert(m.Param(), []byte(`"c":3,"_meta2":{}`)).WithParams([]byte(`{"d":4}`))
		},
	}
	for _, text := range []string{
		`{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"x","_meta":{"a":1,"progressToken":"t"},"uri":"y"}}`,
		`{"jsonrpc":"2.0","params":{"name":"x","_meta":{"a":1,"progressToken":"t"},"uri":"y"},"id":5,"method":"tools/call"}`,
		`{"jsonrpc":"2.0","method":"tools/call","params":{},"id":5}`, `{"jsonrpc":"2.0","id":5,"method":"tools/call"}`,
		`{"jsonrpc":"2.0","id":5,"result":{"_meta":{"a":1},"isError":true}}`, `{"result":{"_meta":{"a":1},"isError":true},"jsonrpc":"2.0","id":5}`,
		`{"jsonrpc":"2.0","error":{"code":-32002,"data":{"a":1}},"id":5}`,
	} {
		for _, edit := range edits {
			m, err := Parse([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			m = edit(m)
			sameByNotes(t, m)
			again, err := Parse(bytes.Clone(m.Raw()))
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range [][]string{{"name"}, {"uri"}, {"c"}, {"d"}, {"_meta", "a"}, {"_meta", "b", "a"}, {"_meta", "progressToken", "a"}} {
				if got, want := m.Param(path...), again.Param(path...); got != want {
					t.Errorf("%s, %q: got %v, want %v", m.Raw(), path, got, want)
				}
			}
		}
	}
}

// What was read stays in no scanner that is used again.
func TestScannerForgets(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`{"a":{"s\u0065cret":1}}`, `{"a":{"s\u0065cret":`, `{"a":{"s\u0065cret":1,"secret":2}}`} {
		s := newScanner([]byte(text))
		s.whole(inEnvelope)
		s.free()
		if s.plain != nil || s.data != nil {
			t.Errorf("%s: the scanner still holds a part of it", text)
		}
	}
}

func FuzzScan(f *testing.F) {
	for _, seed := range odd() {
		if len(seed) < 10_000 {
			f.Add([]byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) { agree(t, data) })
}
