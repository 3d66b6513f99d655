package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// A name that says whose it is needs no list, and nothing but the name changes.
func TestCallGoesToItsServer(t *testing.T) {
	t.Parallel()
	servers := map[string]*fake{"a": withTools("x"), "b": withTools("x")}
	servers["b"].answers[mcp.MethodToolsCall] = `{"resultType":"input_required","requestState":"s","n":1e3}`
	c := unhurriedCatalog(servers)
	params := `{"_meta":{"progressToken":1e3}, "name" : %s ,"arguments":{"n":9007199254740993,"name":"b__x"},"requestState":"s"}`
	response := answerOf(t, c, request(mcp.MethodToolsCall, fmt.Sprintf(params, `"b__x"`)))
	if got, want := string(response.Result()), servers["b"].answers[mcp.MethodToolsCall]; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := string(servers["b"].got[0].Params()), fmt.Sprintf(params, `"x"`); got != want {
		t.Errorf("the server got %s, want %s", got, want)
	}
	if got := len(servers["a"].got) + len(servers["b"].got); got != 1 {
		t.Errorf("got %d requests, want the call alone", got)
	}
}

// The messages of a call come through, and its cancellation reaches the server.
func TestCallIsTheServersOwn(t *testing.T) {
	t.Parallel()
	a := &fake{hold: map[string]chan struct{}{mcp.MethodToolsCall: make(chan struct{})}}
	call, err := unhurriedCatalog(map[string]*fake{"a": a}).Do(t.Context(), request(mcp.MethodToolsCall, `{"name":"a__x"}`))
	if err != nil {
		t.Fatal(err)
	}
	a.last().Offer(parsed(`{"jsonrpc":"2.0","method":"notifications/progress","params":{}}`))
	<-call.Ready()
	if got := call.Take(); len(got) != 1 || got[0].Method() != mcp.MethodProgress {
		t.Errorf("got %v, want the progress", got)
	}
	call.Cancel("enough")
	if response, _ := link.Await(t.Context(), call); response.Err() == nil || a.reasons() != "enough" {
		t.Errorf("got %s, and the server %q", response.Raw(), a.reasons())
	}
}

func TestNameThatMustBeLookedUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		servers := map[string]*fake{"my.server": withTools("x"), "other": withTools("x")}
		servers["my.server"].answers[mcp.MethodToolsList] = `{"tools":[{"name":"\u0078"}]}`
		c := newCatalog(t, servers)
		call := request(mcp.MethodToolsCall, fmt.Sprintf(`{"name":%q}`, altered("my.server", "x")))
		for range 2 {
			answerOf(t, c, call)
			later(c.lists.recheck)
		}
		if got := string(servers["my.server"].last().request.Params()); got != `{"name":"\u0078"}` {
			t.Errorf("the server got %s, want the name as it lists it", got)
		}
		if got := servers["my.server"].calls(mcp.MethodToolsList); got != 1 {
			t.Errorf("the server was asked %d times, want once", got)
		}
		if got := len(servers["other"].got); got != 0 {
			t.Errorf("a server that can't be meant got %d requests", got)
		}
	})
}

