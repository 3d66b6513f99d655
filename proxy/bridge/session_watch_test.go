package bridge

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

const ready = `{"jsonrpc":"2.0","method":"notifications/initialized"}`

// telling is a server that acknowledges every subscription as a whole.
func telling() *fakeServer {
	return &fakeServer{handle: func(c *fakeCall) { c.acknowledge(c.param("notifications")) }}
}

func (c *fakeCall) acknowledge(filter string) {
	c.notify(mcp.MethodAcknowledged, `{"_meta":{"io.modelcontextprotocol/subscriptionId":1},"notifications":`+filter+`}`)
}

// changed tells of changed tools, with a mark to tell one from another.
func (c *fakeCall) changed(mark string) {
	c.notify(mcp.MethodToolsChanged, `{"_meta":{"io.modelcontextprotocol/subscriptionId":1,"mark":"`+mark+`"}}`)
}

func (c *fakeCall) isCancelled() bool { return len(c.cancelled) > 0 }

func (s driven) subscribe(t *testing.T, uri string) mcp.Message {
	t.Helper()
	return s.ask(t, `{"jsonrpc":"2.0","id":7,"method":"resources/subscribe","params":{"uri":%q}}`, uri)
}

func (s driven) unsubscribe(t *testing.T, uri string) mcp.Message {
	t.Helper()
	return s.ask(t, `{"jsonrpc":"2.0","id":7,"method":"resources/unsubscribe","params":{"uri":%q}}`, uri)
}

func marks(messages []mcp.Message) string {
	var marks []string
	for _, m := range messages {
		mark, _ := m.Text(m.Param("_meta", "mark"))
		marks = append(marks, mark)
	}
	return strings.Join(marks, " ")
}

// A client hears of changed lists once it is ready, without the ids of
// subscriptions.
func TestWatchLists(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, offers, filter string }{
		{"all", everything, `{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true}`},
		{"some", `{"tools":{"listChanged":true},"prompts":{},"resources":{"listChanged":false}}`, `{"toolsListChanged":true}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := telling()
				server.offers = test.offers
				s := driven{newSession(t, server, "2025-11-25", `{}`)}
				if n := server.count(); n != 0 {
					t.Errorf("got %d requests before the client was ready, want none", n)
				}
				s.send(t, ready)
				synctest.Wait()
				s.send(t, ready)
				synctest.Wait()
				if n := server.count(); n != 1 {
					t.Fatalf("got %d subscriptions, want 1", n)
				}
				subscription := server.at(t, 0)
				equal(t, []byte(subscription.param("notifications")), test.filter)
				equal(t, []byte(subscription.param("_meta")), `{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"client","version":"2"}}`)
				subscription.notify(mcp.MethodToolsChanged, `{"_meta":{"io.modelcontextprotocol/subscriptionId":1}}`)
				subscription.notify(mcp.MethodResourcesChanged, `{"_meta":{"a":1e0,"io.modelcontextprotocol/subscriptionId":1}}`)
				subscription.notify(mcp.MethodResourceUpdated, `{"uri":"a:b"}`) // not asked for
				subscription.notify(mcp.MethodLogged, `{}`)
				synctest.Wait()
				want := `{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{}}
{"jsonrpc":"2.0","method":"notifications/resources/list_changed","params":{"_meta":{"a":1e0}}}`
				if got := raw(s.inbox.Take()); got != want {
					t.Errorf("got  %s\nwant %s", got, want)
				}
				s.Close()
				synctest.Wait()
				if !subscription.isCancelled() {
					t.Error("the subscription outlives the session")
				}
			})
		})
	}
}

func TestWatchNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := telling()
		server.offers = `{"tools":{},"resources":{"subscribe":true}}`
		s := driven{newSession(t, server, "2025-11-25", `{}`)}
		s.send(t, ready)
		synctest.Wait()
		if n := server.count(); n != 0 {
			t.Errorf("got %d subscriptions, want none", n)
		}
	})
}

// One subscription holds all that is watched; another takes its place when that
// changes.
func TestWatchResources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := telling()
		s := driven{newSession(t, server, "2025-11-25", `{}`)}
		s.send(t, ready)
		synctest.Wait()
		steps := []struct {
			name   string
			step   func(*testing.T, string) mcp.Message
			uri    string
			filter string // of the new subscription; "": none
		}{
			{"one", s.subscribe, "a:1", `["a:1"]`},
			{"two", s.subscribe, "a:2", `["a:1","a:2"]`},
			{"one again", s.subscribe, "a:1", ""},
			{"not one", s.unsubscribe, "a:1", `["a:2"]`},
			{"not one again", s.unsubscribe, "a:1", ""},
			{"nothing but lists", s.unsubscribe, "a:2", "null"},
		}
		n := 0
		for _, step := range steps {
			if got := string(step.step(t, step.uri).Raw()); got != `{"jsonrpc":"2.0","id":7,"result":{}}` {
				t.Fatalf("%s: got %s", step.name, got)
			}
			if step.filter != "" {
				n++
				if !server.at(t, n-1).isCancelled() {
					t.Errorf("%s: the subscription before it is still there", step.name)
				}
				if got := server.at(t, n).param("notifications", "resourceSubscriptions"); got != strings.ReplaceAll(step.filter, "null", "") {
					t.Errorf("%s: got resources %s, want %s", step.name, got, step.filter)
				}
			}
			if got := server.count(); got != n+1 {
				t.Errorf("%s: got %d subscriptions, want %d", step.name, got, n+1)
			}
		}
		server.at(t, n).notify(mcp.MethodToolsChanged, `{}`)
		synctest.Wait()
		if got := len(s.inbox.Take()); got != 1 {
			t.Errorf("got %d messages, want that of changed tools", got)
		}
	})
}

func TestWatchWithoutLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := telling()
		server.offers = `{"resources":{"subscribe":true}}`
		s := driven{newSession(t, server, "2025-11-25", `{}`)}
		s.subscribe(t, "a:1")
		server.at(t, 0).notify(mcp.MethodResourceUpdated, `{"uri":"a:1/part","_meta":{"io.modelcontextprotocol/subscriptionId":1}}`)
		server.at(t, 0).notify(mcp.MethodToolsChanged, `{}`) // not asked for
		synctest.Wait()
		if got, want := raw(s.inbox.Take()), `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:1/part"}}`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		s.unsubscribe(t, "a:1")
		if n := server.count(); n != 1 || !server.at(t, 0).isCancelled() {
			t.Errorf("got %d subscriptions, want one that is over", n)
		}
	})
}

