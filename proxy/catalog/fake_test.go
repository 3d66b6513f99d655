package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// fake is a server whose answers a test says.
type fake struct {
	answers map[string]string        // by method; a raw result, or an error if it begins with "!"
	hold    map[string]chan struct{} // by method; the answer waits until it is closed
	fail    error                    // of Do
	stuck   bool                     // Do waits for its context
	lingers time.Duration            // and then as long again

	mu        sync.Mutex
	got       []mcp.Message
	cancelled []string // reasons
	open      []*fakeCall
}

type fakeCall struct {
	*link.Queue
	server  *fake
	request mcp.Message
	done    chan struct{}
	once    sync.Once
}

func (f *fake) Do(ctx context.Context, request mcp.Message) (link.Call, error) {
	f.mu.Lock()
	f.got = append(f.got, request)
	fail := f.fail
	answer, ok := f.answers[request.Method()]
	hold := f.hold[request.Method()]
	call := &fakeCall{Queue: link.NewQueue(), server: f, request: request, done: make(chan struct{})}
	f.open = append(f.open, call)
	f.mu.Unlock()
	if f.stuck {
		<-ctx.Done()
		later(f.lingers)
		return nil, context.Cause(ctx)
	}
	if fail != nil {
		return nil, fail
	}
	switch {
	case hold != nil:
		go func() {
			select {
			case <-hold:
				call.answer(answer)
			case <-call.done:
			}
		}()
	case ok:
		call.answer(pageOf(answer, request))
	case request.Method() == mcp.MethodListen: // stays open
	default:
		call.answer("!-32601 no such method")
	}
	return call, nil
}

// pageOf chooses among pages, which are separated by "|": the cursor of the second
// is "1".
func pageOf(answer string, request mcp.Message) string {
	pages := strings.Split(answer, "|")
	cursor, _ := request.Text(request.Param("cursor"))
	var i int
	fmt.Sscan(cursor, &i)
	return pages[i]
}

func (c *fakeCall) answer(text string) {
	c.once.Do(func() {
		close(c.done)
		if code, message, ok := strings.Cut(strings.TrimPrefix(text, "!"), " "); ok && text[0] == '!' {
			var n int
			fmt.Sscan(code, &n)
			c.Force(mcp.NewError(c.request.ID(), n, message, nil))
			return
		}
		c.Force(parsed(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, c.request.ID(), text)))
	})
}

func (c *fakeCall) Cancel(reason string) {
	c.server.mu.Lock()
	c.server.cancelled = append(c.server.cancelled, reason)
	c.server.mu.Unlock()
	c.answer("!-32603 the request was cancelled: " + reason)
}

func (c *fakeCall) Detach() {}

// calls is how many requests of a method came.
func (f *fake) calls(method string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.got {
		if m.Method() == method {
			n++
		}
	}
	return n
}

// last is the newest call.
func (f *fake) last() *fakeCall {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.open[len(f.open)-1]
}

func (f *fake) reasons() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.cancelled, "|")
}

func parsed(text string) mcp.Message {
	m, err := mcp.Parse([]byte(text))
	if err != nil {
		panic(fmt.Sprintf("%v: %s", err, text))
	}
	return m
}

// listOf is a result with items that have nothing but a key.
func listOf(k kind, keys ...string) string {
	shape := k.shape()
	var items []string
	for _, key := range keys {
		items = append(items, fmt.Sprintf(`{%q:%s}`, shape.key, mcp.Quote(key)))
	}
	return fmt.Sprintf(`{"resultType":"complete",%q:[%s]}`, shape.array, strings.Join(items, ","))
}

func withTools(names ...string) *fake {
	return &fake{answers: map[string]string{
		mcp.MethodToolsList: listOf(tools, names...),
		mcp.MethodToolsCall: `{"resultType":"complete","content":[]}`,
	}}
}

func members(servers map[string]*fake) []Member {
	var list []Member
	for name, server := range servers {
		list = append(list, Member{name, server})
	}
	return list
}

// newLists returns a memory that waits in the time of a synctest bubble.
func newLists(t *testing.T) *Lists {
	lists := NewLists()
	t.Cleanup(lists.flights.Wait)
	return lists
}

// unhurried returns one that waits however long it takes, for tests in real time.
func unhurried() *Lists {
	lists := NewLists()
	lists.wait, lists.patience = time.Hour, time.Hour
	return lists
}

func newCatalog(t *testing.T, servers map[string]*fake) *Catalog {
	t.Helper()
	return New(members(servers), newLists(t), "key:a", "gateway")
}

func unhurriedCatalog(servers map[string]*fake) *Catalog {
	return New(members(servers), unhurried(), "key:a", "gateway")
}

func request(method, params string) mcp.Message {
	return parsed(fmt.Sprintf(`{"jsonrpc":"2.0","id":"r","method":%q,"params":%s}`, method, params))
}

// answerOf is the response to a request.
func answerOf(t *testing.T, c *Catalog, r mcp.Message) mcp.Message {
	t.Helper()
	call, err := c.Do(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	response, err := link.Await(t.Context(), call)
	if err != nil {
		t.Fatal(err)
	}
	if string(response.ID()) != `"r"` {
		t.Errorf("got id %s, want the caller's", response.ID())
	}
	return response
}

// keysOf lists the keys of a merged list, and then the cursor if there is one.
func keysOf(response mcp.Message, k kind) string {
	var keys []string
	for raw := range mcp.Elements(response.At(response.InResult(k.shape().array))) {
		at := mcp.Find(raw, k.shape().key)
		key, _ := mcp.TextOf(raw[at.Start:at.End])
		keys = append(keys, key)
	}
	if !response.InResult("nextCursor").Empty() {
		keys = append(keys, "…")
	}
	return strings.Join(keys, " ")
}

func unavailableIn(response mcp.Message) string {
	return string(response.At(response.InResult("_meta", MetaUnavailable)))
}

func errorOf(response mcp.Message) string {
	text, _ := response.Text(response.InError("message"))
	return fmt.Sprintf("%s %s", response.At(response.InError("code")), text)
}

var errDead = errors.New(`server "x" exited with status 3`)

// later lets the time of a synctest bubble pass.
func later(d time.Duration) { <-time.After(d) }
