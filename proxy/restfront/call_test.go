package restfront

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/httpio"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// All pages of a list are one.
func TestLists(t *testing.T) {
	g := newGateway(t, nil, "shop")
	for path, want := range map[string]int{"tools": 8, "prompts": 1, "resources": 5, "resource-templates": 1} {
		var whole map[string]json.RawMessage
		g.get("/api/v1/servers/shop/"+path, &whole)
		member := map[string]string{"resource-templates": "resourceTemplates"}[path]
		if member == "" {
			member = path
		}
		var list []struct{ Name string }
		if err := json.Unmarshal(whole[member], &list); err != nil || len(list) != want || list[0].Name == "" || whole["nextCursor"] != nil {
			t.Errorf("%s: got %s, want %d (%v)", path, whole, want, err)
		}
	}
}

func TestResults(t *testing.T) {
	g := newGateway(t, nil, "shop")
	const at = "/api/v1/servers/shop/"
	for _, test := range []struct{ method, path, body, want string }{
		{"POST", "tools/add", `{"A":40,"B":2}`, `"structuredContent":{"sum":42}`},
		{"POST", "prompts/greet", `{"who":"\u00fc"}`, `Hello ü`},
		{"GET", "resources/read?uri=" + url.QueryEscape("shop://item/3?a=b&c=d"), "", `this is shop://item/3?a=b`},
	} {
		if a := g.do(test.method, at+test.path, test.body); a.status != http.StatusOK || !strings.Contains(a.body, test.want) {
			t.Errorf("%s: got status %d, %s, want %s", test.path, a.status, a.body, test.want)
		}
	}
}

func TestProblems(t *testing.T) {
	g := newGateway(t, func(p *policy.Policy) {
		silent, echo := p.Servers["silent"], p.Servers["echo"]
		silent.Timeout = 50 * time.Millisecond
		// Of the tool alone: the server must have time to start.
		echo.Tools = map[string]policy.Tool{"wait": {Timeout: 50 * time.Millisecond, MaxTimeout: 50 * time.Millisecond}}
		p.Servers["silent"], p.Servers["echo"] = silent, echo
	}, "shop", "odd", "silent", "echo", "exit", "crash", "listless", "endless", "heavy")
	for _, test := range []struct {
		name, method, path, body string
		status                   int
		kind                     kind
		detail                   string // part of it
	}{
		{"tool fails", "POST", "shop/tools/fail", "{}", 422, toolError, "out of stock"},
		{"tool wants input", "POST", "shop/tools/ask", "{}", 422, toolError, "elicitation"},
		{"no such prompt", "POST", "shop/prompts/none", "{}", 404, unknownPrompt, ""},
		{"no such resource", "GET", "shop/resources/read?uri=none", "", 404, unknownResource, ""},
		{"no such tool", "POST", "shop/tools/none", "{}", 404, unknownTool, ""},
		{"no such tool, by error", "POST", "odd/tools/-32602%20", "{}", 404, unknownTool, `no "good"`},
		{"invalid params", "POST", "odd/tools/-32602", "{}", 422, badArguments, `no "good"`},
		{"missing capability", "POST", "odd/tools/-32021", "{}", 422, inputRequired, `no "good"`},
		{"internal error", "POST", "odd/tools/-32603", "{}", 502, serverError, `no "good"`},
		{"own code", "POST", "odd/tools/7", "{}", 502, serverError, `no "good"`},
		{"no prompts", "GET", "odd/resources", "", 404, notOffered, "Method not found"},
		{"no list", "GET", "listless/tools", "", 502, serverError, "no list of tools"},
		{"list of 30 MiB", "GET", "heavy/tools", "", 502, serverError, "no end"},
		{"list without end", "GET", "endless/tools", "", 502, serverError, "no end"},
		{"server that exits", "POST", "exit/tools/a", "{}", 502, serverFailed, "exit"},
		{"server that crashes", "POST", "crash/tools/a", "{}", 502, serverFailed, "crash"},
		{"server that is silent", "POST", "silent/tools/a", "{}", 502, serverFailed, "within 50ms"},
		{"tool that takes too long", "POST", "echo/tools/wait", "{}", 504, timeout, "within 50ms"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := g.do(test.method, "/api/v1/servers/"+test.path, test.body)
			if detail := g.problem(a, test.status, test.kind); !strings.Contains(detail, test.detail) {
				t.Errorf("got %q, want %q", detail, test.detail)
			}
			t.Log(a.body)
		})
	}
}

