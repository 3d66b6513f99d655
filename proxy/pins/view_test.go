package pins

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mcpgateway/policy"
)

const (
	good = `{"name":"a","description":"reads a file"}`
	bad  = `{"name":"a","description":"reads a file, and sends it"}`
	more = `{"name":"b"}`
)

// fixture is a registry that remembers what it reported.
type fixture struct {
	*Registry
	mu     sync.Mutex
	events []string
}

func newFixture() *fixture {
	f := &fixture{}
	f.Registry = NewRegistry(func(e Event) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.events = append(f.events, fmt.Sprintf("%s %s %s %v", e.Server, e.Tool, e.Kind, e.Blocked))
	})
	return f
}

func (f *fixture) reported() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.events, ", ")
}

func blocking(servers ...string) map[string]policy.PinMode {
	modes := map[string]policy.PinMode{}
	for _, s := range servers {
		modes[s] = policy.PinsBlock
	}
	return modes
}

func TestFilter(t *testing.T) {
	t.Parallel()
	lock := lockOf(t, "files", time.Unix(1, 0), good)
	tests := []struct {
		name, definition string
		mode             policy.PinMode
		keep             bool
		events           string
	}{
		{"approved", good, policy.PinsBlock, true, ""},
		{"changed", bad, policy.PinsBlock, false, "files a changed true"},
		{"new", more, policy.PinsBlock, false, "files b new true"},
		{"no name", `{"title":"a"}`, policy.PinsBlock, false, ""},
		{"no object", `1`, policy.PinsBlock, false, ""},
		{"changed, reported", bad, policy.PinsReport, true, "files a changed false"},
		{"new, reported", more, policy.PinsReport, true, "files b new false"},
		{"changed, off", bad, policy.PinsOff, true, ""},
		{"unknown server", bad, "", true, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture()
			v := f.View(lock, map[string]policy.PinMode{"files": test.mode})
			for range 3 {
				if got := v.Filter("files", []byte(test.definition)); got != test.keep {
					t.Errorf("got %v, want %v", got, test.keep)
				}
			}
			if got := f.reported(); got != test.events {
				t.Errorf("reported %q, want %q", got, test.events)
			}
		})
	}
}

// A server that shows the approved definition again stays blocked, under later
// generations, too, until the tool is approved after that.
func TestDifferencesStick(t *testing.T) {
	t.Parallel()
	f := newFixture()
	first := lockOf(t, "files", time.Unix(1, 0), good)
	v := f.View(first, blocking("files"))
	for i, definition := range []string{good, bad, good} {
		if got, want := v.Filter("files", []byte(definition)), i == 0; got != want {
			t.Errorf("listing %d: kept %v, want %v", i, got, want)
		}
	}
	reloaded := f.View(first, blocking("files"))
	if reloaded.Filter("files", []byte(good)) {
		t.Error("a reload without an approval unblocked the tool")
	}
	other := f.View(lockOf(t, "files", time.Unix(2, 0), bad), blocking("files"))
	if other.Filter("files", []byte(good)) || other.Judge("files", []byte(bad)) != Changed {
		t.Error("another definition than the last was approved, and the tool is not blocked")
	}
	again := f.View(lockOf(t, "files", time.Unix(3, 0), good), blocking("files"))
	if !again.Filter("files", []byte(good)) || again.Judge("files", []byte(good)) != OK {
		t.Error("the tool was approved as it was seen last, and is blocked")
	}
	if again.Filter("files", []byte(bad)) {
		t.Error("the next change is not blocked")
	}
}

func TestApprovalOfAChange(t *testing.T) {
	t.Parallel()
	f := newFixture()
	f.View(lockOf(t, "files", time.Unix(1, 0), good), blocking("files")).Filter("files", []byte(bad))
	v := f.View(lockOf(t, "files", time.Unix(2, 0), bad), blocking("files"))
	if !v.Filter("files", []byte(bad)) {
		t.Error("the change was approved, and is blocked")
	}
	if err := v.Check(t.Context(), "files", "a", listing(v, bad)); err != nil {
		t.Errorf("got %v, want no error", err)
	}
}

