package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mcpgateway/proxy/mcp"
)

func TestToolIsRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, a := newLists(t), &fake{answers: map[string]string{mcp.MethodToolsList: `{"tools":[{"name":"x","d":1e3}]}`}}
		tool := func(owner, name string, fresh bool, want string, requests int) {
			t.Helper()
			got, err := l.Tool(t.Context(), owner, Member{"a", a}, name, fresh)
			if string(got) != want || err != nil || a.calls(mcp.MethodToolsList) != requests {
				t.Errorf("got %s, %v after %d requests, want %s after %d", got, err, a.calls(mcp.MethodToolsList), want, requests)
			}
		}
		tool("key:a", "x", false, `{"name":"x","d":1e3}`, 1)
		tool("key:a", "y", false, "", 1)
		tool("key:a", "y", true, "", 2)
		tool("key:b", "x", false, `{"name":"x","d":1e3}`, 3) // nobody gets what another was told
		later(l.keep)
		tool("key:a", "x", false, `{"name":"x","d":1e3}`, 4)
		l.Forget("key:a", "b")
		tool("key:a", "x", false, `{"name":"x","d":1e3}`, 4)
		l.Forget("key:a", "a")
		tool("key:a", "x", false, `{"name":"x","d":1e3}`, 5)
		if got, want := string(a.last().request.Params()), `{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}`; got != want {
			t.Errorf("got params %s, want %s", got, want)
		}
	})
}

func TestToolOfAServerThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, a := newLists(t), withTools("x")
		if _, err := l.Tool(t.Context(), "o", Member{"a", &fake{fail: errDead}}, "x", false); !errors.Is(err, errDead) {
			t.Errorf("got error %v, want the server's", err)
		}
		if got, err := l.Tool(t.Context(), "o", Member{"none", &fake{}}, "x", false); got != nil || err != nil {
			t.Errorf("got %s, %v of a server without tools", got, err)
		}
		if _, err := l.Tool(t.Context(), "o", Member{"a", a}, "x", false); err != nil {
			t.Fatal(err)
		}
		a.fail = errDead
		if got, err := l.Tool(t.Context(), "o", Member{"a", a}, "x", true); got != nil || !errors.Is(err, errDead) {
			t.Errorf("got %s, %v, want no old definition for a new one", got, err)
		}
	})
}

// The server's word on how long its list holds goes beyond the default.
func TestListingServesAsLongAsItsServerSays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, a := newLists(t), &fake{answers: map[string]string{mcp.MethodToolsList: `{"tools":[{"name":"x"}],"ttlMs":3600000}`}}
		for range 3 {
			if got, err := l.Tool(t.Context(), "o", Member{"a", a}, "x", false); got == nil || err != nil {
				t.Errorf("got %s, %v", got, err)
			}
			later(time.Hour - time.Second)
		}
		if got := a.calls(mcp.MethodToolsList); got != 2 {
			t.Errorf("got %d requests in two hours, want 2", got)
		}
		for range 2 {
			if _, err := l.Tool(t.Context(), "o", Member{"a", a}, "x", true); err != nil {
				t.Error(err)
			}
		}
		if got := a.calls(mcp.MethodToolsList); got != 4 {
			t.Errorf("got %d requests, want one for each that must be fresh", got)
		}
	})
}

func TestAskersShareOneRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, a := newLists(t), withTools("x")
		a.hold = map[string]chan struct{}{mcp.MethodToolsList: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		var asking sync.WaitGroup
		for i := range 10 {
			asking.Go(func() {
				own := t.Context()
				if i == 0 { // one who goes takes nothing from the others
					own = ctx
				}
				got, err := l.Tool(own, "o", Member{"a", a}, "x", true)
				if i == 0 && !errors.Is(err, context.Canceled) || i > 0 && (got == nil || err != nil) {
					t.Errorf("asker %d got %s, %v", i, got, err)
				}
			})
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(a.hold[mcp.MethodToolsList])
		asking.Wait()
		if got := a.calls(mcp.MethodToolsList); got != 1 || a.reasons() != "" {
			t.Errorf("got %d requests, cancelled %q, want one that was not", got, a.reasons())
		}
	})
}

