package daemon_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"mcpgateway/policy"
	"mcpgateway/runtime/control"
)

// unwatched has the daemon reload when it is told to, and at no other time.
const unwatched = ", watch: false"

// of is a configuration with two servers, the first of which has an environment. Its
// servers retire soon.
func of(value, more string) string {
	const times = "timeout: 10ms, max_timeout: 10ms"
	return fmt.Sprintf("transports: {grpc: {enabled: true}, websocket: {enabled: true}, sse: {enabled: true}}\ngateway: {name: test%s}\nservers:\n  a: {command: cat, env: {KEY: %q}, %s}\n  b: {command: cat, %[3]s}\n", more, value, times)
}

// write puts a configuration in the place of the old one, as an editor does.
func (g *gateway) write(t *testing.T, config string) {
	t.Helper()
	if err := errors.Join(os.WriteFile(g.config+".new", []byte(config), 0o600), os.Rename(g.config+".new", g.config)); err != nil {
		t.Fatal(err)
	}
}

// A server has another revision when what its sandbox is made of has changed, and only
// then; and what is opened says of which it is.
func TestRevisions(t *testing.T) {
	g := start(t, of("one", unwatched))
	p, admin := g.connect(t, proxyUID), g.connect(t, 0)
	first := within(t, p.policies)
	reload := func(config string) {
		t.Helper()
		g.write(t, config)
		if err := admin.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	reload(of("two", unwatched))
	second := within(t, p.policies)
	a := func(p policy.Policy) string { return p.Servers["a"].Revision }
	if a(first) == a(second) || first.Servers["b"].Revision != second.Servers["b"].Revision {
		t.Errorf("after another value: got %+v, had %+v", second.Servers, first.Servers)
	}
	reload(of("two", unwatched))
	reload("# moved\n" + of("two", unwatched+", max_servers: 7"))
	if third := within(t, p.policies); third.Generation != 4 || a(third) != a(second) {
		t.Errorf("got generation %d with revision %s, want that nothing has come of the third, and %s", third.Generation, a(third), a(second))
	}
	for _, wanted := range []string{"", a(first), a(second)} {
		opened, err := p.Open(t.Context(), "a", wanted)
		if err != nil {
			t.Fatal(err)
		}
		opened.Close()
		if opened.Revision != a(second) {
			t.Errorf("asked for %q: got %q, want that in force, %q", wanted, opened.Revision, a(second))
		}
	}
}

// A proxy that has taken a generation gets servers of it, though the daemon has not
// heard yet that it has. It gets those of the one before, too.
func TestOpenDuringAReload(t *testing.T) {
	g := start(t, of("one", unwatched))
	conn := g.dial(t, proxyUID)
	next := func() (control.Message, []*os.File) {
		t.Helper()
		m, files, err := conn.Receive()
		if err != nil {
			t.Fatal(err)
		}
		return m, files
	}
	send := func(m control.Message) {
		t.Helper()
		if err := conn.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	send(control.Message{Kind: control.KindHello, Version: control.Version})
	next()
	generation := func() policy.Policy {
		t.Helper()
		m, files := next()
		if m.Kind != control.KindPolicy || len(files) != 1 {
			t.Fatalf("got %+v", m)
		}
		defer files[0].Close()
		return parsePolicy(t, files[0])
	}
	before := generation().Servers["a"].Revision
	g.write(t, of("two", unwatched))
	admin := g.connect(t, 0)
	reloaded := make(chan error, 1)
	go func() { reloaded <- admin.Reload(t.Context()) }()
	offered := generation()
	after := offered.Servers["a"].Revision
	for _, want := range []string{after, before} {
		send(control.Message{Kind: control.KindOpen, ID: 7, Server: "a", Revision: want})
		got, files := next()
		for got.Kind == control.KindExited { // this reload takes longer than what is out of date may live here
			got, files = next()
		}
		defer func() { // its program ends with them
			for _, f := range files {
				f.Close()
			}
		}()
		if got.Kind != control.KindOpened || got.Revision != want {
			t.Errorf("got %+v, want a sandbox of revision %s", got, want)
		}
	}
	send(control.Message{Kind: control.KindApplied, Generation: offered.Generation})
	if err := within(t, reloaded); err != nil {
		t.Fatal(err)
	}
}

// A proxy that does not end what has changed loses it after a while, and nothing else.
func TestWhatHasChangedIsEnded(t *testing.T) {
	g := start(t, of("one", ""))
	p := g.connect(t, proxyUID)
	within(t, p.policies)
	var old, same control.Opened
	for server, opened := range map[string]*control.Opened{"a": &old, "b": &same} {
		var err error
		if *opened, err = p.Open(t.Context(), server, ""); err != nil {
			t.Fatal(err)
		}
		defer opened.Close()
	}
	g.write(t, of("two", ""))
	if err := g.connect(t, 0).Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if exit := within(t, p.exits); exit.Sandbox != old.Sandbox || !exit.Stopped {
		t.Errorf("got %+v, want the end of %s", exit, old.Sandbox)
	}
	list, err := p.List(t.Context())
	if err != nil || len(list) != 1 || list[0].ID != same.Sandbox {
		t.Errorf("got %+v, %v, want %s to run on", list, err, same.Sandbox)
	}
}

// Files are watched: a change takes effect by itself, one that is no good changes
// nothing, and none does where the configuration says so.
func TestWatch(t *testing.T) {
	g := start(t, of("one", ""))
	p := g.connect(t, proxyUID)
	within(t, p.policies)
	g.write(t, of("two", ""))
	if got := within(t, p.policies); got.Generation != 2 {
		t.Errorf("got generation %d, want the second", got.Generation)
	}
	g.write(t, "nonsense")
	g.write(t, "also: nonsense\n")
	keys := filepath.Join(filepath.Dir(g.config), "keys.json")
	if err := os.WriteFile(keys, []byte(`{"keys":[{"id":"k","name":"n"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-p.policies:
		t.Errorf("got %+v of a bad file", got)
	case <-time.After(10 * watchEvery):
	}
	g.write(t, of("two", ", watch: false"))
	if got := within(t, p.policies); len(got.Keys) != 1 {
		t.Errorf("got %+v, want the key that came meanwhile", got)
	}
	g.write(t, of("three", ""))
	select {
	case got := <-p.policies:
		t.Errorf("got %+v of a file that is not watched", got)
	case <-time.After(10 * watchEvery):
	}
}
