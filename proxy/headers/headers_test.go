package headers

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"mcpgateway/proxy/mcp"
)

func call(t testing.TB, arguments string) mcp.Message {
	t.Helper()
	m, err := mcp.Parse(fmt.Appendf(nil, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":%s}}`, arguments))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func tool(properties string) []byte {
	return []byte(`{"name":"t","inputSchema":{"type":"object","properties":` + properties + `}}`)
}

func TestCheckParameters(t *testing.T) {
	t.Parallel()
	region := `{"region":{"type":"string","x-mcp-header":"Region"}}`
	count := `{"n":{"type":"integer","x-mcp-header":"N"}}`
	flag := `{"b":{"type":"boolean","x-mcp-header":"B"}}`
	deep := `{"a":{"type":"object","properties":{"b":{"type":"string","x-mcp-header":"Deep"}}}}`
	encoded := func(text string) string { return "=?base64?" + base64.StdEncoding.EncodeToString([]byte(text)) + "?=" }
	tests := []struct {
		name, properties, arguments, header string // header is Name=value, ; between them
		want                                bool
	}{
		{"same", region, `{"region":"eu"}`, "Region=eu", true},
		{"name in another case", region, `{"region":"eu"}`, "rEGION=eu", true},
		{"other", region, `{"region":"eu"}`, "Region=us", false},
		{"value in another case", region, `{"region":"eu"}`, "Region=EU", false},
		{"missing", region, `{"region":"eu"}`, "", false},
		{"twice", region, `{"region":"eu"}`, "Region=eu;Region=eu", false},
		{"neither", region, `{}`, "", true},
		{"null", region, `{"region":null}`, "", true},
		{"header for null", region, `{"region":null}`, "Region=null", false},
		{"header for nothing", region, `{}`, "Region=eu", false},
		{"empty", region, `{"region":""}`, "Region=", true},
		{"empty for nothing", region, `{}`, "Region=", false},
		{"header of no parameter", region, `{}`, "Other=x", true},
		{"encoded", region, `{"region":"Größe"}`, "Region=" + encoded("Größe"), true},
		{"encoded though plain", region, `{"region":"eu"}`, "Region=" + encoded("eu"), true},
		{"raw", region, `{"region":"Größe"}`, "Region=Größe", false},
		{"bad padding", region, `{"region":"Hello"}`, "Region==?base64?SGVsbG8?=", false},
		{"bad characters", region, `{"region":"Hello"}`, "Region==?base64?SGVs!!!bG8=?=", false},
		{"bits behind the end", region, `{"region":"x"}`, "Region==?base64?eB==?=", false},
		{"line break in the encoding", region, `{"region":"Hello"}`, "Region==?base64?SGVs\nbG8=?=", false},
		{"number with white space", count, `{"n":42}`, "N=" + encoded(" 42"), false},
		{"no UTF-8", region, `{"region":"\ufffd"}`, "Region=" + encoded("\xff"), false},
		{"no prefix", region, `{"region":"SGVsbG8="}`, "Region=SGVsbG8=", true},
		{"no suffix", region, `{"region":"=?base64?SGVsbG8="}`, "Region==?base64?SGVsbG8=", true},
		{"prefix in another case", region, `{"region":"=?BASE64?SGVsbG8=?="}`, "Region==?BASE64?SGVsbG8=?=", true},
		{"escaped in the body", region, `{"region":"\u0065u"}`, "Region=eu", true},
		{"number for a string", region, `{"region":5}`, "Region=5", true},
		{"integer", count, `{"n":42}`, "N=42", true},
		{"integer as decimal", count, `{"n":42}`, "N=42.0", true},
		{"decimal in the body", count, `{"n":4.2e1}`, "N=42", true},
		{"negative", count, `{"n":-7}`, "N=-7", true},
		{"other integer", count, `{"n":42}`, "N=43", false},
		{"beyond doubles", count, `{"n":9007199254740993}`, "N=9007199254740992", false},
		{"beyond doubles, alike", count, `{"n":9007199254740993}`, "N=9007199254740993", true},
		{"hexadecimal", count, `{"n":42}`, "N=0x2a", false},
		{"huge exponent", count, `{"n":1e999999999}`, "N=1e999999998", false},
		{"fraction", count, `{"n":1.5}`, "N=1.50", false},
		{"true", flag, `{"b":true}`, "B=true", true},
		{"false", flag, `{"b":false}`, "B=true", false},
		{"capital", flag, `{"b":true}`, "B=True", false},
		{"deep", deep, `{"a":{"b":"x"}}`, "Deep=x", true},
		{"deep and other", deep, `{"a":{"b":"x"}}`, "Deep=y", false},
		{"deep and absent", deep, `{"a":{}}`, "", true},
		{"object", region, `{"region":{}}`, "Region={}", false},
		{"no arguments", region, `null`, "", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := http.Header{}
			for header := range strings.SplitSeq(test.header, ";") {
				if name, value, ok := strings.Cut(header, "="); ok {
					h.Add("Mcp-Param-"+name, value)
				}
			}
			problem := ParametersOf(tool(test.properties)).Check(h, call(t, test.arguments))
			if (problem == nil) != test.want || problem != nil && problem.Code != mcp.CodeHeaderMismatch {
				t.Errorf("got %+v, want it to pass: %v", problem, test.want)
			}
		})
	}
}

func TestParametersOf(t *testing.T) {
	t.Parallel()
	many := make([]string, maxParameters+2)
	for i := range many {
		many[i] = fmt.Sprintf(`"p%d":{"type":"string","x-mcp-header":"P%d"}`, i, i)
	}
	nested := func(depth int) string {
		return strings.Repeat(`{"a":{"properties":`, depth) + `{"b":{"type":"string","x-mcp-header":"B"}}` + strings.Repeat(`}}`, depth)
	}
	tests := []struct {
		name, tool string
		want       int
	}{
		{"none", string(tool(`{"a":{"type":"string"}}`)), 0},
		{"no schema", `{"name":"t"}`, 0},
		{"two", string(tool(`{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"boolean","x-mcp-header":"B"}}`)), 2},
		{"written with escapes", string(tool(`{"a":{"type":"string","\u0078-mcp-header":"A"}}`)), 1},
		{"twice", string(tool(`{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}`)), 0},
		{"empty name", string(tool(`{"a":{"type":"string","x-mcp-header":""}}`)), 0},
		{"no token", string(tool(`{"a":{"type":"string","x-mcp-header":"A B"}}`)), 0},
		{"no text", string(tool(`{"a":{"type":"string","x-mcp-header":1}}`)), 0},
		{"number", string(tool(`{"a":{"type":"number","x-mcp-header":"A"}}`)), 0},
		{"no type", string(tool(`{"a":{"x-mcp-header":"A"}}`)), 0},
		{"in items", string(tool(`{"a":{"items":{"properties":{"b":{"type":"string","x-mcp-header":"B"}}}}}`)), 0},
		{"property of that name", string(tool(`{"x-mcp-header":{"type":"string"}}`)), 0},
		{"nested", string(tool(nested(3))), 1},
		{"nested too deep", string(tool(nested(maxDepth))), 0},
		{"too many", string(tool("{" + strings.Join(many, ",") + "}")), 0},
	}
	for _, test := range tests {
		if got := ParametersOf([]byte(test.tool)); len(got) != test.want {
			t.Errorf("%s: got %v, want %d", test.name, got, test.want)
		}
	}
}

func TestIsParameter(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"Mcp-Param-Region": true, "mcp-param-x": true, "Mcp-Param-": false, "Mcp-Name": false, "": false, "Mcp-Param-a b": false,
	} {
		if got := IsParameter(name); got != want {
			t.Errorf("%q: got %v", name, got)
		}
	}
}

