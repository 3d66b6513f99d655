package hub

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// process is a server process whose answers a test writes. Without any it
// acknowledges what it is asked for.
type process struct {
	mu      sync.Mutex
	handle  func(*call)
	refusal error
	calls   []*call
}

type call struct {
	*link.Queue
	request mcp.Message
	owner   string
	once    sync.Once

	mu     sync.Mutex
	reason string // of its cancellation
}

func (p *process) Do(_ context.Context, owner string, request mcp.Message) (link.Call, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refusal != nil {
		return nil, p.refusal
	}
	c := &call{Queue: link.NewQueue(), request: request, owner: owner}
	p.calls = append(p.calls, c)
	if p.handle != nil {
		p.handle(c)
	} else {
		c.acknowledge(c.filter())
	}
	return c, nil
}

// newHub returns a hub whose process ends with the test.
func newHub(t *testing.T, p *process) *Hub {
	t.Helper()
	t.Cleanup(func() {
		synctest.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range p.calls {
			c.end()
		}
	})
	return New(p)
}

// asked are the filters that the process was asked for.
func (p *process) asked() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var filters []string
	for _, c := range p.calls {
		filters = append(filters, c.filter())
	}
	return strings.Join(filters, " ")
}

func (c *call) filter() string { return string(c.request.At(c.request.Param("notifications"))) }

func (c *call) acknowledge(filter string) {
	c.notify(mcp.MethodAcknowledged, `"notifications":`+filter)
}

// notify tells something, with the id that the request came with.
func (c *call) notify(method, params string) {
	meta := fmt.Sprintf(`{"_meta":{"io.modelcontextprotocol/subscriptionId":%s,"n":1e3}`, c.request.ID())
	if params != "" {
		meta += "," + params
	}
	c.Offer(mcp.NewRequest(nil, method, []byte(meta+"}")))
}

func (c *call) end() {
	c.once.Do(func() {
		c.Force(mcp.NewResult(c.request.ID(), fmt.Appendf(nil, `{"resultType":"complete","_meta":{"io.modelcontextprotocol/subscriptionId":%s}}`, c.request.ID())))
	})
}

func (c *call) Cancel(reason string) {
	c.once.Do(func() {
		c.mu.Lock()
		c.reason = reason
		c.mu.Unlock()
		c.Force(mcp.NewError(c.request.ID(), mcp.CodeInternal, "cancelled", nil))
	})
}

func (*call) Detach() {}

// cancelled is why the call was cancelled; "" if it was not.
func (c *call) cancelled() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reason
}

const (
	tools   = `{"toolsListChanged":true}`
	prompts = `{"promptsListChanged":true}`
)

func resource(uri string) string { return fmt.Sprintf(`{"resourceSubscriptions":[%q]}`, uri) }

func listen(t *testing.T, h *Hub, id, filter string) link.Call {
	t.Helper()
	call, err := listenAs(t, h, "somebody", id, filter)
	if err != nil {
		t.Fatal(err)
	}
	return call
}