// A tool that was added is found without a list_changed: the list is asked for once
// more, but not for each of many names that don't exist.
func TestNameThatIsNewIsFound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := withTools("x.1")
		c := newCatalog(t, map[string]*fake{"a": a})
		ask := func(name string) string {
			response := answerOf(t, c, request(mcp.MethodToolsCall, fmt.Sprintf(`{"name":%q}`, altered("a", name))))
			if response.Err() == nil {
				return "found"
			}
			return errorOf(response)
		}
		if got := ask("x.1"); got != "found" {
			t.Errorf("got %s, want it found", got)
		}
		a.answers[mcp.MethodToolsList] = listOf(tools, "x.1", "x.2")
		if got, want := ask("x.2"), "-32602 unknown tool: "+altered("a", "x.2"); got != want || a.calls(mcp.MethodToolsList) != 1 {
			t.Errorf("got %s after %d lists, want %s after one", got, a.calls(mcp.MethodToolsList), want)
		}
		later(c.lists.recheck)
		if got := ask("x.2"); got != "found" || a.calls(mcp.MethodToolsList) != 2 {
			t.Errorf("got %s after %d lists, want it found after 2", got, a.calls(mcp.MethodToolsList))
		}
	})
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, method, params, want string }{
		{"no such server", mcp.MethodToolsCall, `{"name":"c__x"}`, "-32602 unknown tool: c__x"},
		{"no server", mcp.MethodToolsCall, `{"name":"x"}`, "-32602 unknown tool: x"},
		{"no tool", mcp.MethodToolsCall, `{"name":"a__"}`, "-32602 unknown tool: a__"},
		{"empty", mcp.MethodToolsCall, `{"name":""}`, "-32602 unknown tool: "},
		{"not as clients see it", mcp.MethodToolsCall, `{"name":"a__x.y"}`, "-32602 unknown tool: a__x.y"},
		{"too long", mcp.MethodToolsCall, `{"name":"a__` + strings.Repeat("x", 300) + `"}`, "-32602 unknown tool: a__" + strings.Repeat("x", 197)},
		{"no hash of anything", mcp.MethodToolsCall, `{"name":"a__x_0123456789"}`, "-32602 unknown tool: a__x_0123456789"},
		{"no name", mcp.MethodToolsCall, `{}`, "-32602 params.name is missing, or not a string"},
		{"number", mcp.MethodToolsCall, `{"name":1}`, "-32602 params.name is missing, or not a string"},
		{"prompt", mcp.MethodPromptsGet, `{"name":"x"}`, "-32602 unknown prompt: x"},
		{"resource", mcp.MethodResourcesRead, `{"uri":"x:y"}`, "-32602 resource not found: x:y"},
		{"no uri", mcp.MethodResourcesRead, `{}`, "-32602 params.uri is missing, or not a string"},
		{"reference", mcp.MethodComplete, `{"ref":{"type":"x"}}`, `-32602 ref.type "x" is neither ref/prompt nor ref/resource`},
		{"no reference", mcp.MethodComplete, `{"ref":{"type":"ref/prompt"}}`, `-32602 params.ref.name is missing, or not a string`},
		{"many resources", mcp.MethodListen, `{"notifications":{"resourceSubscriptions":["x:1"` + many(maxSubscribed) + `]}}`, "-32602 params.notifications is not a filter, or lists more than 1000 resources"},
		{"filter", mcp.MethodListen, `{}`, "-32602 params.notifications is not a filter, or lists more than 1000 resources"},
		{"method", "tasks/get", `{}`, `-32601 method "tasks/get" does not exist at an address of many servers`},
		{"handshake", mcp.MethodInitialize, `{}`, `-32601 method "initialize" does not exist at an address of many servers`},
	}
	c := unhurriedCatalog(map[string]*fake{"a": withTools("x"), "b": withTools()})
	for _, test := range tests {
		if got := errorOf(answerOf(t, c, request(test.method, test.params))); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

func many(n int) (uris string) {
	for i := range n {
		uris += fmt.Sprintf(`,"y:%d"`, i)
	}
	return uris
}

// A server that can't be asked may have the tool: it is not called unknown.
func TestNameOnAServerThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	c := unhurriedCatalog(map[string]*fake{"a": {fail: errDead}})
	name := altered("a", "x.y")
	got := errorOf(answerOf(t, c, request(mcp.MethodToolsCall, fmt.Sprintf(`{"name":%q}`, name))))
	if want := fmt.Sprintf(`-32603 unknown tool: %s, or it is on server "a": %v`, name, errDead); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	_, err := c.Do(t.Context(), request(mcp.MethodToolsCall, `{"name":"a__x"}`))
	if !errors.Is(err, errDead) {
		t.Errorf("got error %v, want the server's", err)
	}
}

// Who gives up while members are asked is told nothing of them.
func TestNameIsLookedUpUnderContext(t *testing.T) {
	t.Parallel()
	c := unhurriedCatalog(map[string]*fake{"a": {stuck: true}})
	for method, params := range map[string]string{
		mcp.MethodToolsCall:     fmt.Sprintf(`{"name":%q}`, altered("a", "x.y")),
		mcp.MethodResourcesRead: `{"uri":"x:1"}`,
	} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.Do(ctx, request(method, params)); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got error %v", method, err)
		}
	}
}

