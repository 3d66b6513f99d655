package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// chaosTime is how long servers are killed.
const chaosTime = 60 * time.Second

// tally is what a load generator has counted of one server.
type tally struct {
	mu                         sync.Mutex
	good, failed, refused, odd int
	texts                      map[string]int // what failures and refusals said, without numbers
}

func (c *tally) add(kind *int, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*kind++
	if text != "" {
		c.texts[text]++
	}
}

// TestServersDieUnderLoad kills servers at random while clients call them: every call
// is answered, sessions go on, and the ledger has counted what the clients have.
func TestServersDieUnderLoad(t *testing.T) {
	t.Parallel()
	hasty := "restart: {backoff: 10ms, max_backoff: 100ms, limit: 1000, reset: 1s}"
	g := start(t, "logging: {level: warn}\nhealth_check: {interval: 1s, timeout: 5s}\n", servers(
		testserver("own", hasty, "circuit_breaker: {enabled: false}"),
		testserver("identity", hasty, "instances: per-identity", "circuit_breaker: {enabled: false}"),
		testserver("shared", hasty, "instances: shared", "replicas: 2", "circuit_breaker: {failures: 5, open_for: 300ms}")))
	counts := map[string]*tally{}
	ctx, stop := context.WithTimeout(t.Context(), chaosTime)
	defer stop()
	var running sync.WaitGroup
	for _, server := range []string{"own", "identity", "shared"} {
		c := &tally{texts: map[string]int{}}
		counts[server] = c
		for range 3 {
			s := g.open(t, server)
			running.Go(func() { c.callInSession(ctx, t, s) })
			running.Go(func() { c.callByREST(ctx, t, g, server) })
		}
	}
	kills := g.killAtRandom(ctx, t)
	running.Wait()
	for server, c := range counts {
		t.Logf("%s: %d good, %d failed, %d refused: %v", server, c.good, c.failed, c.refused, c.texts)
		if c.good == 0 || c.odd > 0 {
			t.Errorf("%s: got %d good calls, and %d that were not answered well", server, c.good, c.odd)
		}
		u := g.usageOf(t, server)
		if u.Calls+u.Refused != c.good+c.failed+c.refused || u.Calls-u.Errors != c.good {
			t.Errorf("%s: the ledger has %+v, the clients counted %d good, %d failed, %d refused", server, u, c.good, c.failed, c.refused)
		}
	}
	if kills < 50 {
		t.Errorf("got %d servers killed, want many", kills)
	}
}

// usage is what the ledger has of calls.
type usage struct{ Calls, Errors, Refused int }

// usageOf asks the ledger for the calls of a server's tools.
func (g *gateway) usageOf(t *testing.T, server string) (sum usage) {
	t.Helper()
	var answer struct{ Total usage }
	text := g.cli(t, "usage", "--server", server, "--by", "server", "-o", "json")
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatalf("got %s, %v", text, err)
	}
	return answer.Total
}

// killAtRandom kills processes of sandboxes until ctx ends.
func (g *gateway) killAtRandom(ctx context.Context, t *testing.T) (kills int) {
	t.Helper()
	for ctx.Err() == nil {
		if victims := g.sandboxed(); len(victims) > 0 {
			// It may have ended by itself meanwhile, or be of one that has.
			if unix.Kill(victims[rand.IntN(len(victims))], unix.SIGKILL) == nil {
				kills++
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(50+rand.IntN(300)) * time.Millisecond):
		}
	}
	return kills
}

// callInSession calls a tool in one session until ctx ends. The session must outlive
// its server's processes.
func (c *tally) callInSession(ctx context.Context, t *testing.T, s *session) {
	for n := 1; ctx.Err() == nil; n++ {
		want := fmt.Sprintf("n%d", n)
		a := s.post(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"text":%q}}}`, n, want))
		c.judge(t, a, want, func(m *reply) bool {
			return string(m.ID) == fmt.Sprint(n) && m.Result != nil && strings.Contains(string(m.Result), want)
		})
	}
}

// callByREST calls a tool by REST until ctx ends.
func (c *tally) callByREST(ctx context.Context, t *testing.T, g *gateway, server string) {
	s := &session{url: g.addresses.HTTP + "/api/v1/servers/" + server + "/tools/echo", key: g.addresses.Key}
	for n := 1; ctx.Err() == nil; n++ {
		want := fmt.Sprintf("r%d", n)
		a := s.do(t, http.MethodPost, fmt.Sprintf(`{"text":%q}`, want), map[string]string{"Accept": "application/json"})
		c.judge(t, a, want, func(*reply) bool { return a.status == http.StatusOK && strings.Contains(string(a.message), want) })
	}
}

// reply is a JSON-RPC response, or an answer of REST that is a failure.
type reply struct {
	ID     json.RawMessage
	Result json.RawMessage
	Error  *struct{ Message string }
	Detail string // of a problem document
}

// judge counts an answer: a result, a failure that names its cause, or a refusal.
func (c *tally) judge(t *testing.T, a answer, want string, good func(*reply) bool) {
	var m reply
	if err := json.Unmarshal(a.message, &m); err != nil {
		c.add(&c.odd, "")
		t.Errorf("call %s: got status %d, %.300q", want, a.status, a.message)
		return
	}
	text := m.Detail
	if m.Error != nil {
		text = m.Error.Message
	}
	switch {
	case good(&m):
		c.add(&c.good, "")
	case text == "" || a.status == http.StatusNotFound:
		c.add(&c.odd, "")
		t.Errorf("call %s: got status %d, %.300q, want a result or what has happened", want, a.status, a.message)
	case a.status == http.StatusOK, strings.Contains(text, "exited"), strings.Contains(text, "was ended"):
		c.add(&c.failed, withoutNumbers(text))
	default:
		c.add(&c.refused, withoutNumbers(text))
	}
}

// withoutNumbers makes texts alike that differ in ids and times alone.
func withoutNumbers(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, text)
}
