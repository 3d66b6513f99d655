package daemon_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"mcpgateway/policy"
	"mcpgateway/runtime/control"
)

// What runs has a name that says whether two servers run the same, and nothing
// else: arguments hold secrets, which must not be tried out against it.
func TestPrograms(t *testing.T) {
	config := `servers:
  a: {command: cat, args: [-u, "1234"], env: {KEY: one}, timeout: 2s}
  b: {command: cat, args: [-u, "1234"], env: {KEY: two}, instances: shared, replicas: 2, strategy: round-robin, warm: 1, max_timeout: 3m}
  c: {command: cat, args: [-u, "1235"]}
  d: {command: cat, args: ["-u 1234"]}
  e: {command: "false", args: [-u, "1234"]}
`
	g := start(t, config)
	first := within(t, g.connect(t, proxyUID).policies)
	name := func(server string) string { return first.Servers[server].Program }
	if name("a") != name("b") || len(name("a")) != 64 {
		t.Errorf("one program: got %q and %q, want one name", name("a"), name("b"))
	}
	for _, other := range []string{"c", "d", "e"} {
		if name(other) == name("a") {
			t.Errorf("%s: got the name of another program", other)
		}
	}
	document, err := json.Marshal(first)
	if err != nil || strings.Contains(string(document), "1234") || strings.Contains(string(document), `"cat"`) {
		t.Errorf("the proxy was told a command: %s, %v", document, err)
	}
	want := policy.Server{
		Project: "default", Program: name("b"), Revision: first.Servers["b"].Revision, Instances: policy.InstancesShared, Replicas: 2, Strategy: policy.StrategyRoundRobin, Warm: 1,
		Timeout: time.Minute, MaxTimeout: 3 * time.Minute, IdleTimeout: 10 * time.Minute, FreezeAfter: time.Minute, ReclaimAfter: 5 * time.Minute,
	}
	got := first.Servers["b"]
	want.ToolPins, want.Quota, want.Breaker, want.Retry, want.Tools = got.ToolPins, got.Quota, got.Breaker, got.Retry, got.Tools
	want.OnCrash, want.Restart = got.OnCrash, got.Restart // config's tests see to them
	if !reflect.DeepEqual(got, want) {
		t.Errorf("b: got %+v, want %+v", got, want)
	}
	if got := first.Servers["a"]; got.Replicas != 1 || got.Strategy != policy.StrategyLeastBusy || got.MaxTimeout != 20*time.Second {
		t.Errorf("a: got %+v, want the defaults", got)
	}

	if err := os.WriteFile(g.config, []byte("gateway: {name: other}\n"+config), 0o600); err != nil {
		t.Fatal(err)
	}
	admin := g.connect(t, 0)
	if err := admin.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := within(t, g.connect(t, proxyUID).policies)
	if got := second.Servers["a"].Program; got != name("a") {
		t.Errorf("after a reload: got %q, want the same name, %q", got, name("a"))
	}
	other := startIn(t, folder(t)+"-other", config)
	if got := within(t, other.connect(t, proxyUID).policies).Servers["a"].Program; got == name("a") {
		t.Error("another daemon gives the same name: somebody could try what the arguments are")
	}
}

// A renewed certificate is picked up, and what listens stays.
func TestReloadOfTransports(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	put := func(text string) {
		t.Helper()
		if err := errors.Join(os.WriteFile(cert, []byte("certificate "+text), 0o600), os.WriteFile(key, []byte("key "+text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	put("one")
	tls := "{cert_file: " + cert + ", key_file: " + key + "}"
	config := "transports: {http: {tls: " + tls + ", allowed_hosts: [a]}, grpc: {enabled: true, tls: " + tls + "}, websocket: {enabled: true}, sse: {enabled: true, port: 9}}"
	g := start(t, config)
	p := g.connect(t, proxyUID)
	got := within(t, p.policies)
	want := &policy.TLS{Certificate: []byte("certificate one"), Key: []byte("key one")}
	if !reflect.DeepEqual(got.HTTP.TLS, want) || !reflect.DeepEqual(got.GRPC.TLS, want) {
		t.Errorf("TLS: got %+v and %+v, want that of the files", got.HTTP.TLS, got.GRPC.TLS)
	}
	slices.Sort(got.Transports)
	if !slices.Equal(got.Transports, []string{"grpc", "http", "sse", "websocket"}) {
		t.Errorf("transports: got %q, want all four", got.Transports)
	}
	if !got.HTTP.WebSocket || got.HTTP.SSE {
		t.Errorf("on HTTP's listener: got WebSocket %v and HTTP+SSE %v, want WebSocket alone", got.HTTP.WebSocket, got.HTTP.SSE)
	}

	admin := g.connect(t, 0)
	put("two")
	if err := admin.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := within(t, p.policies).HTTP.TLS; string(got.Certificate) != "certificate two" || string(got.Key) != "key two" {
		t.Errorf("after a renewal: got %+v", got)
	}
	for _, change := range [][2]string{{"port: 9", "port: 10"}, {"grpc: {enabled: true", "grpc: {enabled: false"}, {"websocket: {enabled: true", "websocket: {enabled: true, port: 8"}} {
		changed := strings.Replace(config, change[0], change[1], 1)
		if err := os.WriteFile(g.config, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := admin.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "restart") {
			t.Errorf("%s: got %v, want that it needs a restart", change[1], err)
		}
	}
	// HTTP's listener serves one more or less at once.
	if err := os.WriteFile(g.config, []byte(strings.Replace(config, "websocket: {enabled: true", "websocket: {enabled: false", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := admin.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := within(t, p.policies); got.HTTP.WebSocket || len(got.Transports) != 3 {
		t.Error("WebSocket is on after it was turned off")
	}
}

func parsePolicy(t *testing.T, file *os.File) (got policy.Policy) {
	t.Helper()
	document, err := control.ReadSealed(file)
	if err == nil {
		err = json.Unmarshal(document, &got)
	}
	if err != nil {
		t.Fatal(err)
	}
	return got
}