func TestRequestEndsWithItsLastAsker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, a := newLists(t), withTools("x")
		a.hold = map[string]chan struct{}{mcp.MethodToolsList: make(chan struct{})}
		c := New([]Member{{"a", a}}, l, "o", "")
		call, err := c.Do(t.Context(), request(mcp.MethodToolsList, `{}`))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		call.Cancel("enough")
		<-call.Ready()
		if got := errorOf(call.Take()[0]); got != "-32603 the request was cancelled: enough" {
			t.Errorf("got %s", got)
		}
		start := time.Now()
		l.flights.Wait()
		if a.reasons() == "" || time.Since(start) != 0 {
			t.Errorf("the request ended after %s, cancelled %q, want at once", time.Since(start), a.reasons())
		}
		a.hold = nil
		if got, err := l.Tool(t.Context(), "o", Member{"a", a}, "x", false); got == nil || err != nil {
			t.Errorf("got %s, %v after it, want a new request", got, err)
		}
	})
}

// A call does not end with the context that it was made under.
func TestListOutlivesItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := withTools("x")
		held := make(chan struct{})
		a.hold = map[string]chan struct{}{mcp.MethodToolsList: held}
		ctx, cancel := context.WithCancel(t.Context())
		call, err := newCatalog(t, map[string]*fake{"a": a}).Do(ctx, request(mcp.MethodToolsList, `{}`))
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		synctest.Wait()
		close(held)
		<-call.Ready()
		if got := keysOf(call.Take()[0], tools); got != "a__x" {
			t.Errorf("got %s, want the list", got)
		}
	})
}

// Who asks while a cancelled request is still ending must not share its end.
func TestRequestAfterACancelledOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLists(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			_, err := l.Tool(ctx, "o", Member{"a", &fake{stuck: true, lingers: l.wait}}, "x", false)
			ended <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v", err)
		}
		for range 2 { // and what it ends with must not count
			if got, err := l.Tool(t.Context(), "o", Member{"a", withTools("x")}, "x", false); got == nil || err != nil {
				t.Errorf("got %s, %v", got, err)
			}
			l.flights.Wait()
		}
		if l.entries[key{"o", "a", tools}].Value.(*entry).late {
			t.Error("the cancelled request counts as a late answer")
		}
	})
}

func TestRequestThatNobodyWaitsForIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, a := newLists(t), withTools("x")
		a.hold = map[string]chan struct{}{mcp.MethodToolsList: make(chan struct{})}
		start := time.Now()
		_, err := l.Tool(t.Context(), "o", Member{"a", a}, "x", false)
		if err == nil || time.Since(start) != l.wait {
			t.Errorf("got error %v after %s, want one after %s", err, time.Since(start), l.wait)
		}
		l.flights.Wait()
		if got := time.Since(start); got != l.patience || a.reasons() == "" {
			t.Errorf("the request ended after %s, cancelled %q, want %s", got, a.reasons(), l.patience)
		}
	})
}

