package e2e_test

import (
	"crypto/rand"
	"strings"
	"testing"
)

// TestSecrets gives a server a secret and looks for it wherever else it could be.
func TestSecrets(t *testing.T) {
	fromHost, written := rand.Text(), rand.Text()
	t.Setenv("E2E_SECRET", fromHost)
	g := start(t, servers(testserver("holder", "eager: true", "redact: false", "env: {API_KEY: \"${E2E_SECRET}\", OTHER: "+written+"}"),
		testserver("other")))
	s := g.open(t, "holder")
	inside := s.ask(t, "env", struct{}{})
	for _, want := range []string{"API_KEY=" + fromHost, "OTHER=" + written} {
		if !strings.Contains(inside, want+"\n") {
			t.Fatalf("the server's environment: got %q, without what it must have", inside)
		}
	}
	s.call(t, "crash", `{}`).rpcError(t, "1")
	s.id = ""
	eventually(t, "the end of the server is logged", func() bool { return strings.Contains(g.log.String(), "server ended") })
	places := map[string]string{
		"the log":                 g.log.String(),
		"the welcome":             g.out.String(),
		"mcp-gateway ps":          g.cli(t, "ps"),
		"the proxy's environment": procFile(g.proxy, "environ"),
		"another server":          g.open(t, "other").ask(t, "env", struct{}{}),
		"the stored keys":         string(mustRead(t, g.state()+"/keys.json")),
	}
	for _, pid := range g.all() {
		places["the command line "+procFile(pid, "cmdline")] = procFile(pid, "cmdline")
	}
	if !strings.Contains(places["the proxy's environment"], "LISTEN_FDS") {
		t.Error("the proxy's environment could not be read")
	}
	for place, text := range places {
		for _, secret := range []string{fromHost, written} {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows a server's secret: %q", place, text)
			}
		}
	}
}