// Until the new subscription is acknowledged the old one tells; what it has told
// by then is not lost, and what both tell is told once.
func TestWatchMovesWithoutGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &fakeServer{}
		s := driven{newSession(t, server, "2025-11-25", `{}`)}
		s.send(t, ready)
		synctest.Wait()
		old := server.at(t, 0)
		old.acknowledge(old.param("notifications"))
		synctest.Wait()
		call := s.call(t, `{"jsonrpc":"2.0","id":7,"method":"resources/subscribe","params":{"uri":"a:1"}}`)
		synctest.Wait()
		next := server.at(t, 1)
		if old.isCancelled() {
			t.Fatal("the old subscription ended before the new one was acknowledged")
		}
		old.changed("1")
		synctest.Wait()
		if got := marks(s.inbox.Take()); got != "1" {
			t.Errorf("got %q before the new subscription, want 1", got)
		}
		next.acknowledge(next.param("notifications"))
		if answer := response(t, call); answer.Err() != nil || !old.isCancelled() {
			t.Errorf("got %s, want the old subscription to end", answer.Raw())
		}
		old.changed("2")
		next.changed("3")
		synctest.Wait()
		if got := marks(s.inbox.Take()); got != "3" {
			t.Errorf("got %q, want 3", got)
		}
		// The server has told of 4 before the third subscription, and of 5 after it.
		server.does(func(c *fakeCall) {
			next.changed("4")
			next.changed("5")
			c.acknowledge(c.param("notifications"))
			c.changed("5")
			c.changed("6")
		})
		s.subscribe(t, "a:2")
		if got := marks(s.inbox.Take()); got != "4 5 6" {
			t.Errorf("got %q, want 4 5 6", got)
		}
	})
}

func TestWatchRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		handle func(*fakeCall)
		want   string
	}{
		{"not this one", func(c *fakeCall) { c.acknowledge(`{"toolsListChanged":true}`) }, "-32602"},
		{"nothing", func(c *fakeCall) { c.acknowledge(`{"toolsListChanged":false,"resourceSubscriptions":["a:1"]}`) }, ""},
		{"no such method", func(c *fakeCall) { c.error(-32601, "m", "{}") }, "-32602"},
		{"trouble", func(c *fakeCall) { c.error(-32603, "m", "{}") }, "-32603"},
		{"no answer", func(*fakeCall) {}, "-32603"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := telling()
				s := driven{newSession(t, server, "2025-11-25", `{}`)}
				s.send(t, ready)
				synctest.Wait()
				server.does(test.handle)
				answer := s.subscribe(t, "a:1")
				if got := string(answer.At(answer.InError("code"))); got != test.want {
					t.Errorf("got %s, want error code %q", answer.Raw(), test.want)
				}
				old, tried := server.at(t, 0), server.at(t, 1)
				if test.want == "" {
					return
				}
				if old.isCancelled() || server.count() != 2 {
					t.Errorf("the old subscription is gone, or %d are not 2", server.count())
				}
				if strings.HasPrefix(test.name, "no") && test.name != "no such method" && !tried.isCancelled() {
					t.Error("the subscription that was refused is still there")
				}
				old.changed("1")
				synctest.Wait()
				if got := marks(s.inbox.Take()); got != "1" {
					t.Errorf("got %q, want 1", got)
				}
			})
		})
	}
}