func listenAs(t *testing.T, h *Hub, owner, id, filter string) (link.Call, error) {
	t.Helper()
	request, err := mcp.Parse(fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%q,"method":"subscriptions/listen","params":{"notifications":%s,"_meta":{"progressToken":1,"io.modelcontextprotocol/logLevel":"debug"}}}`, id, filter))
	if err != nil {
		t.Fatal(err)
	}
	return h.Do(t.Context(), owner, request)
}

// told is what a listener has got, in short.
func told(call link.Call) string {
	synctest.Wait()
	var told []string
	for _, m := range call.Take() {
		id, _ := m.Text(m.Param("_meta", mcp.MetaSubscription))
		uri, _ := m.Text(m.Param("uri"))
		switch {
		case m.Method() == mcp.MethodAcknowledged:
			told = append(told, id+" "+string(m.At(m.Param("notifications"))))
		case m.Err() != nil:
			text, _ := m.Text(m.InError("message"))
			told = append(told, string(m.ID())+" "+text)
		case m.Result() != nil:
			told = append(told, string(m.ID())+" "+string(m.Result()))
		default:
			told = append(told, id+" "+strings.TrimPrefix(m.Method(), "notifications/")+uri)
		}
	}
	return strings.Join(told, ", ")
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func TestEachTopicOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &process{}
		h := newHub(t, p)
		a := listen(t, h, "a", tools)
		expect(t, "a", told(a), "a "+tools)
		b := listen(t, h, "b", `{"toolsListChanged":true,"promptsListChanged":false,"resourceSubscriptions":["x:1","x:1"]}`)
		expect(t, "b", told(b), `b {"toolsListChanged":true,"resourceSubscriptions":["x:1"]}`)
		c := listen(t, h, "c", tools)
		expect(t, "c", told(c), "c "+tools)
		expect(t, "process", p.asked(), tools+" "+resource("x:1"))
		p.calls[0].notify(mcp.MethodToolsChanged, "")
		p.calls[0].notify(mcp.MethodPromptsChanged, "") // not asked for
		expect(t, "a", told(a), "a tools/list_changed")
		expect(t, "b", told(b), "b tools/list_changed")
		p.calls[1].notify(mcp.MethodResourceUpdated, `"uri":"x:1"`)
		expect(t, "a", told(a), "")
		expect(t, "b", told(b), "b resources/updatedx:1")
		expect(t, "c", told(c), "c tools/list_changed")
		a.Cancel("gone")
		expect(t, "a", told(a), `"a" the subscription was cancelled: gone`)
		p.calls[0].notify(mcp.MethodToolsChanged, "")
		expect(t, "a", told(a), "")
		expect(t, "b", told(b), "b tools/list_changed")
		if p.calls[0].cancelled() != "" || p.calls[0].owner != "" {
			t.Errorf("got a subscription of %q that was cancelled: %q", p.calls[0].owner, p.calls[0].cancelled())
		}
		b.Cancel("gone")
		c.Cancel("gone")
	})
}

// What tells of a part of a resource is for who wants the whole, and for nobody
// else.
func TestParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &process{}
		h := newHub(t, p)
		whole := listen(t, h, "a", resource("x:1"))
		told(whole)
		other := listen(t, h, "b", resource("x:2/"))
		told(other)
		for _, uri := range []string{"x:1", "x:1/part", "x:1#part", "x:10", "x:2/part", "x:2", "x:3"} {
			p.calls[0].notify(mcp.MethodResourceUpdated, fmt.Sprintf(`"uri":%q`, uri))
		}
		expect(t, "whole", told(whole), "a resources/updatedx:1, a resources/updatedx:1/part, a resources/updatedx:1#part")
		expect(t, "other", told(other), "b resources/updatedx:2/part")
	})
}

// A process is not told of the end while anybody may come back, and then has a
// moment before it is asked again.
func TestRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &process{}
		h := newHub(t, p)
		listen(t, h, "a", tools).Cancel("gone")
		synctest.Wait()
		pass(linger - time.Second)
		b := listen(t, h, "b", tools)
		expect(t, "b", told(b), "b "+tools)
		pass(time.Hour)
		expect(t, "process", p.asked()+p.calls[0].cancelled(), tools)
		b.Cancel("gone")
		pass(linger)
		synctest.Wait()
		if p.calls[0].cancelled() == "" {
			t.Error("the process was not told that nobody listens")
		}
		start := time.Now()
		c := listen(t, h, "c", tools)
		<-c.Ready()
		if waited := time.Since(start); waited != settle {
			t.Errorf("got an answer after %s, want %s", waited, settle)
		}
		expect(t, "process", p.asked(), tools+" "+tools)
	})
}

// When the process ends a subscription, those end that heard by it.
func TestProcessEndsSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &process{}
		h := newHub(t, p)
		a, b := listen(t, h, "a", tools), listen(t, h, "b", prompts)
		told(a)
		told(b)
		for _, c := range p.calls {
			if c.filter() == tools {
				c.end()
			}
		}
		expect(t, "a", told(a), `"a" {"resultType":"complete","_meta":{"io.modelcontextprotocol/subscriptionId":"a"}}`)
		expect(t, "b", told(b), "")
		again := listen(t, h, "c", `{"toolsListChanged":true,"promptsListChanged":true}`)
		expect(t, "again", told(again), `c {"toolsListChanged":true,"promptsListChanged":true}`)
		if got := len(p.calls); got != 3 || p.calls[2].filter() != tools {
			t.Errorf("got %s, want the tools again", p.asked())
		}
	})
}

// Before it holds many subscriptions, one takes the place of all, with what is
// still needed; as something may have been missed, it is told.
func TestGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &process{}
		h := newHub(t, p)
		var all []link.Call
		for i := range maxSources {
			all = append(all, listen(t, h, fmt.Sprint(i), resource(fmt.Sprintf("x:%d", i))))
			told(all[i])
		}
		for _, call := range all[1:] {
			call.Cancel("gone")
		}
		fresh := listen(t, h, "a", tools)
		pass(settle)
		expect(t, "fresh", told(fresh), "a "+tools)
		expect(t, "other", told(all[0]), "0 resources/updatedx:0")
		for i, c := range p.calls {
			if (c.cancelled() == "") != (i == maxSources) {
				t.Errorf("subscription %d: got cancellation %q", i, c.cancelled())
			}
		}
		expect(t, "process", p.calls[maxSources].filter(), `{"toolsListChanged":true,"resourceSubscriptions":["x:0"]}`)
		p.calls[maxSources].notify(mcp.MethodResourceUpdated, `"uri":"x:0"`)
		p.calls[0].notify(mcp.MethodResourceUpdated, `"uri":"x:0"`) // too late
		expect(t, "other", told(all[0]), "0 resources/updatedx:0")
	})
}

func TestGatheringFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &process{}
		h := newHub(t, p)
		var all []link.Call
		for i := range maxSources {
			all = append(all, listen(t, h, fmt.Sprint(i), resource(fmt.Sprintf("x:%d", i))))
			told(all[i])
		}
		p.mu.Lock()
		p.refusal = errors.New("it crashed")
		p.mu.Unlock()
		fresh := listen(t, h, "a", tools)
		pass(settle)
		expect(t, "fresh", told(fresh), `"a" it crashed`)
		expect(t, "other", told(all[0]), `"0" it crashed`)
	})
}

func TestNotAcknowledged(t *testing.T) {
	tests := []struct {
		name   string
		handle func(*call)
		want   string
	}{
		{"in part", func(c *call) {
			c.acknowledge(`{"promptsListChanged":false,"toolsListChanged":true,"resourcesListChanged":true}`)
		}, "a " + tools},
		{"not at all", func(c *call) { c.acknowledge(`{}`) }, `a {}, "a" {"resultType":"complete","_meta":{"io.modelcontextprotocol/subscriptionId":"a"}}`},
		{"refused", func(c *call) { c.Force(mcp.NewError(c.request.ID(), -32601, "no", nil)) }, `"a" no`},
		{"never", func(*call) {}, `"a" the server did not acknowledge a subscription within 30s`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &process{handle: test.handle}
				h := newHub(t, p)
				a := listen(t, h, "a", `{"toolsListChanged":true,"promptsListChanged":true}`)
				pass(ackWait)
				expect(t, "a", told(a), test.want)
				if _, more := h.topics[topic{method: mcp.MethodResourcesChanged}]; more {
					t.Error("got a topic that the process was not asked for")
				}
				if got := p.calls[0].cancelled(); strings.Contains(got, "acknowledge") != (test.name == "never") {
					t.Errorf("got cancellation %q", got)
				}
			})
		})
	}
}

// Who has gone before the process could be asked, is not asked for. What the
// process was asked for ends in the end, though nobody waits for it any more.
func TestGoneBeforeAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &process{handle: func(*call) {}}
		h := newHub(t, p)
		a := listen(t, h, "a", tools)
		synctest.Wait()
		b := listen(t, h, "b", prompts)
		b.Cancel("gone")
		a.Cancel("gone")
		pass(2 * linger)
		p.calls[0].acknowledge(tools)
		synctest.Wait()
		expect(t, "process", p.asked()+p.calls[0].cancelled(), tools)
		pass(linger)
		synctest.Wait()
		if p.calls[0].cancelled() == "" {
			t.Error("the process was not told that nobody listens")
		}
	})
}

func TestPassesOthers(t *testing.T) {
	p := &process{handle: func(c *call) { c.end() }}
	answer, err := New(p).Do(t.Context(), "somebody", mcp.NewRequest([]byte("1"), "tools/list", nil))
	if err != nil || len(answer.Take()) != 1 || p.calls[0].owner != "somebody" {
		t.Errorf("got %v of %q, %v", answer, p.calls[0].owner, err)
	}
}

func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, &process{})
		many := func(from, n int) string {
			var uris []string
			for i := range n {
				uris = append(uris, fmt.Sprintf(`"x:%d"`, from+i))
			}
			return `{"resourceSubscriptions":[` + strings.Join(uris, ",") + `]}`
		}
		expect(t, "no filter", told(listen(t, h, "a", "7")), `"a" subscriptions/listen has no notifications`)
		const share = maxTopics / maxShare
		expect(t, "too many", told(listen(t, h, "a", many(0, share+1))), `"a" a subscription has at most 1024 topics`)
		told(listen(t, h, "a", many(0, share)))
		refused := func(owner, filter string) {
			t.Helper()
			if _, err := listenAs(t, h, owner, "x", filter); !errors.Is(err, link.ErrBusy) {
				t.Errorf("got error %v, want %v", err, link.ErrBusy)
			}
		}
		refused("somebody", tools) // others must have room
		for i := range maxShare {
			owner := fmt.Sprint("other ", i)
			for n := range maxListeners/maxShare - i/(maxShare-1) { // one is there already
				if _, err := listenAs(t, h, owner, fmt.Sprint(n), resource("x:0")); err != nil {
					t.Fatalf("%s, %d: %v", owner, n, err)
				}
			}
			if i == 0 {
				refused(owner, resource("x:0"))
			}
		}
		refused("anybody", resource("x:0"))
	})
}

// Who cancels while a process keeps others waiting leaves nothing behind.
func TestGoneWhileOthersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, &process{handle: func(*call) {}})
		listen(t, h, "a", tools)
		synctest.Wait()
		l := listen(t, h, "b", prompts).(*listener)
		l.Cancel("gone")
		began := time.Now()
		if err := h.open(t.Context(), l); err != nil || time.Since(began) != 0 {
			t.Errorf("got %v after %s, want nothing at once", err, time.Since(began))
		}
	})
}

// A process that is to log, or to tell of progress, would tell nobody.
func TestAsksForNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &process{}
		listen(t, newHub(t, p), "a", tools)
		synctest.Wait()
		if got := string(p.calls[0].request.At(p.calls[0].request.Param("_meta"))); got != "{}" {
			t.Errorf("got _meta %s", got)
		}
	})
}

// pass lets time pass on the clock of a synctest bubble.
func pass(d time.Duration) { <-time.After(d) }
