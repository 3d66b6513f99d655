package gate

import (
	"net/http"
	"strings"
	"testing"

	"mcpgateway/policy"
	"mcpgateway/policy/authn"
	"mcpgateway/policy/ratelimit"
	"mcpgateway/proxy/proxytest"
)

// Whoever can reach the gateway must not be able to push what others did out of the
// audit log with what they are refused.
func TestFloodsAreBoundedInTheAuditLog(t *testing.T) {
	const many = 3000
	g, _ := newGate(t)
	written := recorded(t, g)
	c := &Current{Gate: g, Auth: proxytest.Authenticator(t, nil), Floods: NewFloods()}
	for name, header := range map[string]http.Header{
		"none was sent": {}, "a wrong one": {"X-Api-Key": {"mcpgw_0123456789ab_" + strings.Repeat("A", 43)}},
	} {
		for range many {
			if _, err := c.Admit(t.Context(), Arrival{Request: authn.Request{Transport: "http", Header: header}}); err == nil {
				t.Fatalf("%s: was let in", name)
			}
		}
	}
	limited := &policy.Policy{Limits: policy.Limits{PerIdentity: policy.Quota{Rate: &policy.Rate{PerSecond: 0.001, Burst: 1}}}}
	g.rules.Limits = ratelimit.New().With(limited)
	for range many {
		_, _ = g.Do(t.Context(), Request{Caller: caller("key:a"), Scope: on("nothing"), Message: initialize()})
	}
	eventually(t, "all is written", func() bool { return strings.Contains(written(), "this caller may have") })
	failed, denied := strings.Count(written(), `"event":"auth-failed"`), strings.Count(written(), `"status":"limited"`)
	if failed < 600 || failed > 600+many/10 || denied < 2 || denied > 100+many/10 {
		t.Errorf("got %d records of strangers and %d of who does too much, want about 600 and at least one, but few", failed, denied)
	}
}

// A definition that is asked for anew is a request: headers that fit no tool would else
// have a server list its tools as often as their sender likes.
func TestFreshDefinitionsAreLimited(t *testing.T) {
	g, _ := newGate(t)
	g.rules.Limits = ratelimit.New().With(&policy.Policy{Limits: policy.Limits{PerIdentity: policy.Quota{Rate: &policy.Rate{PerSecond: 0.001, Burst: 2}}}})
	for i := range 4 {
		_, err := g.Tool(t.Context(), caller("key:a"), on("echo"), "echo", true)
		if limited(err) != (i >= 2) {
			t.Errorf("got %v of number %d", err, i+1)
		}
	}
	if definition, err := g.Tool(t.Context(), caller("key:a"), on("echo"), "echo", false); definition == nil || err != nil {
		t.Errorf("got %s, %v of what is remembered", definition, err)
	}
}

// What was left out is counted in the next record.
func TestFloodCounts(t *testing.T) {
	t.Parallel()
	f := newFlood(0.001, 1)
	if n, tell := f.tell(); n != 0 || !tell {
		t.Errorf("got %d, %t of the first", n, tell)
	}
	for range 3 {
		if _, tell := f.tell(); tell {
			t.Error("got told")
		}
	}
	f.limit.SetBurst(2)
	f.limit.SetLimit(1e9)
	if n, tell := f.tell(); n != 3 || !tell || likeIt(n) != " (and 3 like it since the last such record)" {
		t.Errorf("got %d, %t", n, tell)
	}
	var none *flood
	if n, tell := none.tell(); n != 0 || !tell || likeIt(n) != "" {
		t.Errorf("got %d, %t of no bound", n, tell)
	}
}