// listing is a server that lists definitions.
func listing(v *View, definitions ...string) func(context.Context) error {
	return func(context.Context) error {
		for _, d := range definitions {
			v.Filter("files", []byte(d))
		}
		return nil
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	down := errors.New("it is down")
	tests := []struct {
		name, tool string
		mode       policy.PinMode
		list       func(v *View) func(context.Context) error
		want       string // "": nil
		events     string
	}{
		{"approved", "a", policy.PinsBlock, func(v *View) func(context.Context) error { return listing(v, good) }, "", ""},
		{"changed", "a", policy.PinsBlock, func(v *View) func(context.Context) error { return listing(v, bad) }, "is not the one that was approved", "files a changed true"},
		{"gone", "a", policy.PinsBlock, func(v *View) func(context.Context) error { return listing(v) }, "", "files a gone false"},
		{"new", "b", policy.PinsBlock, func(v *View) func(context.Context) error { return listing(v, more) }, "is not approved", ""},
		{"not to be seen", "a", policy.PinsBlock, func(*View) func(context.Context) error { return func(context.Context) error { return down } }, "it is down", ""},
		{"changed, reported", "a", policy.PinsReport, func(v *View) func(context.Context) error { return listing(v, bad) }, "", ""},
		{"new, off", "b", policy.PinsOff, func(v *View) func(context.Context) error { return listing(v, bad) }, "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture()
			v := f.View(lockOf(t, "files", time.Unix(1, 0), good), map[string]policy.PinMode{"files": test.mode})
			for range 2 {
				err := v.Check(t.Context(), "files", test.tool, test.list(v))
				if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %q", err, test.want)
				}
				var blocked *BlockedError
				if err != nil && errors.As(err, &blocked) == errors.Is(err, down) {
					t.Errorf("got %T, want a *BlockedError but when the server is down", err)
				}
			}
			if got := f.reported(); got != test.events {
				t.Errorf("reported %q, want %q", got, test.events)
			}
		})
	}
}

func TestListingsGetOld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		lock := lockOf(t, "files", time.Unix(1, 0), good)
		v := f.View(lock, blocking("files"))
		lists := 0
		check := func(want int, when string) {
			t.Helper()
			err := v.Check(t.Context(), "files", "a", func(context.Context) error { lists++; return listing(v, good)(nil) })
			if err != nil || lists != want {
				t.Errorf("%s: got %v after %d listings, want none after %d", when, err, lists, want)
			}
		}
		check(1, "at first")
		check(1, "at once")
		<-time.After(59 * time.Second)
		check(1, "after 59 s")
		<-time.After(time.Second)
		check(2, "after a minute")
		v.Forget("files")
		check(3, "after a change")
		v = f.View(lock, blocking("files"))
		check(3, "after a reload")
		v = f.View(lockOf(t, "files", time.Unix(2, 0), good), blocking("files"))
		check(4, "after an approval")
		err := v.Check(t.Context(), "files", "a", func(context.Context) error { t.Error("listed again"); return nil })
		if err != nil {
			t.Error(err)
		}
		v.Forget("files")
		err = v.Check(t.Context(), "files", "a", func(context.Context) error { lists++; v.Forget("files"); return listing(v, good)(nil) })
		if err != nil {
			t.Error(err)
		}
		check(6, "after a change during the listing")
	})
}

func TestOneListsForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		v := f.View(lockOf(t, "files", time.Unix(1, 0), good), blocking("files"))
		lists := 0 // one at a time, or the race detector sees it
		slow := func(ctx context.Context) error {
			lists++
			select {
			case <-time.After(time.Second):
				return listing(v, good)(ctx)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		hasty, leave := context.WithCancel(t.Context())
		var callers sync.WaitGroup
		callers.Go(func() {
			if err := v.Check(hasty, "files", "a", slow); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v of who left, want that", err)
			}
		})
		synctest.Wait()
		for range 10 {
			callers.Go(func() {
				if err := v.Check(t.Context(), "files", "a", slow); err != nil {
					t.Errorf("got %v, want no error", err)
				}
			})
		}
		synctest.Wait()
		leave()
		callers.Wait()
		if lists != 2 {
			t.Errorf("got %d listings, want that of who left, and one for all others", lists)
		}
	})
}

func TestReportsAreBounded(t *testing.T) {
	t.Parallel()
	f := newFixture()
	v := f.View(Lock{}, blocking("files"))
	for i := range 3 * maxTold {
		v.Filter("files", fmt.Appendf(nil, `{"name":"%d%s"}`, i, strings.Repeat("x", 1000)))
	}
	if got := len(f.events); got != maxTold {
		t.Errorf("reported %d, want %d", got, maxTold)
	}
	o := f.server("files")
	if len(o.marks) > 0 || len(o.told) > maxTold {
		t.Errorf("remembers %d marks and %d reports", len(o.marks), len(o.told))
	}
	f.View(Lock{}, blocking("other"))
	if len(f.servers) > 1 {
		t.Errorf("remembers %d servers, want at most the one that there is", len(f.servers))
	}
}

func BenchmarkCheck(b *testing.B) {
	v := NewRegistry(func(Event) {}).View(Lock{"files": {"a": {SHA256: DigestOf([]byte(good))}}}, blocking("files"))
	for b.Loop() {
		if err := v.Check(b.Context(), "files", "a", listing(v, good)); err != nil {
			b.Fatal(err)
		}
	}
}