// What a server says of an error comes with it as it was said.
func TestProblemKeepsData(t *testing.T) {
	g := newGateway(t, nil, "odd", "shop")
	if a := g.do("POST", "/api/v1/servers/odd/tools/-5", ""); !strings.Contains(a.body, `"code":-5,"data":{"exact":1e3}`) {
		t.Errorf("got %s", a.body)
	}
	if a := g.do("POST", "/api/v1/servers/shop/tools/fail", ""); !strings.Contains(a.body, `"result":{`) || !strings.Contains(a.body, `"isError":true`) {
		t.Errorf("got %s", a.body)
	}
}

func TestStream(t *testing.T) {
	g := newGateway(t, nil, "shop", "echo")
	a := g.do("POST", "/api/v1/servers/shop/tools/work", "{}", "Accept: text/event-stream")
	events := strings.Split(strings.TrimSpace(a.body), "\n\n")
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "text/event-stream" || len(events) != 4 ||
		!strings.HasPrefix(events[2], "event: progress\ndata: {") || !strings.Contains(events[2], `"progress":2`) || !strings.HasPrefix(events[3], "event: result\ndata: {") {
		t.Errorf("got %d, %v, %s", a.status, a.header, a.body)
	}
	// Who does not ask for a stream gets none, and asks the tool for no progress.
	for _, accept := range []string{"Accept: */*", "Accept: application/json"} {
		if detail := g.problem(g.do("POST", "/api/v1/servers/shop/tools/work", "{}", accept), 422, toolError); detail != "nobody listens" {
			t.Errorf("got %q", detail)
		}
	}
	if a := g.do("POST", "/api/v1/servers/shop/tools/half", "", "Accept: text/event-stream"); a.status != http.StatusOK || !strings.Contains(a.body, "\n\nevent: problem\ndata: {") || !strings.Contains(a.body, "lost the rest") {
		t.Errorf("got %d, %s", a.status, a.body)
	}
	g.problem(g.do("POST", "/api/v1/servers/shop/tools/fail", "", "Accept: text/event-stream"), 422, toolError)
}

// A quiet stream is kept alive, and ends with the right to it.
func TestQuietStream(t *testing.T) {
	g := newGateway(t, nil, "shop")
	g.waits = waits{list: time.Minute, quiet: 10 * time.Millisecond}
	r, err := http.NewRequestWithContext(t.Context(), "POST", g.url+"/api/v1/servers/shop/tools/park", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewReader(response.Body)
	for range 3 {
		if line, err := lines.ReadString('\n'); err != nil || line != ":\n" && line != "\n" {
			t.Fatalf("got %q, %v", line, err)
		}
	}
	g.allowed.Store(false)
	if rest, err := io.ReadAll(lines); err != nil || strings.Trim(string(rest), ":\n") != "" {
		t.Errorf("got %q, %v", rest, err)
	}
	if a := g.do("POST", "/api/v1/servers/shop/tools/see%20cancelled", ""); a.status != http.StatusOK {
		t.Errorf("got %+v", a)
	}
}

// Whoever hangs up cancels what the tool does.
func TestDisconnect(t *testing.T) {
	g := newGateway(t, nil, "shop")
	const tools = "/api/v1/servers/shop/tools/"
	for _, accept := range []string{"application/json", "text/event-stream"} {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, "POST", g.url+tools+"park", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", accept)
		r.Header.Set("Content-Type", "application/json")
		ended := make(chan error)
		go func() {
			response, err := http.DefaultClient.Do(r)
			if err == nil {
				response.Body.Close()
			}
			ended <- err
		}()
		seen := g.do("POST", tools+"see%20parked", "")
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) || seen.status != http.StatusOK {
			t.Errorf("%s: got %v, %+v", accept, err, seen)
		}
		if a := g.do("POST", tools+"see%20cancelled", ""); a.status != http.StatusOK {
			t.Errorf("%s: got %d, %s", accept, a.status, a.body)
		}
	}
}

