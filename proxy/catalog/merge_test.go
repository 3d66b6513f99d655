package catalog

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mcpgateway/proxy/mcp"
)

func TestListMergesAllPagesInOrder(t *testing.T) {
	t.Parallel()
	servers := map[string]*fake{
		"b": withTools("two", "one"),
		"a": {answers: map[string]string{mcp.MethodToolsList: `{"tools":[{"name":"x"},{"name":""},{"name":5},{},"y",{"name":"y"},{"name":"x"}],"nextCursor":"1"}|` + listOf(tools, "z", "y")}},
		"c": {}, // has no tools
	}
	c := unhurriedCatalog(servers)
	response := answerOf(t, c, request(mcp.MethodToolsList, `{"_meta":{"a":1,"progressToken":5}}`))
	if got, want := keysOf(response, tools), "a__x a__y a__z b__two b__one"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := unavailableIn(response); got != "" {
		t.Errorf("got faults %s, want none", got)
	}
	if got, want := string(servers["a"].got[1].Params()), `{"_meta":{"a":1},"cursor":"1"}`; got != want {
		t.Errorf("the second page was asked for with %s, want %s", got, want)
	}
}

// All but the name stays as the server wrote it.
func TestListKeepsDefinitions(t *testing.T) {
	t.Parallel()
	definition := `{ "title":"T", "inputSchema":{"properties":{"r":{"x-mcp-header":"Region","n":1e3,"s":"\ud800"}}},"name": %s ,"x":9007199254740993}`
	c := unhurriedCatalog(map[string]*fake{"a": {answers: map[string]string{mcp.MethodToolsList: `{"tools":[` + fmt.Sprintf(definition, `"\u0078"`) + `]}`}}})
	response := answerOf(t, c, request(mcp.MethodToolsList, `{}`))
	got := string(response.At(response.InResult("tools")))
	if want := "[" + fmt.Sprintf(definition, `"a__x"`) + "]"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestListOfResourcesKeepsURIs(t *testing.T) {
	t.Parallel()
	c := unhurriedCatalog(map[string]*fake{
		"a": {answers: map[string]string{mcp.MethodResourcesList: `{"resources":[{"uri":"x:1","name":"of a"},{"uri":"x:2","name":"n"}]}`}},
		"b": {answers: map[string]string{
			mcp.MethodResourcesList: `{"resources":[{"uri":"x:1","name":"of b"},{"uri":"x:3","name":"n"}]}`,
			mcp.MethodTemplatesList: listOf(templates, "x:{n}"),
		}},
	})
	response := answerOf(t, c, request(mcp.MethodResourcesList, `{}`))
	if got, want := keysOf(response, resources), "x:1 x:2 x:3"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if strings.Contains(string(response.Raw()), "of b") {
		t.Error("got the second resource of a URI, want the first")
	}
	if got, want := keysOf(answerOf(t, c, request(mcp.MethodTemplatesList, `{}`)), templates), "x:{n}"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestHints(t *testing.T) {
	t.Parallel()
	list := func(hints string) *fake {
		return &fake{answers: map[string]string{mcp.MethodToolsList: `{"tools":[]` + hints + `}`}}
	}
	tests := []struct {
		name    string
		servers map[string]*fake
		want    string // ttlMs
	}{
		{"the least", map[string]*fake{"a": list(`,"ttlMs":5000,"cacheScope":"public"`), "b": list(`,"ttlMs":3000`)}, "3000"},
		{"without tools", map[string]*fake{"a": list(`,"ttlMs":5000`), "b": {}}, "5000"},
		{"none", map[string]*fake{"a": list(`,"ttlMs":5000`), "b": list(``)}, "0"},
		{"negative", map[string]*fake{"a": list(`,"ttlMs":-1,"nextCursor":"1"}|{"tools":[],"ttlMs":5000`)}, "0"},
		{"less on another page", map[string]*fake{"a": list(`,"ttlMs":5000,"nextCursor":"1"}|{"tools":[],"ttlMs":3000`)}, "3000"},
		{"more on another page", map[string]*fake{"a": list(`,"ttlMs":3000,"nextCursor":"1"}|{"tools":[],"ttlMs":5000`)}, "3000"},
		{"a fault", map[string]*fake{"a": list(`,"ttlMs":5000`), "b": {fail: errDead}}, "0"},
		{"nobody", nil, "0"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				response := answerOf(t, newCatalog(t, test.servers), request(mcp.MethodToolsList, `{}`))
				if got := string(response.At(response.InResult("ttlMs"))); got != test.want {
					t.Errorf("got ttlMs %s, want %s", got, test.want)
				}
				for path, want := range map[string]string{"cacheScope": `"private"`, "resultType": `"complete"`} {
					if got := string(response.At(response.InResult(path))); got != want {
						t.Errorf("got %s %s, want %s", path, got, want)
					}
				}
			})
		})
	}
}

