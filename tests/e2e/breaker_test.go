package e2e_test

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestCircuitBreaker has a server crash until it is left alone, and serve when its time
// has come.
func TestCircuitBreaker(t *testing.T) {
	t.Parallel()
	g := start(t, servers(
		testserver("good"),
		testserver("frail", "circuit_breaker: {failures: 2, window: 60s, open_for: 3s}"),
		testserver("slow", "timeout: 30s", "tools: {hang: {timeout: 300ms}}", "circuit_breaker: {failures: 2, open_for: 1h}")))
	for range 2 {
		g.open(t, "frail").call(t, "exit", `{"n":7}`)
	}
	refused := g.at("frail").post(t, initialize)
	_, text := refused.rpcError(t, "0")
	if after, err := strconv.Atoi(refused.header.Get("Retry-After")); refused.status != http.StatusServiceUnavailable || err != nil || after < 1 ||
		!strings.HasPrefix(text, `server "frail" is left alone for a while because it failed again and again: server "frail" exited with status 7`) {
		t.Errorf("got status %d, Retry-After %q, %q", refused.status, refused.header.Get("Retry-After"), text)
	}
	eventually(t, "none is left, and none was started", func() bool { return len(g.instances(t, "frail")) == 0 })
	g.checkWell(t)
	eventually(t, "the server is tried again", func() bool { return g.at("frail").open(t).status == http.StatusOK })
	if got, want := g.open(t, "frail").ask(t, "echo", struct{}{}), "{}"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}

	s := g.open(t, "slow")
	for range 2 {
		if _, text := s.call(t, "hang", `{}`).rpcError(t, "1"); text != `server "slow" did not answer "tools/call" within 300ms, its limit` {
			t.Errorf("got %q", text)
		}
	}
	if a := s.call(t, "echo", `{}`); a.status != http.StatusServiceUnavailable {
		t.Errorf("got status %d, want %d: %s", a.status, http.StatusServiceUnavailable, a.message)
	}
	_, breakers, _ := strings.Cut(g.cli(t, "ps"), "\n\n")
	if !regexp.MustCompile(`(?m)^slow +identity:key:\S+ +open +2 +(59m|1h)\S+ +server "slow" did not answer`).MatchString(breakers) || strings.Contains(breakers, "good") {
		t.Errorf("mcp-gateway ps: got %q, want the breaker of the server that is left alone", breakers)
	}
	for _, want := range []string{"circuit breaker opened", "server=frail", "from=closed to=open", "from=open to=half-open", "from=half-open to=closed"} {
		if !strings.Contains(g.log.String(), want) {
			t.Errorf("got no %q in the log", want)
		}
	}
}
