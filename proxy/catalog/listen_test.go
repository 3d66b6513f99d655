package catalog

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// listening starts a subscription.
func listening(t *testing.T, c *Catalog, filter string) link.Call {
	t.Helper()
	call, err := c.Do(t.Context(), request(mcp.MethodListen, `{"_meta":{"a":1},"notifications":`+filter+`}`))
	if err != nil {
		t.Fatal(err)
	}
	return call
}

// notify sends a notification on the newest call of a server, as a backend would
// tag it.
func (f *fake) notify(method, params string) {
	f.last().Offer(parsed(fmt.Sprintf(`{"jsonrpc":"2.0","method":%q,"params":%s}`, method, params)))
}

func (f *fake) acknowledge(filter string) {
	f.notify(mcp.MethodAcknowledged, `{"_meta":{"io.modelcontextprotocol/subscriptionId":7},"notifications":`+filter+`}`)
}

// taken lists what has come: methods without what they have in common, and params.
func taken(call link.Call) string {
	synctest.Wait()
	var texts []string
	for _, m := range call.Take() {
		if m.Kind() == mcp.Response {
			texts = append(texts, errorOf(m))
			continue
		}
		texts = append(texts, strings.TrimPrefix(m.Method(), "notifications/")+" "+string(m.Params()))
	}
	return strings.Join(texts, "\n")
}

const tag = `"_meta":{"io.modelcontextprotocol/subscriptionId":"r"}`

func TestListenMergesParts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b, d := withResources([]string{"x:1"}), withResources([]string{"x:2", "x:3"}), withResources(nil)
		c := newCatalog(t, map[string]*fake{"a": a, "b": b, "c": {answers: map[string]string{mcp.MethodListen: "!-32601 no"}}, "d": d})
		call := listening(t, c, `{"toolsListChanged":true,"promptsListChanged":false,"resourceSubscriptions":["x:1","x:2","x:2","none:1"]}`)
		defer call.Cancel("")
		synctest.Wait()
		for server, want := range map[*fake]string{
			a: `{"_meta":{"a":1},"notifications":{"toolsListChanged":true,"resourceSubscriptions":["x:1"]}}`,
			b: `{"_meta":{"a":1},"notifications":{"toolsListChanged":true,"resourceSubscriptions":["x:2"]}}`,
			d: `{"_meta":{"a":1},"notifications":{"toolsListChanged":true}}`,
		} {
			if got := string(server.last().request.Params()); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		}
		a.acknowledge(`{"toolsListChanged":true,"promptsListChanged":true,"resourceSubscriptions":["x:1"]}`)
		a.notify(mcp.MethodToolsChanged, `{"_meta":{"io.modelcontextprotocol/subscriptionId":7,"k":1}}`)
		d.acknowledge(`{}`)
		if got := taken(call); got != "" {
			t.Errorf("got %s before the last part was open", got)
		}
		if got := d.reasons(); got == "" {
			t.Error("a part that honours nothing stays open")
		}
		b.acknowledge(`{"resourceSubscriptions":["x:2","x:3"]}`)
		want := `subscriptions/acknowledged {` + tag + `,"notifications":{"toolsListChanged":true,"resourceSubscriptions":["x:1","x:2"]}}` + "\n" +
			`tools/list_changed {"_meta":{"io.modelcontextprotocol/subscriptionId":"r","k":1}}`
		if got := strings.Replace(taken(call), `["x:2","x:1"]`, `["x:1","x:2"]`, 1); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		b.notify(mcp.MethodResourceUpdated, `{"uri":"x:2"}`)
		b.notify(mcp.MethodPromptsChanged, `{}`) // nobody asked
		b.notify(mcp.MethodLogged, `{}`)
		b.notify(mcp.MethodToolsChanged, `{"_meta":{"k":1}}`)
		want = `resources/updated {` + tag + `,"uri":"x:2"}` + "\n" +
			`tools/list_changed {"_meta":{"io.modelcontextprotocol/subscriptionId":"r","k":1}}`
		if got := taken(call); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

func TestListenEndsWhenCancelled(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(link.Call){
		"cancel": func(call link.Call) { call.Cancel("enough") },
		"detach": func(call link.Call) { call.Detach() },
	} {
		synctest.Test(t, func(t *testing.T) {
			a, stuck := withTools(), &fake{stuck: true, lingers: time.Second}
			c := newCatalog(t, map[string]*fake{"a": a, "stuck": stuck})
			call := listening(t, c, `{"toolsListChanged":true}`)
			synctest.Wait()
			end(call)
			if got := taken(call); got != "" {
				t.Errorf("%s: got %s before all parts have ended", name, got)
			}
			later(time.Second)
			if got := taken(call); !strings.HasPrefix(got, "-32603 the request was cancelled: ") {
				t.Errorf("%s: got %s", name, got)
			}
			if a.reasons() == "" || len(c.lists.watches) != 0 {
				t.Errorf("%s: the server was not told, or lists are still watched", name)
			}
		})
	}
}

func TestListenToNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := withTools()
		call := listening(t, newCatalog(t, map[string]*fake{"a": a}), `{"resourceSubscriptions":["x:1"]}`)
		defer call.Cancel("")
		if got, want := taken(call), `subscriptions/acknowledged {`+tag+`,"notifications":{}}`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got := a.calls(mcp.MethodListen); got != 0 {
			t.Errorf("got %d parts, want none", got)
		}
	})
}

// A member that is late delays the acknowledgement no longer than the wait. When it
// comes, the caller is told to look again.
func TestListenWithALateMember(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, late := withTools(), withResources([]string{"x:1"})
		c := newCatalog(t, map[string]*fake{"a": a, "late": late})
		call := listening(t, c, `{"toolsListChanged":true,"resourceSubscriptions":["x:1"]}`)
		defer call.Cancel("")
		synctest.Wait()
		start := time.Now()
		a.acknowledge(`{}`)
		<-call.Ready()
		want := `subscriptions/acknowledged {"_meta":{"io.modelcontextprotocol/subscriptionId":"r","mcpgateway/unavailable":[{"server":"late","reason":"it did not answer subscriptions/listen within 5s"}]},"notifications":{"toolsListChanged":true,"resourceSubscriptions":["x:1"]}}`
		if got := taken(call); got != want || time.Since(start) != c.lists.wait {
			t.Errorf("got  %s after %s\nwant %s", got, time.Since(start), want)
		}
		late.acknowledge(`{"toolsListChanged":true,"resourceSubscriptions":["x:1"]}`)
		if got, want := taken(call), `tools/list_changed {`+tag+"}\n"+`resources/updated {`+tag+`,"uri":"x:1"}`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

// What was left out of a list because it came too late is announced when it comes,
// unless it is what stood in the list all the same.
func TestLateListIsAnnounced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow, other := withTools("late"), withTools("x")
		servers := map[string]*fake{"slow": slow, "other": other}
		c := newCatalog(t, servers)
		elsewhere := New([]Member{{"other", other}}, c.lists, "key:a", "")
		stranger := New(members(servers), c.lists, "key:b", "")
		call := listening(t, c, `{"toolsListChanged":true,"resourcesListChanged":true}`)
		silent := []link.Call{
			listening(t, elsewhere, `{"toolsListChanged":true}`),
			listening(t, stranger, `{"toolsListChanged":true}`),
			listening(t, c, `{"promptsListChanged":true}`),
		}
		later(c.lists.wait)
		for _, call := range append(silent, call) {
			defer call.Cancel("")
			if got := taken(call); !strings.HasPrefix(got, "subscriptions/acknowledged") {
				t.Fatalf("got %s", got)
			}
		}
		for _, test := range []struct {
			list kind
			keys []string
			want string
		}{
			{tools, []string{"late"}, "tools/list_changed {" + tag + "}"},
			{tools, []string{"late"}, ""},
			{tools, []string{"late", "more"}, "tools/list_changed {" + tag + "}"},
			{templates, []string{"x:{n}"}, "resources/list_changed {" + tag + "}"},
			{prompts, nil, ""},
		} {
			method := test.list.shape().method
			slow.hold = map[string]chan struct{}{method: make(chan struct{})}
			slow.answers[method] = listOf(test.list, test.keys...)
			answerOf(t, c, request(method, `{}`))
			close(slow.hold[method])
			if got := taken(call); got != test.want {
				t.Errorf("%s: got %s, want %s", test.keys, got, test.want)
			}
			later(c.lists.wait) // or the next answer counts as late, too
			slow.hold = nil
			answerOf(t, c, request(method, `{}`))
		}
		for _, call := range silent {
			if got := taken(call); got != "" {
				t.Errorf("got %s for another owner, another server or another list", got)
			}
		}
	})
}