// What a member says of its list holds no longer than it says, however old the
// list is.
func TestRememberedListAges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &fake{answers: map[string]string{mcp.MethodToolsList: `{"tools":[],"ttlMs":5000}`}}
		c := newCatalog(t, map[string]*fake{"a": a})
		answerOf(t, c, request(mcp.MethodToolsList, `{}`))
		later(4 * time.Second)
		response := answerOf(t, c, request(mcp.MethodToolsList, `{}`))
		if got := string(response.At(response.InResult("ttlMs"))); got != "1000" || a.calls(mcp.MethodToolsList) != 1 {
			t.Errorf("got ttlMs %s and %d requests, want 1000 and 1", got, a.calls(mcp.MethodToolsList))
		}
		later(time.Second)
		answerOf(t, c, request(mcp.MethodToolsList, `{}`))
		if got := a.calls(mcp.MethodToolsList); got != 2 {
			t.Errorf("got %d requests after the time to live, want 2", got)
		}
	})
}

func TestListReportsFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		server *fake
		want   string
	}{
		{"dead", &fake{fail: errDead}, `server \"x\" exited with status 3`},
		{"an error", &fake{answers: map[string]string{mcp.MethodToolsList: "!-32603 oh no"}}, `it answered tools/list with error -32603: \"oh no\"`},
		{"no list", &fake{answers: map[string]string{mcp.MethodToolsList: `{"tools":{}}`}}, `it answered tools/list without a list`},
		{"null", &fake{answers: map[string]string{mcp.MethodToolsList: `{"tools":null}`}}, `it answered tools/list without a list`},
		{"no member", &fake{answers: map[string]string{mcp.MethodToolsList: `{}`}}, `it answered tools/list without a list`},
		{"no result", &fake{answers: map[string]string{mcp.MethodToolsList: `7`}}, `it answered tools/list without a result`},
		{"long", &fake{answers: map[string]string{mcp.MethodToolsList: "!1 " + strings.Repeat("é", 10_000)}}, `it answered tools/list with error 1: \"` + strings.Repeat("é", 128)},
		{"does not start", &fake{stuck: true}, `it did not answer tools/list within 5s`},
		{"endless", &fake{answers: map[string]string{mcp.MethodToolsList: `{"tools":[],"nextCursor":""}`}}, `it lists more than 200 pages`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCatalog(t, map[string]*fake{"a": withTools("one"), "x": test.server})
				response := answerOf(t, c, request(mcp.MethodToolsList, `{}`))
				if got := keysOf(response, tools); got != "a__one" {
					t.Errorf("got %s, want the rest", got)
				}
				got := unavailableIn(response)
				if !strings.HasPrefix(got, `[{"server":"x","reason":"`+test.want) || len(got) > maxReason+100 {
					t.Errorf("got %s, want reason %s", got, test.want)
				}
				if got := test.server.calls(mcp.MethodToolsList); got > maxPages {
					t.Errorf("got %d requests, want at most %d", got, maxPages)
				}
			})
		})
	}
}