func TestPromptsAndCompletion(t *testing.T) {
	t.Parallel()
	a := &fake{answers: map[string]string{
		mcp.MethodPromptsList:   listOf(prompts, "greet"),
		mcp.MethodTemplatesList: listOf(templates, "x:{number}/{any}", "y:{any}"),
		mcp.MethodPromptsGet:    `{"messages":[]}`,
		mcp.MethodComplete:      `{"completion":{"values":[]}}`,
	}}
	b := &fake{answers: map[string]string{
		mcp.MethodTemplatesList: listOf(templates, "x:{n}", "y:{n}"),
		mcp.MethodComplete:      `{"completion":{"values":[]}}`,
	}}
	c := unhurriedCatalog(map[string]*fake{"a": a, "b": b})
	if got := keysOf(answerOf(t, c, request(mcp.MethodPromptsList, `{}`)), prompts); got != "a__greet" {
		t.Errorf("got prompts %s", got)
	}
	for _, test := range []struct {
		server               *fake
		method, params, want string
	}{
		{a, mcp.MethodPromptsGet, `{"name":"a__greet"}`, `{"name":"greet"}`},
		{a, mcp.MethodComplete, `{"ref":{"type":"ref/prompt","name":"a__greet"},"argument":{}}`, `{"ref":{"type":"ref/prompt","name":"greet"},"argument":{}}`},
		{b, mcp.MethodComplete, `{"ref":{"type":"ref/resource","uri":"x:{n}"}}`, `{"ref":{"type":"ref/resource","uri":"x:{n}"}}`},
		{b, mcp.MethodComplete, `{"ref":{"type":"ref/resource","uri":"y:{n}"}}`, `{"ref":{"type":"ref/resource","uri":"y:{n}"}}`},
		{b, mcp.MethodComplete, `{"ref":{"type":"ref/resource","uri":"x:7"}}`, `{"ref":{"type":"ref/resource","uri":"x:7"}}`},
	} {
		if response := answerOf(t, c, request(test.method, test.params)); response.Err() != nil {
			t.Errorf("%s: got %s", test.params, response.Err())
		}
		if got := string(test.server.last().request.Params()); got != test.want {
			t.Errorf("%s: the server got %s, want %s", test.params, got, test.want)
		}
	}
}

func TestToolOfTheCatalogue(t *testing.T) {
	t.Parallel()
	a := &fake{answers: map[string]string{mcp.MethodToolsList: `{"tools":[{"name":"x","d":1},{"name":"y.z","d":2},{"name":"x","d":3}]}`}}
	c := unhurriedCatalog(map[string]*fake{"a": a, "b": {fail: errDead}})
	for name, want := range map[string]string{
		"a__x":              `{"name":"x","d":1}`,
		altered("a", "y.z"): `{"name":"y.z","d":2}`,
		"a__absent":         "", "x": "", "a__x_0123456789": "",
	} {
		got, err := c.Tool(t.Context(), name, false)
		if string(got) != want || err != nil {
			t.Errorf("%s: got %s, error %v, want %s", name, got, err, want)
		}
	}
	if _, err := c.Tool(t.Context(), "b__x", false); !errors.Is(err, errDead) {
		t.Errorf("got error %v, want the server's", err)
	}
	if _, err := c.Tool(t.Context(), altered("b", "x"), false); err == nil {
		t.Error("got no error of a tool that could not be looked up")
	}
}

func TestDiscover(t *testing.T) {
	t.Parallel()
	about := func(capabilities, rest string) *fake {
		return &fake{answers: map[string]string{mcp.MethodDiscover: `{"supportedVersions":["2026-07-28"],"ttlMs":9000,"capabilities":` + capabilities + rest + `}`}}
	}
	c := unhurriedCatalog(map[string]*fake{
		"a": about(`{"tools":{"listChanged":true},"resources":{"subscribe":true},"tasks":{},"extensions":{"x/y":{}}}`, `,"instructions":"be kind \ud800"`),
		"b": about(`{"tools":{},"prompts":{},"logging":{},"completions":5}`, `,"instructions":"`+strings.Repeat("x", 10_000)+`"`),
		"c": about(`{"resources":{"listChanged":1}}`, ``),
		"d": {fail: errDead},
		"e": {answers: map[string]string{mcp.MethodDiscover: `[]`}},
	})
	response := answerOf(t, c, request(mcp.MethodDiscover, `{}`))
	for name, want := range map[string]string{
		"supportedVersions": `["2026-07-28","2025-11-25","2025-06-18","2025-03-26","2024-11-05"]`,
		"capabilities":      `{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"listChanged":true,"subscribe":true},"logging":{}}`,
		"resultType":        `"complete"`,
		"ttlMs":             `0`,
		"_meta": `{"io.modelcontextprotocol/serverInfo":{"name":"gateway","version":"1"},"mcpgateway/unavailable":[{"server":"d","reason":"server \"x\" exited with status 3"},` +
			`{"server":"e","reason":"it answered server/discover without a result"}]}`,
	} {
		if got := string(response.At(response.InResult(name))); got != want {
			t.Errorf("got %s %s, want %s", name, got, want)
		}
	}
	alone := answerOf(t, New(c.members[2:3], unhurried(), "key:a", "gateway"), request(mcp.MethodDiscover, `{}`))
	if got, want := string(alone.At(alone.InResult("capabilities"))), `{"resources":{"listChanged":true}}`; got != want {
		t.Errorf("got capabilities %s, want %s", got, want)
	}
	text, _ := response.Text(response.InResult("instructions"))
	if want := "# a\n\nbe kind \uFFFD\n\n# b\n\n" + strings.Repeat("x", maxInstructions) + "…"; text != want {
		t.Errorf("got instructions %.60q…, %d bytes, want %d", text, len(text), len(want))
	}
}