// What may have changed while there was no subscription is said to have.
func TestWatchLost(t *testing.T) {
	tests := []struct {
		name string
		lose func(*fakeServer, *fakeCall)
	}{
		{"the server ended it", func(_ *fakeServer, c *fakeCall) { c.result(`{"resultType":"complete"}`) }},
		{"the instance ended", func(_ *fakeServer, c *fakeCall) { c.error(-32603, "it crashed", "{}") }},
		{"and did not start", func(s *fakeServer, c *fakeCall) {
			s.refuses(&link.EndedError{Cause: errors.New("it crashed")})
			c.error(-32603, "it crashed", "{}")
			pass(10 * time.Second)
			s.refuses(nil)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := telling()
				server.offers = `{"tools":{"listChanged":true},"resources":{"subscribe":true}}`
				s := driven{newSession(t, server, "2025-11-25", `{}`)}
				s.send(t, ready)
				s.subscribe(t, "a:1")
				synctest.Wait()
				n := server.count()
				test.lose(server, server.at(t, n-1))
				pass(20 * time.Second)
				if got := server.count(); got != n+1 {
					t.Fatalf("got %d subscriptions, want %d", got, n+1)
				}
				equal(t, []byte(server.at(t, n).param("notifications")), `{"toolsListChanged":true,"resourceSubscriptions":["a:1"]}`)
				want := `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}
{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:1"}}`
				if got := raw(s.inbox.Take()); got != want {
					t.Errorf("got  %s\nwant %s", got, want)
				}
			})
		})
	}
}

// A server that ends every subscription at once is asked less and less.
func TestWatchLostAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &fakeServer{handle: func(c *fakeCall) {
			c.acknowledge(c.param("notifications"))
			c.result("{}")
		}}
		s := driven{newSession(t, server, "2025-11-25", `{}`)}
		s.send(t, ready)
		pass(time.Hour)
		if got := server.count(); got < 60 || got > 70 {
			t.Errorf("got %d subscriptions in an hour, want about one a minute", got)
		}
	})
}

func TestWatchListsRefused(t *testing.T) {
	for name, handle := range map[string]func(*fakeCall){
		"by an error":          func(c *fakeCall) { c.error(-32601, "m", "{}") },
		"by what is honoured":  func(c *fakeCall) { c.acknowledge(`{"toolsListChanged":false}`) },
		"by honouring nothing": func(c *fakeCall) { c.acknowledge(`{}`) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &fakeServer{handle: handle}
				s := driven{newSession(t, server, "2025-11-25", `{}`)}
				s.send(t, ready)
				pass(time.Hour)
				if got := server.count(); got != 1 || (name != "by an error" && !server.at(t, 0).isCancelled()) {
					t.Errorf("got %d subscriptions, want one try that is over", got)
				}
			})
		})
	}
}

func TestWatchBoundsResources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := driven{newSession(t, telling(), "2025-11-25", `{}`)}
		for i := range maxURIs {
			s.subscribe(t, fmt.Sprintf("a:%d", i))
		}
		if answer := s.subscribe(t, "a:more"); answer.Err() == nil {
			t.Errorf("got %s, want an error", answer.Raw())
		}
	})
}

// A client that waits no longer need not be waited for.
func TestWatchCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &fakeServer{}
		s := driven{newSession(t, server, "2025-11-25", `{}`)}
		call := s.call(t, `{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"a:1"}}`)
		other := s.call(t, `{"jsonrpc":"2.0","id":2,"method":"resources/subscribe","params":{"uri":"a:2"}}`)
		synctest.Wait()
		for _, call := range []link.Call{call, other} {
			call.Cancel("gone")
			if answer := response(t, call); !strings.Contains(string(answer.Err()), "gone") {
				t.Errorf("got %s, want an error", answer.Raw())
			}
		}
	})
}
