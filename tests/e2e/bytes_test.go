package e2e_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
)

// TestBytesPassUntouched compares bytes, not values.
func TestBytesPassUntouched(t *testing.T) {
	t.Parallel()
	g := start(t, servers(testserver("echo")))
	s := g.open(t, "echo")
	tests := []struct {
		name      string
		id        string
		arguments string
	}{
		{"big integer id", `9007199254740993`, `{}`},
		{"negative id", `-1`, `{}`},
		{"string id", `"a-1"`, `{}`},
		{"string id that is a number", `"1"`, `{}`},
		{"string id with escapes", `"\u00e9\ud83d\ude00\/"`, `{}`},
		{"big integers", `1`, `{"n":9007199254740993,"m":-123456789012345678901234567890}`},
		{"numbers no float holds", `2`, `{"n":1e400,"m":1E-400,"o":0.1000000000000000055511151231257827}`},
		{"forms of numbers", `3`, `{"n":1.0,"m":1e0,"o":-0,"p":10E+1}`},
		{"unicode escapes", `4`, `{"s":"\u0000\u00E9\u2028\ud83d\ude00\/é😀"}`},
		{"unknown fields, any order", `5`, `{"zeta":null,"alpha":{"b":[true,false,{}],"a":[]},"method":"x","id":7,"jsonrpc":"9"}`},
		{"long text", `6`, `{"s":"` + strings.Repeat("x", 1<<20) + `"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := s.post(t, `{"jsonrpc":"2.0","id":`+tt.id+`,"method":"tools/call","params":{"name":"echo","arguments":`+tt.arguments+`}}`)
			if a.status != http.StatusOK {
				t.Fatalf("got status %d: %.500s", a.status, a.message)
			}
			if want := []byte(`"structuredContent":` + tt.arguments + `}`); !bytes.Contains(a.message, want) {
				t.Errorf("got %.500s, want it to hold %.500s", a.message, want)
			}
			if want := []byte(`"id":` + tt.id + `,`); !bytes.Contains(a.message, want) {
				t.Errorf("got %.500s, want it to hold %s", a.message, want)
			}
		})
	}
}

// TestUnknownFieldsReachTheServer sends what no revision knows and looks at what
// the server gets.
func TestUnknownFieldsReachTheServer(t *testing.T) {
	t.Parallel()
	dir := owned(t, owner, "server.sh", `while read -r line; do
  printf '%s\n' "$line" >> "$1/seen"
  case $line in
  *'"initialize"'*) echo '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"script","version":"1"},"x-extra":1e400}}' ;;
  *'"x-vendor/do"'*) echo '{"jsonrpc":"2.0","id":2,"result":{"x-answer":12345678901234567890}}' ;;
  esac
done
`)
	g := start(t, servers(entry("script", "command: /bin/sh", "args: ["+dir+"/server.sh, "+dir+"]", "allowed_directories: ["+dir+":rw]", "timeout: 20s")))
	s := g.at("script")
	if opened := s.open(t); !bytes.Contains(opened.message, []byte(`"x-extra":1e400`)) {
		t.Errorf("the result of initialize: got %s, want it to hold \"x-extra\":1e400", opened.message)
	}
	params := `{"x-deep":{"n":1e400,"s":"\u00e9"},"_meta":{"x-mine":[1.0]}}`
	a := s.post(t, `{"jsonrpc":"2.0","id":"my id","method":"x-vendor/do","params":`+params+`}`)
	if !bytes.Contains(a.message, []byte(`"x-answer":12345678901234567890`)) || !bytes.Contains(a.message, []byte(`"id":"my id"`)) {
		t.Errorf("the answer: got %s", a.message)
	}
	seen := string(mustRead(t, dir+"/seen"))
	if !strings.Contains(seen, `"params":`+params) {
		t.Errorf("the server got %s, want it to hold %s", seen, params)
	}
}
