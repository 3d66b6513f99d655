package proxy

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/pins"
	"mcpgateway/proxy/proxytest"
)

func TestBadLockIsRefused(t *testing.T) {
	r := newProxy(t)
	good, _ := newPolicy(t, 1, false, "echo")
	if err := r.apply(good); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(*policy.Policy)
		want   string
	}{
		{"a lock that is no JSON", func(p *policy.Policy) { p.ToolLock = policy.ToolLock{Name: "tools.lock", Content: []byte("{")} }, "tools.lock: "},
		{"an edited lock", func(p *policy.Policy) {
			p.ToolLock = policy.ToolLock{Name: "own.lock", Content: []byte(`{"echo":{"echo":{"definition":{"name":"echo"}}}}`)}
		}, `own.lock: tool "echo" of server "echo": sha256 is not that of the definition`},
		{"a mode", func(p *policy.Policy) { p.Servers["echo"] = withPins(p.Servers["echo"], "maybe") }, `server "echo": tool_pins can't be "maybe"`},
		{"hidden text", func(p *policy.Policy) { p.HiddenText = "maybe" }, `security.hidden_text can't be "maybe"`},
	}
	for i, test := range tests {
		next, _ := newPolicy(t, uint64(i+2), false, "echo")
		test.change(&next)
		if err := r.apply(next); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
	}
	if got := r.proxy.current.Load().Policy.Generation; got != 1 {
		t.Errorf("got generation %d, want the first to stay", got)
	}
}

func withPins(s policy.Server, mode policy.PinMode) policy.Server {
	s.ToolPins = mode
	return s
}

// The operator sees what a server lists now and what of it was approved, and what
// changed since is told.
func TestOperatorSeesTools(t *testing.T) {
	var log bytes.Buffer
	r := newProxyOver(t, &proxytest.Opener{}, &log)
	first, _ := newPolicy(t, 1, false, "mirror")
	first.Servers["mirror"] = withPins(first.Servers["mirror"], policy.PinsBlock)
	if err := r.apply(first); err != nil {
		t.Fatal(err)
	}
	listing := func(want pins.Kind) pins.Listed {
		t.Helper()
		l, err := asked{r.proxy}.Listing(t.Context(), "mirror")
		if err != nil || len(l.Tools) != 1 || l.Tools[0].State != want {
			t.Fatalf("got %+v, %v, want one tool that is %s", l, err, want)
		}
		return l.Tools[0]
	}
	seen := listing(pins.New)
	entry := pins.Entry{SHA256: pins.DigestOf(seen.Definition), Approved: time.Now(), By: "root", Definition: seen.Definition}
	lock, err := json.Marshal(pins.Lock{"mirror": {seen.Name: entry}})
	if err != nil {
		t.Fatal(err)
	}
	second := first
	second.Generation, second.ToolLock.Content = 2, lock
	if err := r.apply(second); err != nil {
		t.Fatal(err)
	}
	changed := listing(pins.Changed) // it lists another definition each time
	if changed.Approved == nil || !bytes.Contains(changed.Definition, []byte("Region2")) || !bytes.Contains(changed.Approved.Definition, []byte("Region1")) {
		t.Errorf("got %s, approved %+v, want both definitions", changed.Definition, changed.Approved)
	}
	if !strings.Contains(log.String(), "kind=changed") || strings.Contains(log.String(), "kind=new") {
		t.Errorf("want the change in the log, and not what the operator saw first:\n%s", log.String())
	}
	if _, err := (asked{r.proxy}).Listing(t.Context(), "echo"); err == nil {
		t.Error("got a listing of a server that there is not, want an error")
	}
}