// The end of one member's part is not the subscription's.
func TestPartThatEndsIsOpenedAgain(t *testing.T) {
	t.Parallel()
	for _, ending := range []string{`{"resultType":"complete"}`, `!-32603 it exited`} {
		synctest.Test(t, func(t *testing.T) {
			a := withResources([]string{"x:1"})
			c := newCatalog(t, map[string]*fake{"a": a})
			a.answers[mcp.MethodToolsList] = listOf(tools, "x")
			answerOf(t, c, request(mcp.MethodToolsList, `{}`))
			call := listening(t, c, `{"toolsListChanged":true,"resourceSubscriptions":["x:1"]}`)
			defer call.Cancel("")
			pause := firstPause
			for attempt := range 9 {
				synctest.Wait()
				a.acknowledge(`{"toolsListChanged":true,"resourceSubscriptions":["x:1"]}`)
				want := `tools/list_changed {` + tag + `}` + "\n" + `resources/updated {` + tag + `,"uri":"x:1"}`
				if attempt == 0 {
					want = `subscriptions/acknowledged {` + tag + `,"notifications":{"toolsListChanged":true,"resourceSubscriptions":["x:1"]}}`
				}
				if got := taken(call); got != want {
					t.Errorf("attempt %d: got %s\nwant %s", attempt, got, want)
				}
				if got := c.lists.remembered("key:a", "a", tools) != nil; got != (attempt == 0) {
					t.Errorf("attempt %d: the list is remembered: %v", attempt, got)
				}
				a.last().answer(ending)
				synctest.Wait()
				later(pause - 1)
				if got := a.calls(mcp.MethodListen); got != attempt+1 {
					t.Errorf("got %d attempts before the pause of %s is over, want %d", got, pause, attempt+1)
				}
				later(time.Nanosecond)
				pause = min(2*pause, lastPause)
			}
			synctest.Wait()
			later(lastPause) // it holds now
			a.last().answer(ending)
			later(firstPause)
			synctest.Wait()
			if got := a.calls(mcp.MethodListen); got != 11 {
				t.Errorf("got %d attempts, want a short pause after a long time", got)
			}
			if got := taken(call); got != "" {
				t.Errorf("got %s", got)
			}
		})
	}
}

// A member that can't be reached is reported and tried again; one that knows no
// subscriptions is left alone.
func TestPartThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dead := &fake{fail: errDead}
		old := &fake{answers: map[string]string{mcp.MethodListen: "!-32601 no"}}
		call := listening(t, newCatalog(t, map[string]*fake{"dead": dead, "old": old}), `{"promptsListChanged":true}`)
		defer call.Cancel("")
		got, want := taken(call), `subscriptions/acknowledged {"_meta":{"io.modelcontextprotocol/subscriptionId":"r","mcpgateway/unavailable":[{"server":"dead","reason":"server \"x\" exited with status 3"}]},"notifications":{"promptsListChanged":true}}`
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		later(firstPause)
		synctest.Wait()
		if dead.calls(mcp.MethodListen) != 2 || old.calls(mcp.MethodListen) != 1 {
			t.Errorf("got %d and %d attempts, want 2 and 1", dead.calls(mcp.MethodListen), old.calls(mcp.MethodListen))
		}
	})
}

// Once a caller knows that a list has changed, it does not get the old one.
func TestChangedListIsForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hour := func(k kind, key string) string {
			return strings.Replace(listOf(k, key), `{`, `{"ttlMs":3600000,`, 1)
		}
		a := &fake{answers: map[string]string{
			mcp.MethodToolsList: hour(tools, "x"), mcp.MethodPromptsList: hour(prompts, "x"),
			mcp.MethodResourcesList: hour(resources, "x"), mcp.MethodTemplatesList: hour(templates, "x"),
		}}
		c := newCatalog(t, map[string]*fake{"a": a})
		call := listening(t, c, `{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true}`)
		defer call.Cancel("")
		synctest.Wait()
		listener := a.last()
		a.acknowledge(`{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true}`)
		known := func() (known string) {
			for k := range about {
				answerOf(t, c, request(k.shape().method, `{}`))
				known += fmt.Sprint(a.calls(k.shape().method))
			}
			return known
		}
		if got := known() + known(); got != "11111111" {
			t.Fatalf("got requests %s, want one for each list", got)
		}
		for _, test := range []struct{ method, want string }{
			{mcp.MethodToolsChanged, "2111"}, {mcp.MethodPromptsChanged, "2211"}, {mcp.MethodResourcesChanged, "2222"},
		} {
			listener.Offer(mcp.NewRequest(nil, test.method, nil))
			if got := taken(call); !strings.HasSuffix(got, test.method[len("notifications/"):]+" {"+tag+"}") {
				t.Errorf("got %s", got)
			}
			if got := known(); got != test.want {
				t.Errorf("after %s: got requests %s, want %s", test.method, got, test.want)
			}
		}
	})
}

func FuzzFilter(f *testing.F) {
	f.Add(`{"toolsListChanged":true,"resourceSubscriptions":["x:1","x:1","\ud800"]}`)
	f.Add(`{"resourceSubscriptions":[1]}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, text string) {
		m, err := mcp.Parse([]byte(`{"jsonrpc":"2.0","method":"m","params":{"f":` + text + `}}`))
		if err != nil {
			return
		}
		asked, ok := parseFilter(m.At(m.Param("f")))
		if !ok {
			return
		}
		again, ok := parseFilter(asked.raw())
		if !ok || fmt.Sprint(again) != fmt.Sprint(asked) {
			t.Errorf("got %v, and again %v", asked, again)
		}
	})
}
