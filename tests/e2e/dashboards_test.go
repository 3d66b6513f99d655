package e2e_test

import (
	"fmt"
	"testing"

	"mcpgateway/tests/monitoring"
)

// TestDashboards has a real Prometheus scrape a gateway that is used, with the rules that
// are shipped, and runs the query of each panel.
func TestDashboards(t *testing.T) {
	t.Parallel()
	g := start(t, "projects: {acme: {quota: {calls_per_day: 1000000, cpu_seconds_per_month: 1000000}}}\n", servers(
		testserver("test", "project: acme", "instances: shared", "slo: {availability: 99, latency: 30s}")))
	prometheus := startPrometheus(t, g.addresses.Admin)
	one := asker{g, g.addresses.Key}
	queries, err := monitoring.Queries(mustRead(t, "../../packaging/grafana/dashboards.yaml"))
	if err != nil || len(queries) < 50 {
		t.Fatalf("got %d queries, %v", len(queries), err)
	}
	for _, q := range queries {
		one.http(t, "/servers/test", "tools/call", `"name":"echo","arguments":{}`)
		if q.Quiet { // whatever it has, it can be asked
			prometheus.has(t, fmt.Sprintf("count(%s) * 0 or vector(0)", q.Expr), "0")
			continue
		}
		eventually(t, q.Panel+" has data: "+q.Expr, func() bool {
			one.http(t, "/servers/test", "tools/call", `"name":"echo","arguments":{}`) // rates want more than one
			return prometheus.ask(fmt.Sprintf("count(%s) > bool 0", q.Expr)) == "1"
		})
	}
	// What is recorded is there, and nothing is wrong.
	prometheus.has(t, `count(mcp_gateway:slo_burn:rate5m{server="test"})`, "2")
	prometheus.has(t, `count(mcp_gateway:call_duration_seconds:p95_5m{server="test"}) > bool 0`, "1")
	prometheus.has(t, `count(ALERTS) or vector(0)`, "0")
}
