package metrics

import (
	"fmt"
	"strings"
	"testing"

	"mcpgateway/policy"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/telemetry"
)

func declaring(counters map[string]policy.Counter) *policy.Policy {
	p := rules("files", "mail")
	p.Metrics.Counters = counters
	return p
}

// order calls a tool with arguments.
func (g *gateway) order(arguments string, change func(*telemetry.Call)) {
	g.call(func(c *telemetry.Call) {
		c.Tool = "order"
		c.Request = mcp.NewRequest([]byte("1"), mcp.MethodToolsCall, []byte(`{"name":"order","arguments":`+arguments+`}`))
		if change != nil {
			change(c)
		}
	})
}

func TestDeclaredCounters(t *testing.T) {
	t.Parallel()
	counters := map[string]policy.Counter{
		"orders": {Help: "Orders.", Servers: []string{"files"}, Tools: []string{"order"}, Labels: map[string]string{"plan": "arguments.plan.name", "where": "server"}},
		"amount": {Add: "arguments.amount"},
		"ends":   {Status: "any", Labels: map[string]string{"how": "status", "by": "transport", "what": "tool", "whose": "project"}},
		"errors": {Status: "error", Servers: []string{"mail"}},
	}
	g := newGateway(t, declaring(counters))
	g.order(`{"plan":{"name":"gold"},"amount":2.5}`, nil)
	g.order(`{"plan":{"name":"gold"},"amount":1e2}`, nil)
	g.order(`{"plan":{"name":7},"amount":"3"}`, nil)
	g.order(`{"plan":"gold","amount":-1}`, nil)
	g.order(`{"plan":{"name":true},"amount":1e999}`, nil)
	g.order(`{"plan":{"name":["a"]},"amount":9007199254740993000}`, nil)
	g.order(`{"plan":{"name":"a\nb\""},"amount":null}`, nil)
	g.order(`7`, nil)
	g.order(`{"plan":{"name":"gold"}}`, func(c *telemetry.Call) { c.Status = "tool-error" })
	g.order(`{"plan":{"name":"gold"}}`, func(c *telemetry.Call) { c.Server, c.Status = "mail", "ended" })
	g.order(`{}`, func(c *telemetry.Call) { c.Method = "tools/list" })
	g.call(nil) // another tool
	orders := func(plan string, n int) string {
		return fmt.Sprintf(`mcp_gateway_custom_orders_total{plan=%q,where="files"} %d`, plan, n)
	}
	g.has(
		"# HELP mcp_gateway_custom_orders_total Orders.", "# TYPE mcp_gateway_custom_orders_total counter",
		orders("gold", 2), orders("7", 1), orders("true", 1), orders("a\nb\"", 1), orders("", 3),
		"mcp_gateway_custom_amount_total 102.5",
		`mcp_gateway_custom_skipped_total{counter="amount"} 7`,
		`mcp_gateway_custom_skipped_total{counter="orders"} 0`,
		`mcp_gateway_custom_ends_total{by="http",how="ok",what="order",whose="team"} 8`,
		`mcp_gateway_custom_ends_total{by="http",how="ended",what="order",whose="team"} 1`,
		`mcp_gateway_custom_ends_total{by="http",how="tool_error",what="order",whose="team"} 1`,
		"mcp_gateway_custom_errors_total 1",
	)
	delete(counters, "errors")
	counters["ends"] = policy.Counter{Status: "any"}
	g.calls = g.Apply(declaring(counters))
	g.call(nil)
	g.has(orders("gold", 2), "mcp_gateway_custom_ends_total 1")
	if strings.Contains(g.scrape(), "custom_errors_total") {
		t.Error("got a counter that is declared no more")
	}
}

func TestDeclaredCountersAreBounded(t *testing.T) {
	t.Parallel()
	g := newGateway(t, declaring(map[string]policy.Counter{
		"orders": {MaxSeries: 10, Labels: map[string]string{"plan": "arguments.plan", "tool": "tool"}},
		"names":  {Labels: map[string]string{"name": "arguments.plan"}},
	}))
	for i := range 1000 {
		g.order(fmt.Sprintf(`{"plan":"%d%s"}`, i, strings.Repeat("é", 100)), nil)
	}
	g.order(`{"plan":"other"}`, func(c *telemetry.Call) { c.Tool = other }) // joins the others
	if got := g.series("mcp_gateway_custom_orders_total"); got != 11 {
		t.Errorf("got %d series, want 10 and one of all others", got)
	}
	if got := g.series("mcp_gateway_custom_names_total"); got != defaultSeries+1 {
		t.Errorf("got %d series, want %d and one of all others", got, defaultSeries)
	}
	g.has(`mcp_gateway_custom_orders_total{plan="other",tool="other"} 991`)
}
