package metrics

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/telemetry"
)

func aimed(objective policy.Objective) *policy.Policy {
	p := rules("files")
	p.Servers["files"] = policy.Server{Project: "team", Objective: objective}
	return p
}

func TestObjectives(t *testing.T) {
	t.Parallel()
	g := newGateway(t, aimed(policy.Objective{Availability: 99, Latency: 100 * time.Millisecond, LatencyTarget: 90, Window: time.Hour}))
	for range 95 {
		g.call(nil)
	}
	status := func(status string) func(*telemetry.Call) {
		return func(c *telemetry.Call) { c.Status = status }
	}
	for range 5 {
		g.call(func(c *telemetry.Call) { c.Duration = 101 * time.Millisecond })
	}
	g.call(status("error -32602")) // served: the server said no
	g.call(status("tool-error"))
	for _, bad := range []string{"ended", "timeout", "failed", "busy", "error -32603"} {
		g.call(status(bad))
	}
	for _, none := range []string{"forbidden", "limited", "unknown", "cancelled", "unread", "unauthenticated"} {
		g.call(status(none))
	}
	g.call(func(c *telemetry.Call) { c.Transport, c.Status = "", "failed" })                       // the gateway asked
	g.call(func(c *telemetry.Call) { c.Method, c.Tool, c.Status = mcp.MethodListen, "", "ended" }) // a subscription
	g.call(func(c *telemetry.Call) { c.Method, c.Tool, c.Duration = "tools/list", "", time.Second })
	g.has(
		`mcp_gateway_slo_objective_ratio{project="team",server="files",slo="availability"} 0.99`,
		`mcp_gateway_slo_objective_ratio{project="team",server="files",slo="latency"} 0.9`,
		`mcp_gateway_slo_events_total{outcome="good",project="team",server="files",slo="availability"} 103`,
		`mcp_gateway_slo_events_total{outcome="bad",project="team",server="files",slo="availability"} 5`,
		`mcp_gateway_slo_events_total{outcome="good",project="team",server="files",slo="latency"} 97`,
		`mcp_gateway_slo_events_total{outcome="bad",project="team",server="files",slo="latency"} 5`,
	)
	of := g.servers[place{"team", "files"}].objective.Load()
	now := time.Now().Add(2 * time.Second).Unix() // calls last for a second, as they say
	for _, over := range windows() {
		if got, want := of.availability.burn(now, over.long), (5.0/108)/0.01; math.Abs(got-want) > 1e-9 {
			t.Errorf("over %s: got burn rate %v, want %v", over.name, got, want)
		}
	}
	if got, want := of.latency.remaining(now), 1-(5.0/102)/0.1; math.Abs(got-want) > 1e-9 {
		t.Errorf("got %v left of the budget of latency, want %v", got, want)
	}

	g.calls = g.Apply(aimed(policy.Objective{Availability: 99, Latency: 100 * time.Millisecond, LatencyTarget: 90, Window: time.Hour}))
	g.has(`mcp_gateway_slo_events_total{outcome="bad",project="team",server="files",slo="availability"} 5`)
	g.calls = g.Apply(aimed(policy.Objective{Availability: 95, Window: time.Hour}))
	g.has(`mcp_gateway_slo_events_total{outcome="bad",project="team",server="files",slo="availability"} 0`)
	if got := g.series("mcp_gateway_slo_objective_ratio"); got != 1 {
		t.Errorf("got %d objectives, want 1", got)
	}
	g.calls = g.Apply(rules("files"))
	if got := g.series("mcp_gateway_slo_objective_ratio"); got != 0 {
		t.Errorf("got %d objectives, want none", got)
	}
}

// What is long ago counts no more.
func TestBurnRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRecord(99.9, 2*time.Hour)
		now := func() int64 { return time.Now().Unix() }
		near := func(what string, got, want float64) {
			t.Helper()
			if math.Abs(got-want) > 1e-6 {
				t.Errorf("%s: got %v, want %v", what, got, want)
			}
		}
		near("burn without events", r.burn(now(), time.Hour), 0)
		near("budget without events", r.remaining(now()), 1)
		for range 999 {
			r.add(now(), true)
		}
		r.add(now(), false)
		near("burn at the objective", r.burn(now(), 5*time.Minute), 1)
		near("budget at the objective", r.remaining(now()), 0)
		<-time.After(10 * time.Minute)
		r.add(now(), false)
		near("5m", r.burn(now(), 5*time.Minute), 1000)
		near("30m", r.burn(now(), 30*time.Minute), 2.0/1001*1000)
		<-time.After(time.Hour)
		near("1h later, 5m", r.burn(now(), 5*time.Minute), 0)
		near("1h later, 6h", r.burn(now(), 6*time.Hour), 2.0/1001*1000)
		<-time.After(7 * time.Hour)
		near("a day later, 6h", r.burn(now(), 6*time.Hour), 0)
		near("a day later, budget", r.remaining(now()), 1)
		r.add(now(), true) // in a slot that was used
		near("a day later, good", r.burn(now(), 6*time.Hour), 0)
	})
}
