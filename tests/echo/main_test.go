package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestServe(t *testing.T) {
	t.Parallel()
	const asked = `{"jsonrpc":"2.0","id":"a","method":"initialize","params":{"protocolVersion":"2025-11-25"}}
{"jsonrpc":"2.0","method":"notifications/initialized"}
{"jsonrpc":"2.0","id":2,"method":"tools/list"}
{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"echo","arguments":{"message":"hi \"there\""}}}
{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"echo","arguments":{"message":"hi"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}
{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"letters":5}}}
{"jsonrpc":"2.0","id":5,"method":"server/discover"}
{"jsonrpc":"2.0","id":6,"method":"none"}
{
`
	var out bytes.Buffer
	if err := serve(strings.NewReader(asked), &out); err != nil {
		t.Fatal(err)
	}
	wants := []string{`"id":"a","result":{"protocolVersion":"2025-11-25"`, `"name":"echo"`, `"id":3,"result":{"content":[{"type":"text","text":"hi \"there\""}]}`,
		`"resultType":"complete"`, `"text":"xxxxx"`, `"supportedVersions":["2026-07-28"]`, "-32601", "-32700"}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != len(wants) {
		t.Fatalf("got %d answers, want %d: %s", len(lines), len(wants), out.String())
	}
	for i, want := range wants {
		if !json.Valid([]byte(lines[i])) || !strings.Contains(lines[i], want) {
			t.Errorf("got %s, want %s in it", lines[i], want)
		}
	}
}
