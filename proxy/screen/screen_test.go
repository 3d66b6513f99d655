package screen

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"mcpgateway/policy"
	"mcpgateway/proxy/mcp"
)

func TestHidden(t *testing.T) {
	t.Parallel()
	hidden := []rune{0, 0x1b, 0x7f, 0x85, 0xad, 0x34f, 0x61c, 0x115f, 0x180e, 0x200b, 0x200e, 0x202e, 0x2060, 0x2066, 0x206f, 0x3164, 0xfeff, 0xffa0, 0xe0001, 0xe0041, 0xe007f, 0x1d173}
	for _, r := range hidden {
		if !Hidden(r) || !Curious(r) {
			t.Errorf("%U is not hidden, want it hidden", r)
		}
	}
	for _, r := range []rune{'\t', '\n', '\r', ' ', '~', 0xa0, 0xe9, 0x600, 0x4e2d, 0x1f600, 0x301, 0xfffd} {
		if Hidden(r) || Curious(r) {
			t.Errorf("%U is hidden, want it visible", r)
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, raw, want string }{ // want "" is: as it is
		{"plain", `"a\tb\nc \" \\ \/ é"`, ""},
		{"zero width", "\"a\u200bb\ufeffc\"", `"abc"`},
		{"escaped", `"a\u200Bb\ufeffc"`, `"abc"`},
		{"an escaped backslash is none", `"a\\u200bb"`, ""},
		{"behind an escaped backslash", `"a\\\u200bb"`, `"a\\b"`},
		{"tags", "\"x\U000E0041\U000E0042y\"", `"xy"`},
		{"escaped tags", `"x\udb40\udc41\uDB40\uDC42y"`, `"xy"`},
		{"bidi", `"a\u202eb\u2066c"`, `"abc"`},
		{"controls", `"a\u001b[31mb\bc\fd"` + "", `"a[31mbcd"`},
		{"raw DEL and C1", "\"a\x7fb\u0085c\"", `"abc"`},
		{"halves that would meet", `"a\udb40\u200b\udc41b"`, `"a\udb40b"`},
		{"halves alone", `"a\udb40 \udc41b"`, ""},
		{"joiner beside ASCII", "\"a\u200db\u200cc\"", `"abc"`},
		{"joiner before ASCII", "\"نامه\u200ca\"", `"نامهa"`},
		{"family", "\"👨\u200d👩\u200d👧\"", ""},
		{"family, escaped", `"\ud83d\udc68\u200d\ud83d\udc69"`, ""},
		{"heart on fire", "\"❤\ufe0f\u200d🔥\"", ""},
		{"skin", "\"👩🏽\u200d💻\"", ""},
		{"keycap", "\"1\ufe0f\u20e3\"", ""},
		{"selector on ASCII", "\"1\ufe0f2a\ufe01\"", `"12a"`},
		{"run of selectors", "\"😀\ufe0f\ufe0e\ufe0f\U000E0100\"", "\"😀\ufe0f\""},
		{"data in selectors", "\"😀\U000E0152\U000E0153\"", "\"😀\""},
		{"ideographic variant", "\"葛\U000E0100城\"", ""},
		{"Persian", "\"می\u200cخواهم ه\u200d.\"", ""},
		{"Hindi", "\"क्\u200dष क्\u200c\"", ""},
		{"run of joiners", "\"می\u200c\u200c\u200dخ\"", "\"می\u200dخ\""},
		{"joiners alone", "\"\u200d\u200c\u200d\"", `""`},
		{"hidden between emoji", "\"👨\u200b\u200d👩\"", "\"👨\u200d👩\""},
		{"Arabic number sign is seen", "\"\u0600١\"", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, hidden := text([]byte(test.raw))
			want := test.want
			if want == "" {
				want = test.raw
			}
			if string(got) != want || (len(hidden) > 0) != (test.want != "") {
				t.Errorf("got %+q and %U, want %+q", got, hidden, want)
			}
		})
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	const clean = `{ "name":"ok" , "n": 1e3}`
	tests := []struct {
		name, method, result string
		mode                 policy.HiddenText
		want                 string // "": as it is
		items                string // of the findings
	}{
		{name: "clean", method: "tools/list", mode: "strip", result: `{ "tools": [ ` + clean + ` ], "nextCursor":"a" }`},
		{name: "legitimate joiners", method: "tools/list", mode: "strip", result: "{ \"tools\":[ {\"name\":\"a\",\"description\":\"👨\u200d👩\"} ] }"},
		{
			name: "description", method: "tools/list", mode: "strip", items: "a",
			result: `{"tools":[` + clean + `,{ "name":"a", "description":"x\u200by", "z":1.0}]}`,
			want:   `{"tools":[` + clean + `,{ "name":"a", "description":"xy", "z":1.0}]}`,
		},
		{
			name: "deep", method: "tools/list", mode: "strip", items: "a",
			result: `{"tools":[{"name":"a","inputSchema":{"properties":{"default":{"anyOf":[{"title":"x\u200by"}]},"enum":{"description":"\u202ez"}}},"annotations":{"title":"\ufefft"}}]}`,
			want:   `{"tools":[{"name":"a","inputSchema":{"properties":{"default":{"anyOf":[{"title":"xy"}]},"enum":{"description":"z"}}},"annotations":{"title":"t"}}]}`,
		},
		{
			name: "a property that is called title", method: "tools/list", mode: "strip", items: "a",
			result: `{"tools":[{"name":"a","inputSchema":{"properties":{"title":{"const":"x\u200by"}}}}]}`,
			want:   `{"tools":[]}`,
		},
		{
			name: "name", method: "tools/list", mode: "strip", items: "a\u200b",
			result: `{"tools":[{"name":"a\u200b"},` + clean + `]}`,
			want:   `{"tools":[` + clean + `]}`,
		},
		{name: "name of a property", method: "tools/list", mode: "strip", items: "a", result: `{"tools":[{"name":"a","inputSchema":{"properties":{"p\u200b":{}}}}]}`, want: `{"tools":[]}`},
		{name: "enum", method: "tools/list", mode: "strip", items: "a", result: `{"tools":[{"name":"a","inputSchema":{"enum":["\ud800","x\u200b"]}}]}`, want: `{"tools":[]}`},
		{name: "text in a default", method: "tools/list", mode: "strip", items: "a", result: `{"tools":[{"name":"a","inputSchema":{"default":{"description":"x\u200b"}}}]}`, want: `{"tools":[]}`},
		{name: "no object", method: "tools/list", mode: "strip", items: "", result: `{"tools":["x\u200b",` + clean + `]}`, want: `{"tools":[` + clean + `]}`},
		{name: "block", method: "tools/list", mode: "block", items: "a", result: `{"tools":[{"name":"a","description":"x\u200by"},` + clean + `]}`, want: `{"tools":[` + clean + `]}`},
		{name: "report", method: "tools/list", mode: "report", items: "a\u200b", result: `{"tools":[{"name":"a\u200b","description":"x\u200by"},` + clean + `]}`},
		{name: "off", method: "tools/list", mode: "off", result: `{"tools":[{"name":"a\u200b"}]}`},
		{name: "cursor", method: "tools/list", mode: "strip", result: `{"tools":[],"nextCursor":"\u200b"}`},
		{name: "beside the list", method: "tools/list", mode: "strip", items: "", result: `{"tools":[],"_meta":{"a":"x\u200b"},"b\u200b":1}`, want: `{"tools":[]}`},
		{name: "prompts", method: "prompts/list", mode: "strip", items: "a", result: `{"prompts":[{"name":"a","arguments":[{"name":"b","description":"\u200b"}]}]}`, want: `{"prompts":[{"name":"a","arguments":[{"name":"b","description":""}]}]}`},
		{name: "resources", method: "resources/list", mode: "strip", items: "u:\u200b", result: `{"resources":[{"uri":"u:\u200b"}]}`, want: `{"resources":[]}`},
		{name: "templates", method: "resources/templates/list", mode: "strip", items: "u", result: `{"resourceTemplates":[{"uriTemplate":"u","name":"\u200b"}]}`, want: `{"resourceTemplates":[]}`},
		{
			name: "initialize", method: "initialize", mode: "strip", items: "",
			result: `{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"n\u200b","version":"1"},"instructions":"a\u200bb"}`,
			want:   `{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"n","version":"1"},"instructions":"ab"}`,
		},
		{
			name: "initialize, blocked", method: "initialize", mode: "block", items: "",
			result: `{"serverInfo":{"name":"n\u200b","version":"1"},"instructions":"a\u200bb"}`,
			want:   `{"serverInfo":{"name":"n","version":"1"}}`,
		},
		{name: "discover", method: "server/discover", mode: "strip", items: "", result: `{"_meta":{"io.modelcontextprotocol/serverInfo":{"title":"\u200bt"}}}`, want: `{"_meta":{"io.modelcontextprotocol/serverInfo":{"title":"t"}}}`},
		{name: "another method", method: "tools/call", mode: "strip", result: `{"content":"\u200b"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			result := []byte(test.result)
			got, findings := List(test.method, result, test.mode)
			want := test.want
			if want == "" {
				want = test.result
				if &got[0] != &result[0] {
					t.Error("got a copy, want the same bytes")
				}
			}
			if string(got) != want {
				t.Errorf("got  %+q\nwant %+q", got, want)
			}
			if string(result) != test.result {
				t.Error("the result itself was changed")
			}
			if found := test.want != "" || test.items != ""; found != (len(findings) > 0) {
				t.Fatalf("got findings %v, want some: %v", findings, found)
			}
			if len(findings) > 0 && findings[0].Item != test.items {
				t.Errorf("got item %q, want %q", findings[0].Item, test.items)
			}
		})
	}
}

func TestFindingsAreBounded(t *testing.T) {
	t.Parallel()
	result := `{"tools":[{"name":"\u200b"}` + strings.Repeat(`,{"name":"\u200b"}`, 100) + `]}`
	got, findings := List(mcp.MethodToolsList, []byte(result), policy.HiddenStrip)
	if string(got) != `{"tools":[]}` || len(findings) != maxFindings {
		t.Errorf("got %.100s and %d findings, want no tool and %d", got, len(findings), maxFindings)
	}
}

func TestDeepNestingTakesNoLonger(t *testing.T) {
	t.Parallel()
	const depth = 9000
	deep := strings.Repeat(`{"a":[`, depth/2) + `"\u200b"` + strings.Repeat(`]}`, depth/2)
	result := `{"tools":[` + deep + strings.Repeat(`,`+deep, 40) + `]}`
	got, _ := List(mcp.MethodToolsList, []byte(result), policy.HiddenStrip) // quadratic, it would take minutes
	if string(got) != `{"tools":[]}` {
		t.Errorf("got %.100s, want no tool", got)
	}
}

func TestCleanDoesNotAllocate(t *testing.T) {
	result := []byte(`{"tools":[` + strings.Repeat(`{"name":"a","description":"schön \u00e9 \n 中文"},`, 100) + `{}]}`)
	allocated := testing.AllocsPerRun(10, func() { List(mcp.MethodToolsList, result, policy.HiddenStrip) })
	if allocated != 0 {
		t.Errorf("got %v allocations, want none", allocated)
	}
}

func TestNotesTellOnce(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	notes := NewNotes(slog.New(slog.NewTextHandler(&out, nil)))
	_, findings := List(mcp.MethodToolsList, []byte(`{"tools":[{"name":"a\u200b"}]}`), policy.HiddenStrip)
	for range 3 {
		notes.Tell("files", mcp.MethodToolsList, findings)
	}
	notes.Tell("other", mcp.MethodToolsList, findings)
	if got := strings.Count(out.String(), "\n"); got != 2 {
		t.Errorf("got %d lines, want one for each server:\n%s", got, out.String())
	}
	if !strings.Contains(out.String(), "U+200B") || strings.ContainsRune(out.String(), 0x200b) {
		t.Errorf("got %q, want the character's number, and not itself", out.String())
	}
	for i := range 2 * maxTold {
		notes.Tell("files", "tools/list", []Finding{{Item: fmt.Sprint(i)}})
	}
	if len(notes.told) > maxTold {
		t.Errorf("remembers %d, want at most %d", len(notes.told), maxTold)
	}
}

// FuzzList takes any items: what comes out is JSON, has nothing hidden in it, and
// is not changed again.
func FuzzList(f *testing.F) {
	for _, seed := range []string{
		`{"name":"a","description":"x\u200by"}`, `{"name":"a\u200b"}`, `"\udb40\u200b\udc41"`, `{"description":"\udb40\u200b\udc41"}`,
		"{\"description\":\"👨\u200d\u200b👩 می\u200cخ 1\ufe0f\u20e3\"}", `{"properties":{"title":{"title":"\b\f\u007f"}}}`, `[[{"title":"\ud83d\ude00\ufe0f\ufe0f"}]]`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, item string) {
		message, err := mcp.Parse([]byte(`{"jsonrpc":"2.0","id":1,"result":{"tools":[` + item + `]}}`))
		if err != nil {
			return
		}
		got, findings := List(mcp.MethodToolsList, message.Result(), policy.HiddenStrip)
		if _, err := mcp.ParseObject(bytes.Clone(got)); err != nil {
			t.Fatalf("got %q, which is no object: %v", got, err)
		}
		again, left := List(mcp.MethodToolsList, got, policy.HiddenStrip)
		if len(left) > 0 || !bytes.Equal(again, got) {
			t.Fatalf("got %+q of %+q; the second time %+q, %v", got, item, again, left)
		}
		if len(findings) == 0 && !bytes.Equal(got, message.Result()) {
			t.Fatalf("changed %+q to %+q and told nothing", message.Result(), got)
		}
		checkVisible(t, got)
	})
}

// checkVisible looks for hidden characters in another way than the package does.
func checkVisible(t *testing.T, result []byte) {
	for i := 0; i < len(result); {
		u := unitAt(result, i)
		i = u.end
		if Hidden(u.r) {
			t.Fatalf("%U is left in %+q", u.r, result)
		}
	}
}

func BenchmarkClean(b *testing.B) {
	item := `{"name":"read_file","description":"Reads a file \n and returns its text","inputSchema":{"type":"object","properties":{"path":{"type":"string"}}}}`
	result := []byte(`{"tools":[` + strings.Repeat(item+",", 100) + item + `]}`)
	b.SetBytes(int64(len(result)))
	for b.Loop() {
		List(mcp.MethodToolsList, result, policy.HiddenStrip)
	}
}