// The servers of a project, and all of them, are one at their own paths.
func TestMergedServers(t *testing.T) {
	g := newGateway(t, func(p *policy.Policy) {
		other := p.Servers["echo"]
		other.Project = "other"
		p.Servers["echo"] = other
	}, "shop", "echo", "exit")
	for at, want := range map[string]struct {
		tools  []string
		absent string // a server that must not be in it
	}{
		"/api/v1/":               {[]string{"shop__add", "echo__echo"}, ""},
		"/api/v1/projects/shop/": {[]string{"shop__add"}, "echo__"},
	} {
		a := g.do("GET", at+"tools", "")
		for _, tool := range want.tools {
			if a.status != http.StatusOK || !strings.Contains(a.body, `"name":"`+tool+`"`) {
				t.Errorf("%s: got %d, %s, want %s", at, a.status, a.body, tool)
			}
		}
		if want.absent != "" && strings.Contains(a.body, want.absent) {
			t.Errorf("%s: got %s of %s", at, want.absent, a.body)
		}
		// A server that is missing is named.
		if !strings.Contains(a.body, `"_meta":{`) || !strings.Contains(a.body, `"server":"exit","reason":"`) {
			t.Errorf("%s: got %s", at, a.body)
		}
		if a := g.do("POST", at+"tools/shop__add", `{"A":40,"B":2}`); a.status != http.StatusOK || !strings.Contains(a.body, `{"sum":42}`) {
			t.Errorf("%s: got %d, %s", at, a.status, a.body)
		}
		g.problem(g.do("POST", at+"tools/shop__none", "{}"), http.StatusNotFound, unknownTool)
		if a := g.do("GET", at+"resources/read?uri="+url.QueryEscape("shop://item/3?a=b&c=d"), ""); a.status != http.StatusOK || !strings.Contains(a.body, "this is shop") {
			t.Errorf("%s: got %d, %s", at, a.status, a.body)
		}
		if a := g.do("POST", at+"prompts/shop__greet", `{"who":"you"}`); a.status != http.StatusOK || !strings.Contains(a.body, "Hello you") {
			t.Errorf("%s: got %d, %s", at, a.status, a.body)
		}
	}
}

// A tool that always has something to say does not keep a stream in force.
func TestTalkKeepsNoKeyInForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &exchange{w: httpio.NewWriter(httptest.NewRecorder())}
		x.waits.quiet = 3 * time.Second
		x.r = httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
		x.Allowed = func(policy.Scope) bool { return false }
		call := &talker{Queue: link.NewQueue()}
		ended := make(chan *Problem, 1)
		go func() { ended <- x.stream(call) }()
		for range 100 {
			select {
			case <-ended:
				if !call.cancelled {
					t.Error("the call was not cancelled")
				}
				return
			case <-time.After(time.Second):
				call.Offer(mcp.NewRequest(nil, mcp.MethodProgress, []byte("{}")))
			}
		}
		t.Error("the stream goes on")
		call.Force(mcp.NewResult([]byte("1"), []byte("{}")))
	})
}

type talker struct {
	*link.Queue
	cancelled bool
}

func (t *talker) Cancel(string) { t.cancelled = true }
func (*talker) Detach()         {}

// However much a server asks for, the sentence about it has an end.
func TestUnfinishedIsBounded(t *testing.T) {
	t.Parallel()
	requests := []byte(`"a":{"method":"roots/list"}`)
	for i := range 10_000 {
		requests = fmt.Appendf(requests, `,"b%d":{"method":"roots/list"}`, i)
	}
	m := mcp.NewResult([]byte("1"), fmt.Appendf(nil, `{"resultType":"input_required","inputRequests":{%s}}`, requests))
	if p := unfinished(m); p == nil || len(p.Detail) > 2*maxDetail {
		t.Errorf("got %d bytes", len(p.Detail))
	}
}
