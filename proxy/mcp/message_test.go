package mcp

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		kind       Kind
		code       int
		id         string
	}{
		{"request", `{"jsonrpc":"2.0","id":1,"method":"ping"}`, Request, 0, "1"},
		{"big id", `{"jsonrpc":"2.0","id":9007199254740993,"method":"ping"}`, Request, 0, "9007199254740993"},
		{"exponent id", `{"jsonrpc":"2.0","id":1e3,"method":"ping"}`, Request, 0, "1e3"},
		{"decimal id", `{"jsonrpc":"2.0","id":1.0,"method":"ping"}`, Request, 0, "1.0"},
		{"string id", `{"jsonrpc":"2.0","id":"a\u0041","method":"ping"}`, Request, 0, `"a\u0041"`},
		{"escaped names", `{"jsonrpc":"2.0","\u0069d":7,"meth\u006fd":"ping"}`, Request, 0, "7"},
		{"notification", `{"jsonrpc":"2.0","method":"notifications/initialized"}`, Notification, 0, ""},
		{"null params", `{"jsonrpc":"2.0","method":"a","params":null}`, Notification, 0, ""},
		{"result", `{"jsonrpc":"2.0","id":"x","result":{}}`, Response, 0, `"x"`},
		{"error", `{"jsonrpc":"2.0","id":3,"error":{"code":1,"message":""}}`, Response, 0, "3"},
		{"error without id", `{"jsonrpc":"2.0","error":{"code":1,"message":""}}`, Response, 0, ""},
		{"error with null id", `{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}`, Response, 0, "null"},
		{"white space", " \t\r\n{ \"jsonrpc\" : \"2.0\" ,\n \"method\":\"a\"}\n", Notification, 0, ""},
		{"empty", ``, 0, CodeParse, ""},
		{"truncated", `{"jsonrpc":"2.0","id":1,"method":"pi`, 0, CodeParse, ""},
		{"garbage", `hello`, 0, CodeParse, ""},
		{"not an object", `42`, 0, CodeParse, ""},
		{"text after", `{"jsonrpc":"2.0","method":"a"} {}`, 0, CodeParse, ""},
		{"duplicate method", `{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}`, 0, CodeParse, ""},
		{"duplicate by escape", `{"jsonrpc":"2.0","id":1,"method":"a","m\u0065thod":"b"}`, 0, CodeParse, ""},
		{"duplicate deep", `{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":[{"y":1,"y":2}]}}`, 0, CodeParse, ""},
		{"invalid UTF-8", "{\"jsonrpc\":\"2.0\",\"method\":\"a\",\"params\":{\"x\":\"\xff\"}}", 0, CodeParse, ""},
		{"lone surrogate", `{"jsonrpc":"2.0","method":"a","params":{"x":"\ud800"}}`, Notification, 0, ""},
		{"lone surrogate in a name", `{"jsonrpc":"2.0","method":"a","\ud800":1,"params":{"\udc00":2}}`, Notification, 0, ""},
		{"lone surrogate in the method", `{"jsonrpc":"2.0","method":"a\ud800"}`, Notification, 0, ""},
		{"names alike but for their surrogates", `{"jsonrpc":"2.0","method":"a","params":{"\ud800":1,"\ud801":2}}`, 0, CodeParse, ""},
		{"line break in string", "{\"jsonrpc\":\"2.0\",\"method\":\"a\nb\"}", 0, CodeParse, ""},
		{"too deep", `{"jsonrpc":"2.0","method":"a","params":{"x":` + strings.Repeat("[", 10001) + strings.Repeat("]", 10001) + `}}`, 0, CodeParse, ""},
		{"batch", `[{"jsonrpc":"2.0","id":1,"method":"a"}]`, 0, CodeInvalidRequest, ""},
		{"version", `{"jsonrpc":"1.0","id":1,"method":"a"}`, 0, CodeInvalidRequest, "1"},
		{"no version", `{"id":1,"method":"a"}`, 0, CodeInvalidRequest, "1"},
		{"upper case", `{"jsonrpc":"2.0","id":1,"METHOD":"a"}`, 0, CodeInvalidRequest, "1"},
		{"method number", `{"jsonrpc":"2.0","id":1,"method":5}`, 0, CodeInvalidRequest, "1"},
		{"empty method", `{"jsonrpc":"2.0","id":1,"method":""}`, 0, CodeInvalidRequest, "1"},
		{"null id", `{"jsonrpc":"2.0","id":null,"method":"a"}`, 0, CodeInvalidRequest, ""},
		{"object id", `{"jsonrpc":"2.0","id":{},"method":"a"}`, 0, CodeInvalidRequest, ""},
		{"array params", `{"jsonrpc":"2.0","id":1,"method":"a","params":[]}`, 0, CodeInvalidRequest, "1"},
		{"method and result", `{"jsonrpc":"2.0","id":1,"method":"a","result":{}}`, 0, CodeInvalidRequest, "1"},
		{"result and null error", `{"jsonrpc":"2.0","id":1,"error":null,"result":{}}`, Response, 0, "1"},
		{"error and null result", `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""},"result":null}`, Response, 0, "1"},
		{"result and error", `{"jsonrpc":"2.0","id":1,"error":{},"result":{}}`, 0, CodeInvalidRequest, "1"},
		{"result without id", `{"jsonrpc":"2.0","result":{}}`, 0, CodeInvalidRequest, ""},
		{"nothing", `{"jsonrpc":"2.0","id":1}`, 0, CodeInvalidRequest, "1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m, err := Parse([]byte(test.text))
			if test.code == 0 {
				if err != nil {
					t.Fatalf("got error %v, want none", err)
				}
				if m.Kind() != test.kind || string(m.ID()) != test.id {
					t.Errorf("got kind %v id %s, want %v %s", m.Kind(), m.ID(), test.kind, test.id)
				}
				return
			}
			var invalid *InvalidError
			if !errors.As(err, &invalid) {
				t.Fatalf("got error %v, want an InvalidError", err)
			}
			if invalid.Code != test.code || string(invalid.ID) != test.id {
				t.Errorf("got code %d id %s (%v), want %d %s", invalid.Code, invalid.ID, err, test.code, test.id)
			}
			if len(invalid.Reason) > maxReason {
				t.Errorf("got a reason of %d bytes, want at most %d", len(invalid.Reason), maxReason)
			}
		})
	}
}