// Headers come from anybody: no value may panic, and none may pass for another.
func FuzzEra(f *testing.F) {
	f.Add("2026-07-28", "tools/call", "=?base64?eA==?=", "x")
	f.Fuzz(func(t *testing.T, revision, method, name, tool string) {
		h := http.Header{mcp.HeaderRevision: {revision}, mcp.HeaderMethod: {method}, mcp.HeaderName: {name}}
		body := []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":` + string(mcp.Quote(tool)) +
			`,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`)
		m, err := mcp.Parse(body)
		if err != nil {
			t.Fatal(err)
		}
		stateless, problem := Era(h, m)
		if problem != nil {
			return
		}
		decoded, ok := decode(name)
		if !stateless || revision != "2026-07-28" || method != "tools/call" || !ok || decoded != strings.ToValidUTF8(tool, "\uFFFD") {
			t.Errorf("passed: revision %q, method %q, name %q for tool %q", revision, method, name, tool)
		}
	})
}

// Neither a client's headers and arguments nor a server's definition may panic, and
// what passes is the same in header and body.
func FuzzParameters(f *testing.F) {
	f.Add(`{"name":"t","inputSchema":{"properties":{"a":{"type":"integer","x-mcp-header":"A"}}}}`, `{"a":42.0}`, "42")
	f.Add(`{"name":"t","inputSchema":{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}}`, `{"a":"x"}`, "=?base64?eA==?=")
	f.Fuzz(func(t *testing.T, definition, arguments, value string) {
		if _, err := mcp.ParseObject([]byte(definition)); err != nil {
			return
		}
		object, err := mcp.ParseObject([]byte(arguments))
		if err != nil {
			return
		}
		m := call(t, string(object))
		parameters := ParametersOf([]byte(definition))
		h := http.Header{}
		for _, p := range parameters {
			h.Add(p.header, value)
		}
		if parameters.Check(h, m) != nil {
			return
		}
		for _, p := range parameters {
			inBody := m.At(m.Param(append([]string{"arguments"}, p.path...)...))
			decoded, _ := decode(value)
			if text, ok := mcp.TextOf(inBody); ok {
				if text != decoded {
					t.Errorf("header %q passed for %q", value, text)
				}
				continue
			}
			a, _ := strconv.ParseFloat(decoded, 64)
			b, _ := strconv.ParseFloat(string(inBody), 64)
			if decoded != string(inBody) && a != b {
				t.Errorf("header %q passed for %s", value, inBody)
			}
		}
	})
}
