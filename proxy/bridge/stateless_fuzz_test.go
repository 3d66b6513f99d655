package bridge

import (
	"bytes"
	"testing"

	"mcpgateway/proxy/mcp"
)

// FuzzRequest makes requests of the handshake era of those of the stateless one.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"io.modelcontextprotocol/logLevel":"debug","x":1},"name":"a","inputResponses":{"a":{},"b":7},"requestState":"s"}}`,
		`{"jsonrpc":"2.0","id":"\ud800","method":"prompts/get","params":{"inputResponses":[],"_meta":[]}}`,
		`{"jsonrpc":"2.0","id":1e0,"method":"resources/read","params":{"uri":"a:b","\u005fmeta":{"io.modelcontextprotocol/clientInfo":{}}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		request, err := mcp.Parse(data)
		if err != nil || request.Kind() != mcp.Request {
			return
		}
		unfit := unfitInput(request)
		if responses := request.At(request.Param("inputResponses")); responses != nil && !mcp.IsObject(responses) && unfit == "" {
			t.Fatalf("got input %s taken", responses)
		}
		sent := toHandshake(request)
		again, err := mcp.Parse(bytes.Clone(sent.Raw()))
		if err != nil || again.Method() != request.Method() || !bytes.Equal(again.ID(), request.ID()) {
			t.Fatalf("got %s (%v) of %s", sent.Raw(), err, request.Raw())
		}
		for _, path := range [][]string{{"inputResponses"}, {"requestState"}, {"_meta", mcp.MetaRevision}, {"_meta", mcp.MetaClientInfo}, {"_meta", mcp.MetaCapabilities}, {"_meta", mcp.MetaLogLevel}} {
			if !again.Param(path...).Empty() {
				t.Fatalf("got %s with %q", sent.Raw(), path)
			}
		}
		// A repetition with input is the same request.
		if fingerprint(again) != fingerprint(request) {
			t.Fatalf("%s and %s have two fingerprints", sent.Raw(), request.Raw())
		}
	})
}