// A slow server delays nobody for longer than the wait, and not again while its
// answer is still to come; then it counts. The next time it is given a short while.
func TestSlowServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := withTools("late")
		slow.hold = map[string]chan struct{}{mcp.MethodToolsList: make(chan struct{})}
		c := newCatalog(t, map[string]*fake{"a": withTools("one"), "slow": slow})
		list := func() (string, string, time.Duration) {
			start := time.Now()
			response := answerOf(t, c, request(mcp.MethodToolsList, `{}`))
			return keysOf(response, tools), unavailableIn(response), time.Since(start)
		}
		for _, want := range []time.Duration{c.lists.wait, 0} {
			keys, faults, took := list()
			if keys != "a__one" || !strings.Contains(faults, `"slow"`) || took != want {
				t.Errorf("got %s, faults %s after %s, want the rest and a fault after %s", keys, faults, took, want)
			}
		}
		if got := slow.calls(mcp.MethodToolsList); got != 1 {
			t.Errorf("got %d requests, want the one to go on", got)
		}
		close(slow.hold[mcp.MethodToolsList])
		c.lists.flights.Wait()
		slow.hold[mcp.MethodToolsList] = make(chan struct{})
		// Now the list before is at hand. An answer within the wait makes good again.
		for _, want := range []time.Duration{c.lists.grace, c.lists.wait} {
			keys, faults, took := list()
			if keys != "a__one slow__late" || !strings.Contains(faults, `"slow"`) || took != want {
				t.Errorf("got %s, faults %s after %s, want the list before after %s", keys, faults, took, want)
			}
			close(slow.hold[mcp.MethodToolsList])
			c.lists.flights.Wait()
			slow.hold[mcp.MethodToolsList] = make(chan struct{})
		}
		slow.hold, slow.fail = nil, errDead
		if keys, faults, _ := list(); keys != "a__one slow__late" || !strings.Contains(faults, "exited") {
			t.Errorf("got %s, faults %s of a server that has ended, want the list before", keys, faults)
		}
		later(c.lists.keep)
		if keys, faults, _ := list(); keys != "a__one" || !strings.Contains(faults, "exited") {
			t.Errorf("got %s, faults %s, want no list that old", keys, faults)
		}
	})
}

func TestPages(t *testing.T) {
	t.Parallel()
	var names []string
	for i := range maxPageItems - 1 {
		names = append(names, fmt.Sprint("t", i))
	}
	big := fmt.Sprintf(`{"tools":[{"name":"x","d":%q},{"name":"y","d":%q},{"name":"z"}]}`, strings.Repeat("d", maxPageBytes), strings.Repeat("d", maxPageBytes-100))
	tests := []struct {
		name    string
		servers map[string]*fake
		want    []int // items of each page
	}{
		{"by count", map[string]*fake{"a": withTools(names...), "b": withTools("x", "y", "z")}, []int{1000, 2}},
		{"none over", map[string]*fake{"a": withTools(names...), "b": withTools("x")}, []int{1000}},
		{"by bytes", map[string]*fake{"a": {answers: map[string]string{mcp.MethodToolsList: big}}}, []int{1, 2}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := unhurriedCatalog(test.servers)
			seen := map[string]bool{}
			params := `{}`
			for i, want := range test.want {
				response := answerOf(t, c, request(mcp.MethodToolsList, params))
				keys := strings.Fields(keysOf(response, tools))
				last := i == len(test.want)-1
				if !last && keys[len(keys)-1] == "…" {
					keys = keys[:len(keys)-1]
				} else if !last {
					t.Fatalf("page %d has no cursor", i)
				}
				if len(keys) != want {
					t.Errorf("page %d: got %d, want %d", i, len(keys), want)
				}
				for _, key := range keys {
					if seen[key] {
						t.Errorf("got %s twice", key)
					}
					seen[key] = true
				}
				params = fmt.Sprintf(`{"cursor":%s}`, response.At(response.InResult("nextCursor")))
			}
			for name, server := range test.servers {
				if got := server.calls(mcp.MethodToolsList); got != 1 {
					t.Errorf("%s was asked %d times, want once for all pages", name, got)
				}
			}
		})
	}
}

