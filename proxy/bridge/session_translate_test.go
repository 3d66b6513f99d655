package bridge

import (
	"bytes"
	"encoding/json"
	"testing"

	"mcpgateway/proxy/mcp"
)

func TestPrepare(t *testing.T) {
	t.Parallel()
	const gateway = `"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"client","version":"2"},"io.modelcontextprotocol/logLevel":"info"`
	tests := []struct{ name, request, want string }{
		{"no params", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`,
			`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{` + gateway + `}}}`},
		{"null", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":null}`,
			`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{` + gateway + `}}}`},
		{"empty", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{ }}`,
			`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{` + gateway + `} }}`},
		{"bytes stay", `{"x":[1e3],"params":{"n":1.0,"big":9007199254740993},"jsonrpc":"2.0","id":"\u0061","method":"x"}`,
			`{"x":[1e3],"params":{"_meta":{` + gateway + `},"n":1.0,"big":9007199254740993},"jsonrpc":"2.0","id":"\u0061","method":"x"}`},
		{"its own meta", `{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"progressToken":1.0,"traceparent":"00"}}}`,
			`{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{` + gateway + `,"progressToken":1.0,"traceparent":"00"}}}`},
		{"nothing that is reserved", `{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"io.modelcontextprotocol/clientCapabilities":{"roots":{}},"a":1,"io.modelcontextprotocol\/logLevel":"debug","io.modelcontextprotocol/z":1}}}`,
			`{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{` + gateway + `,"a":1}}}`},
		{"meta is no object", `{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":7,"a":1}}`,
			`{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{` + gateway + `},"a":1}}`},
		{"what is the gateway's to say", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"requestState":"s","a":1,"inputResponses":{},"task":{}}}`,
			`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{` + gateway + `},"a":1}}`},
		{"but there", `{"jsonrpc":"2.0","id":1,"method":"x","params":{"task":{}}}`,
			`{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{` + gateway + `},"task":{}}}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := &fakeServer{}
			s := driven{newSession(t, server, "2025-11-25", `{}`)}
			s.call(t, "%s", test.request)
			if got := string(server.at(t, 0).request.Raw()); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestResult(t *testing.T) {
	t.Parallel()
	const audio = `{"type":"audio","data":"AA==","mimeType":"audio/wav","annotations":{"priority":1.0}}`
	const link = `{"type":"resource_link","name":"n","uri":"a:b"}`
	tests := []struct{ name, revision, method, result, want string }{
		{"what only the newer one knows", "2025-11-25", "tools/call",
			`{"resultType":"complete","content":[],"ttlMs":1,"cacheScope":"public","n":1e3,"_meta":{"a":1.0,"io.modelcontextprotocol/serverInfo":{}}}`,
			`{"content":[],"n":1e3,"_meta":{"a":1.0}}`},
		{"an empty meta", "2025-11-25", "x", `{"_meta":{"io.modelcontextprotocol/serverInfo":{}}}`, `{}`},
		{"no type", "2025-11-25", "x", `{"a":9007199254740993}`, `{"a":9007199254740993}`},
		{"tools", "2025-11-25", "tools/list",
			`{"tools":[{"name":"a","outputSchema":{"type":"array"},"x":1e3},{"name":"b","outputSchema":{"type":"object"}},{"name":"c","outputSchema":{"anyOf":[]}},{"name":"d"},7]}`,
			`{"tools":[{"name":"a","x":1e3},{"name":"b","outputSchema":{"type":"object"}},{"name":"c"},{"name":"d"},7]}`},
		{"an object", "2025-11-25", "tools/call", `{"content":[],"structuredContent":{"a":1}}`, `{"content":[],"structuredContent":{"a":1}}`},
		{"no object", "2025-06-18", "tools/call", `{"content":[{"type":"text","text":"1"}],"structuredContent":[1]}`, `{"content":[{"type":"text","text":"1"}]}`},
		{"nothing but no object", "2025-06-18", "tools/call", `{"content":[],"structuredContent":["a"]}`, `{"content":[{"type":"text","text":"[\"a\"]"}]}`},
		{"content, 2025-06-18", "2025-06-18", "tools/call", `{"content":[` + audio + `,` + link + `]}`, `{"content":[` + audio + `,` + link + `]}`},
		{"content, 2025-03-26", "2025-03-26", "tools/call", `{"content":[` + audio + `,` + link + `]}`, `{"content":[` + audio + `,{"type":"text","text":"[resource n: a:b]"}]}`},
		{"content, 2024-11-05", "2024-11-05", "tools/call", `{"content":[` + audio + `,{"type":"text","text":"t"}]}`,
			`{"content":[{"type":"text","text":"[audio of type audio/wav, which clients of revision 2024-11-05 can't get]","annotations":{"priority":1.0}},{"type":"text","text":"t"}]}`},
		{"a prompt, 2025-03-26", "2025-03-26", "prompts/get", `{"messages":[{"role":"user","content":` + link + `}]}`,
			`{"messages":[{"role":"user","content":{"type":"text","text":"[resource n: a:b]"}}]}`},
		{"a prompt, 2025-06-18", "2025-06-18", "prompts/get", `{"messages":[{"role":"user","content":` + link + `}]}`,
			`{"messages":[{"role":"user","content":` + link + `}]}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := &fakeServer{handle: func(c *fakeCall) { c.result("%s", test.result) }}
			s := driven{newSession(t, server, test.revision, `{}`)}
			answer := s.ask(t, `{"jsonrpc":"2.0","id":1,"method":%q}`, test.method)
			if got := string(answer.Result()); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestUnfitResults(t *testing.T) {
	t.Parallel()
	for _, result := range []string{`{"resultType":"input_required","requestState":"s"}`, `{"resultType":"task"}`, `{"resultType":7}`, `[]`, `null`} {
		server := &fakeServer{handle: func(c *fakeCall) { c.result("%s", result) }}
		s := driven{newSession(t, server, "2025-11-25", `{}`)}
		if answer := s.ask(t, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`); string(answer.At(answer.InError("code"))) != "-32603" {
			t.Errorf("%s: got %s, want error code -32603", result, answer.Raw())
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, request string
		code          int
		want          string
	}{
		{"no such resource", `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"a:b"}}`, -32602, "-32002"},
		{"no resource named", `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{}}`, -32602, "-32602"},
		{"no such tool", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}`, -32602, "-32602"},
		{"capability", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}`, -32021, "-32600"},
		{"version", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}`, -32022, "-32602"},
		{"another", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}`, -7, "-7"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := &fakeServer{handle: func(c *fakeCall) { c.error(test.code, "m", `{"n":1e3}`) }}
			s := driven{newSession(t, server, "2025-11-25", `{}`)}
			got := string(s.ask(t, "%s", test.request).Raw())
			if want := `{"jsonrpc":"2.0","id":1,"error":{"code":` + test.want + `,"message":"m","data":{"n":1e3}}}`; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// Whatever a server answers, the client gets one response with its id that is
// valid, and that has nothing which its revision can't have.
func FuzzResponse(f *testing.F) {
	for _, seed := range []string{
		`{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","tools":[{"name":"a","outputSchema":{"type":"array"}}],"_meta":{"io.modelcontextprotocol/serverInfo":{}}}}`,
		`{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"audio","mimeType":"\ud800"},{"type":"resource_link"}],"structuredContent":[1]}}`,
		`{"jsonrpc":"2.0","id":1,"result":{"messages":[{"content":{"type":"resource_link","uri":"\n"}},[],{"content":[{"type":"audio"}]}]}}`,
		`{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"m"}}`,
		`{"jsonrpc":"2.0","id":1,"result":{"inputRequests":{"a":{"method":"elicitation/create","params":{"requestedSchema":{"properties":{"a":{"oneOf":[{"const":1,"title":"\ud800"}]},"b":7}}}},"b":{"method":"sampling/createMessage","params":{"messages":[{"content":[{},7]},[]]}}}}}`,
		`{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{"mode":"url","elicitationId":1}},"b":{"method":"sampling/createMessage","params":{"messages":[{"content":{"type":"audio"}}]}}}}}`,
	} {
		f.Add([]byte(seed), uint(0), uint(0))
	}
	methods := []string{mcp.MethodToolsList, mcp.MethodToolsCall, mcp.MethodPromptsGet, mcp.MethodResourcesRead, "x"}
	f.Fuzz(func(t *testing.T, data []byte, method, revision uint) {
		response, err := mcp.Parse(data)
		if err != nil || response.Kind() != mcp.Response || response.ID() == nil {
			return
		}
		request := mcp.NewRequest(response.ID(), methods[method%uint(len(methods))], []byte(`{"uri":"a:b"}`))
		c := newClient(mcp.Revisions()[1+revision%4], message(t, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":%s}}`, allCapabilities))
		check := func(m mcp.Message, kind mcp.Kind) mcp.Message {
			again, err := mcp.Parse(bytes.Clone(m.Raw()))
			if err != nil || again.Kind() != kind || !json.Valid(m.Raw()) {
				t.Fatalf("got %s: %v", m.Raw(), err)
			}
			return again
		}
		answer := check(c.response(request, response), mcp.Response)
		if !bytes.Equal(answer.ID(), response.ID()) {
			t.Fatalf("got id %s, want %s", answer.ID(), response.ID())
		}
		for _, name := range []string{"resultType", "ttlMs", "cacheScope"} {
			if !answer.InResult(name).Empty() {
				t.Fatalf("got %s with a %s", answer.Raw(), name)
			}
		}
		if content := answer.At(answer.InResult("structuredContent")); content != nil && request.Method() == mcp.MethodToolsCall && !mcp.IsObject(content) {
			t.Fatalf("got structured content %s", content)
		}
		if response.Err() == nil {
			check(c.hello(response, "gate"), mcp.Response)
		}
		for _, input := range mcp.Members(response.At(response.InResult("inputRequests"))) {
			if question, err := c.question([]byte("1"), input); err == nil {
				check(question, mcp.Request)
			}
		}
	})
}