// What was under way when the list changed may be older than the change.
func TestForgottenWhileAskedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, a := newLists(t), withTools("old")
		held := make(chan struct{})
		a.hold = map[string]chan struct{}{mcp.MethodToolsList: held}
		var asking sync.WaitGroup
		asking.Go(func() {
			if got, err := l.Tool(t.Context(), "o", Member{"a", a}, "old", false); got == nil || err != nil {
				t.Errorf("got %s, %v, want what was asked for", got, err)
			}
		})
		synctest.Wait()
		l.Forget("o", "a")
		a.hold = nil
		a.answers[mcp.MethodToolsList] = listOf(tools, "new")
		find := func() {
			t.Helper()
			if got, err := l.Tool(t.Context(), "o", Member{"a", a}, "new", false); got == nil || err != nil {
				t.Errorf("got %s, %v, want the new one", got, err)
			}
		}
		find()
		close(held)
		asking.Wait()
		find()
		l.Forget("o", "a")
		if l.bytes != 0 {
			t.Errorf("got %d bytes of nothing", l.bytes)
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	l := unhurried()
	big := &fake{answers: map[string]string{mcp.MethodToolsList: fmt.Sprintf(`{"tools":[{"name":"x","d":%q}]}`, strings.Repeat("d", maxListBytes-1000))}}
	const owners = maxRememberedBytes/maxListBytes + 3
	for i := range owners {
		for _, owner := range []string{fmt.Sprint(i), "1"} { // owner 1 asks again and again
			if _, err := l.Tool(t.Context(), owner, Member{"a", big}, "x", owner != "1"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := l.Tool(t.Context(), "1", Member{"a", big}, "x", true); err != nil {
		t.Fatal(err)
	}
	if got := big.calls(mcp.MethodToolsList); got != owners+1 {
		t.Errorf("got %d requests, want the list of who asks often to stay", got)
	}
	if l.bytes > maxRememberedBytes || l.bytes < maxRememberedBytes-maxListBytes {
		t.Errorf("got %d bytes, want at most %d", l.bytes, maxRememberedBytes)
	}
	for owner, want := range map[string]bool{"0": false, "1": true, "2": false, fmt.Sprint(owners - 1): true, fmt.Sprint(owners - 2): true} {
		if got := l.remembered(owner, "a", tools) != nil; got != want {
			t.Errorf("owner %s: remembered %v, want %v", owner, got, want)
		}
	}
	small := withTools("x")
	for i := range maxRemembered + 10 {
		if _, err := l.Tool(t.Context(), fmt.Sprint("small", i), Member{"a", small}, "x", false); err != nil {
			t.Fatal(err)
		}
	}
	if l.bytes < maxRemembered*itemBytes {
		t.Errorf("got %d bytes, want what the items take counted", l.bytes)
	}
	if len(l.entries) != maxRemembered || l.recent.Len() != maxRemembered {
		t.Errorf("got %d entries, want %d", len(l.entries), maxRemembered)
	}
	for i := range maxRemembered + 10 {
		l.Forget(fmt.Sprint("small", i), "a")
	}
	if l.bytes != 0 || len(l.entries) != 0 {
		t.Errorf("got %d bytes in %d entries after all was forgotten", l.bytes, len(l.entries))
	}
}

// Whatever a server writes, it is listed or refused, and its names lead back.
func FuzzListing(f *testing.F) {
	f.Add(`{"tools":[{"name":"x"},{"name":"\ud800"},{"name":5},7,{"x":{"name":"y"}}],"ttlMs":5,"nextCursor":"1"}`)
	f.Add(`{"tools":null}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, result string) {
		page, err := mcp.Parse([]byte(`{"jsonrpc":"2.0","id":1,"result":` + result + `}`))
		if err != nil || page.Kind() != mcp.Response {
			return
		}
		q := question{member: Member{Name: "a.b"}, kind: tools}
		if q.check(page) != nil {
			return
		}
		l := &listing{index: map[string]int{}, ttl: -1}
		l.add(q, page)
		c := New([]Member{q.member}, NewLists(), "", "")
		merged, err := mcp.Parse([]byte(`{"jsonrpc":"2.0","id":1,"result":` + string(c.page(tools, []answer{{q.member, l, nil}}, position{})) + `}`))
		if err != nil {
			t.Fatalf("the merged list is no message: %v", err)
		}
		count := 0
		for raw := range mcp.Elements(merged.At(merged.InResult("tools"))) {
			at := mcp.Find(raw, "name")
			name, _ := mcp.TextOf(raw[at.Start:at.End])
			if _, own := find([]answer{{q.member, l, nil}}, name); own == nil {
				t.Errorf("%q leads nowhere", name)
			}
			count++
		}
		if count != len(l.items) {
			t.Errorf("got %d of %d", count, len(l.items))
		}
	})
}