func TestInvalidCursor(t *testing.T) {
	t.Parallel()
	c := unhurriedCatalog(map[string]*fake{"a": withTools("x")})
	good := position{"a", 0}
	for name, cursor := range map[string]string{
		"number": `5`, "null": `null`, "text": `"x"`, "empty": `""`,
		"other list":   fmt.Sprintf("%q", good.cursor(prompts)),
		"other server": fmt.Sprintf("%q", position{"b", 0}.cursor(tools)),
		"negative":     fmt.Sprintf("%q", position{"a", -1}.cursor(tools)),
		"too far":      fmt.Sprintf("%q", position{"a", maxItems}.cursor(tools)),
	} {
		if got := errorOf(answerOf(t, c, request(mcp.MethodToolsList, `{"cursor":`+cursor+`}`))); !strings.HasPrefix(got, "-32602 ") {
			t.Errorf("%s: got %s, want -32602", name, got)
		}
	}
	if got := keysOf(answerOf(t, c, request(mcp.MethodToolsList, `{"cursor":"`+good.cursor(tools)+`"}`)), tools); got != "a__x" {
		t.Errorf("got %s of a good cursor", got)
	}
}

func TestListIsBounded(t *testing.T) {
	t.Parallel()
	var names []string
	for i := range maxItems + 1 {
		names = append(names, fmt.Sprint("x:", i))
	}
	first := strings.Replace(listOf(resources, names...), `{`, `{"nextCursor":"1",`, 1)
	a := &fake{answers: map[string]string{mcp.MethodResourcesList: first + "|" + listOf(resources, "x:more")}}
	c := unhurriedCatalog(map[string]*fake{"a": a})
	response := answerOf(t, c, request(mcp.MethodResourcesList, `{}`))
	if got := unavailableIn(response); !strings.Contains(got, "more than 10000") {
		t.Errorf("got %s, want a report that the list is cut", got)
	}
	listing := c.lists.remembered("key:a", "a", resources)
	if len(listing.items) != maxItems || a.calls(mcp.MethodResourcesList) != 1 {
		t.Errorf("got %d items after %d requests, want %d after one", len(listing.items), a.calls(mcp.MethodResourcesList), maxItems)
	}
}

func TestListIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	page := fmt.Sprintf(`{"tools":[{"name":"%%d","d":%q}],"nextCursor":"%%d"}`, strings.Repeat("d", maxListBytes*3/5))
	a := &fake{answers: map[string]string{mcp.MethodToolsList: fmt.Sprintf(page+"|"+page+"|"+page, 0, 1, 1, 2, 2, 0)}}
	c := unhurriedCatalog(map[string]*fake{"a": a})
	response := answerOf(t, c, request(mcp.MethodToolsList, `{}`))
	if got := unavailableIn(response); !strings.Contains(got, "more than 8 MiB") || a.calls(mcp.MethodToolsList) != 2 {
		t.Errorf("got %s after %d requests, want a report after 2", got, a.calls(mcp.MethodToolsList))
	}
}

func FuzzCursor(f *testing.F) {
	f.Add("x")
	f.Add(position{"a", 7}.cursor(tools))
	f.Add(position{"a b", 0}.cursor(prompts))
	f.Fuzz(func(t *testing.T, text string) {
		p, ok := parseCursor(text, tools)
		if !ok {
			return
		}
		if again, ok := parseCursor(p.cursor(tools), tools); !ok || again != p || p.server == "" || p.index < 0 || p.index >= maxItems {
			t.Errorf("got %+v of %q, and %+v again", p, text, again)
		}
	})
}