// What nobody here knows must reach the other side as it came.
func TestAppendWithIDKeepsEveryOtherByte(t *testing.T) {
	t.Parallel()
	text := `{"x-new":9007199254740993, "jsonrpc":"2.0","params":{"n":1e3,"m":1.0,"big":12345678901234567890},"id": "\u0061" ,"method":"a","z":[]}`
	m, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	got := string(m.AppendWithID(nil, []byte("17")))
	if want := strings.Replace(text, `"\u0061"`, "17", 1); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestParseMakesOneLine(t *testing.T) {
	t.Parallel()
	m, err := Parse([]byte("{\r\n \"jsonrpc\":\"2.0\",\r\"method\":\"a\\nb\"\n}"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.ContainsAny(m.Raw(), "\r\n") || m.Method() != "a\nb" {
		t.Errorf("got %q with method %q", m.Raw(), m.Method())
	}
}

func TestFindReplaceInsert(t *testing.T) {
	t.Parallel()
	m, err := Parse([]byte(`{"jsonrpc":"2.0","params":{"name":"x","_meta":{"a":[1],"progressToken":"tok"}},"id":5,"method":"tools/call"}`))
	if err != nil {
		t.Fatal(err)
	}
	token := m.Param("_meta", "progressToken")
	if got := string(m.At(token)); got != `"tok"` {
		t.Fatalf("got token %s, want \"tok\"", got)
	}
	if got := m.Param("_meta", "absent"); !got.Empty() {
		t.Errorf("got span %v of an absent member", got)
	}
	if got := m.Param("name", "deeper"); !got.Empty() {
		t.Errorf("got span %v inside a string", got)
	}
	m = m.Replace(token, []byte("123456789"))
	m = m.Insert(m.Param("_meta"), []byte(`"b":2`))
	want := `{"jsonrpc":"2.0","params":{"name":"x","_meta":{"b":2,"a":[1],"progressToken":123456789}},"id":5,"method":"tools/call"}`
	if string(m.Raw()) != want {
		t.Errorf("got  %s\nwant %s", m.Raw(), want)
	}
	if string(m.ID()) != "5" || !bytes.HasSuffix(m.Params(), []byte("123456789}}")) {
		t.Errorf("got id %s params %s after the edits", m.ID(), m.Params())
	}
	if got := string(m.AppendWithID(nil, []byte(`"q"`))); got != strings.Replace(want, `"id":5`, `"id":"q"`, 1) {
		t.Errorf("got %s", got)
	}
}

// Parse lets half of a surrogate pair pass: it must not hide what stands beside it.
func TestFindBesideHalfSurrogate(t *testing.T) {
	t.Parallel()
	m, err := Parse([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"x":"\ud800","\udfff":1,"name":"a"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if name, _ := m.Text(m.Param("name")); name != "a" {
		t.Errorf("got name %q, want a", name)
	}
}

func TestElements(t *testing.T) {
	t.Parallel()
	m, err := Parse([]byte(`{"jsonrpc":"2.0","id":1,"result":{"a":[ 1e3 , "\ud800",{"b":[2]},[] ],"b":[],"c":{}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": `1e3|"\ud800"|{"b":[2]}|[]`, "b": "", "c": "", "absent": ""} {
		var got []string
		for value := range Elements(m.At(m.InResult(name))) {
			got = append(got, string(value))
		}
		if strings.Join(got, "|") != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestComplete(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, method, text, want string }{
		{"call", "tools/call", `{"jsonrpc":"2.0","id":1,"result":{"content":[],"n":1e3}}`,
			`{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","content":[],"n":1e3}}`},
		{"empty", "tools/call", `{"jsonrpc":"2.0","id":1,"result":{ }}`,
			`{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete" }}`},
		{"list", "tools/list", `{"jsonrpc":"2.0","result":{"tools":[]},"id":1}`,
			`{"jsonrpc":"2.0","result":{"resultType":"complete","ttlMs":0,"cacheScope":"private","tools":[]},"id":1}`},
		{"the server's own stay", "tools/list", `{"jsonrpc":"2.0","id":1,"result":{"ttlMs":5,"resultType":"complete"}}`,
			`{"jsonrpc":"2.0","id":1,"result":{"cacheScope":"private","ttlMs":5,"resultType":"complete"}}`},
		{"resource not found", "resources/read", `{"jsonrpc":"2.0","id":1,"error":{"code":-32002,"message":"m"}}`,
			`{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"m"}}`},
		{"other error", "resources/read", `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"m"}}`,
			`{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"m"}}`},
		{"described", "tools/call", `{"jsonrpc":"2.0","id":1,"result":{"content":[]},"x":1}`,
			`{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s"}},"content":[]},"x":1}`},
		{"described beside others", "tools/call", `{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","_meta":{"a":1}}}`,
			`{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s"},"a":1}}}`},
		{"no object", "tools/call", `{"jsonrpc":"2.0","id":1,"result":7}`, `{"jsonrpc":"2.0","id":1,"result":7}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m, err := Parse([]byte(test.text))
			if err != nil {
				t.Fatal(err)
			}
			var info []byte
			if strings.HasPrefix(test.name, "described") {
				info = []byte(`{"name":"s"}`)
			}
			got := m.Complete(test.method, info)
			if string(got.Raw()) != test.want {
				t.Errorf("got  %s\nwant %s", got.Raw(), test.want)
			}
			if string(got.ID()) != "1" {
				t.Errorf("got id %s, want 1", got.ID())
			}
		})
	}
}

func TestBuild(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		got  Message
		want string
	}{
		{"error", NewError([]byte("1e3"), -1, "bad \xff \"x\"", nil), `{"jsonrpc":"2.0","id":1e3,"error":{"code":-1,"message":"bad ` + "\uFFFD" + ` \"x\""}}`},
		{"error without id", NewError(nil, 7, "m", []byte(`[1]`)), `{"jsonrpc":"2.0","error":{"code":7,"message":"m","data":[1]}}`},
		{"result", NewResult([]byte(`"a"`), []byte(`{}`)), `{"jsonrpc":"2.0","id":"a","result":{}}`},
		{"request", NewRequest([]byte("1"), "m", []byte(`{"a":1}`)), `{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":1}}`},
		{"notification", NewRequest(nil, "m", nil), `{"jsonrpc":"2.0","method":"m"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if string(test.got.Raw()) != test.want {
				t.Fatalf("got  %s\nwant %s", test.got.Raw(), test.want)
			}
			parsed, err := Parse(bytes.Clone(test.got.Raw()))
			if err != nil {
				t.Fatal(err)
			}
			if parsed.Kind() != test.got.Kind() || !bytes.Equal(parsed.ID(), test.got.ID()) ||
				!bytes.Equal(parsed.Err(), test.got.Err()) || !bytes.Equal(parsed.Result(), test.got.Result()) ||
				!bytes.Equal(parsed.Params(), test.got.Params()) {
				t.Errorf("the built message differs from the parsed one: %s", test.got.Raw())
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":1},"name":"x"}}`,
		`{"jsonrpc":"2.0","id":"\u0041","result":{"a":[1e3,1.0]}}`,
		"{\"jsonrpc\":\"2.0\",\n\"method\":\"a\",\"params\":{}}",
		`[{}]`, `{"jsonrpc":"2.0","id":null,"error":{}}`, `{"a":1,"a":2}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		original := bytes.Clone(data)
		m, err := Parse(data)
		if err != nil {
			if _, ok := errors.AsType[*InvalidError](err); !ok {
				t.Fatalf("got error %T", err)
			}
			return
		}
		if !json.Valid(original) {
			t.Fatalf("accepted invalid JSON %q", original)
		}
		if bytes.ContainsAny(m.Raw(), "\r\n") {
			t.Fatalf("more than one line: %q", m.Raw())
		}
		edits := []Message{m.Complete("tools/list", []byte(`{"name":"s"}`))}
		if token := m.Param("_meta", "progressToken"); !token.Empty() {
			edits = append(edits, m.Replace(token, []byte("1")))
		}
		if m.ID() != nil {
			again, err := Parse(m.AppendWithID(nil, m.ID()))
			if err != nil || !bytes.Equal(again.Raw(), m.Raw()) {
				t.Fatalf("the same id gave another message: %q", again.Raw())
			}
		}
		for _, edited := range edits {
			if again, err := Parse(bytes.Clone(edited.Raw())); err != nil || !bytes.Equal(again.ID(), edited.ID()) {
				t.Fatalf("edit broke the message: %q: %v", edited.Raw(), err)
			}
		}
	})
}

// Fronts tell what the gateway says of a server from what it says itself.
func TestFailure(t *testing.T) {
	t.Parallel()
	if m := NewFailure([]byte("1"), FailureLate, "late"); m.Failure() != FailureLate || string(m.At(m.InError("code"))) != "-32603" {
		t.Errorf("got %s", m.Raw())
	}
	if m := NewError([]byte("1"), CodeInternal, "late", []byte(`"timeout"`)); m.Failure() != "" {
		t.Errorf("got %q", m.Failure())
	}
}

// Readdressed gives what WithID gives, whatever room there is and wherever the id stands.
func TestReaddressed(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{"jsonrpc":"2.0","id":12345,"result":{"isError":true,"content":["a longer text than what is before"]}}`,
		`{"jsonrpc":"2.0","result":{"isError":true,"content":["a longer text than what is behind"]},"id":12345}`,
		`{"id":12345,"error":{"code":-1},"jsonrpc":"2.0"}`,
	} {
		for _, id := range []string{`1`, `12345`, `54321`, `123456`, `"a much longer one"`} {
			for _, room := range []int{0, 1, 64} {
				m, err := Parse(append(make([]byte, 0, len(text)+room), text...))
				if err != nil {
					t.Fatal(err)
				}
				want := m.WithID([]byte(id))
				m = m.Readdressed([]byte(id))
				if !bytes.Equal(m.Raw(), want.Raw()) || !bytes.Equal(m.ID(), want.ID()) || !bytes.Equal(m.Result(), want.Result()) || !bytes.Equal(m.Err(), want.Err()) ||
					m.InResult("isError") != want.InResult("isError") {
					t.Errorf("got  %s (id %s)\nwant %s", m.Raw(), m.ID(), want.Raw())
				}
				if _, err := Parse(bytes.Clone(m.Raw())); err != nil {
					t.Error(err)
				}
			}
		}
	}
}
