package metrics

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"mcpgateway/policy"
	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/breaker"
	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/health"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/quota"
	"mcpgateway/proxy/telemetry"
	"mcpgateway/proxy/usage"
	"mcpgateway/runtime/control"
)

// still is a source whose answers do not change.
type still struct{}

func (still) Connected() bool             { return true }
func (still) Sessions() int               { return 2 }
func (still) Connections() map[string]int { return map[string]int{"http": 3} }
func (still) LostRecords() uint64         { return 4 }
func (still) Ledger() usage.Stats         { return usage.Stats{Pending: 8, Failures: 9} }

func (still) Quotas() []quota.State {
	return []quota.State{{Project: "team", Quota: quota.CallsPerDay, Limit: 10, Used: 4, Known: true}, {Project: "new", Quota: quota.CallsPerDay, Limit: 10}}
}

func (still) HealthChecks() []health.Count {
	return []health.Count{{Server: "files", OK: 8, Failed: 1}}
}
func (still) Waiting() map[string]int { return map[string]int{"files": 5, "gone": 5} }

func (still) Running() []backend.Running {
	return []backend.Running{
		{Project: "team", Server: "files", Sandbox: "files-1", State: backend.Serving, Queued: 6},
		{Project: "team", Server: "files", Sandbox: "files-2", State: backend.Serving},
		{Project: "team", Server: "files", Sandbox: "files-3", State: backend.Starting},
		{Project: "team", Server: "files", Sandbox: "files-4", State: backend.Spare},
		{Project: "team", Server: "gone", Sandbox: "gone-1", State: backend.Draining},
	}
}

func (still) Rows() []breaker.Row {
	return []breaker.Row{{Place: breaker.Place{Server: "files", Instance: "replica:0"}, Loop: true}, {Place: breaker.Place{Server: "files", Instance: "replica:1"}}}
}

func (still) States() []fleet.State {
	at := func(instance, state string) fleet.State {
		return fleet.State{State: breaker.State{Place: breaker.Place{Server: "files", Instance: instance}, State: state}}
	}
	return []fleet.State{at("replica:0", "open"), at("replica:0", "open"), at("replica:1", "half-open"), at("replica:2", breaker.Closed)}
}

// gateway is metrics under a policy.
type gateway struct {
	*Metrics
	t     *testing.T
	calls telemetry.Observer
}

func rules(servers ...string) *policy.Policy {
	p := &policy.Policy{Generation: 7, Metrics: policy.Metrics{Enabled: true}, Servers: map[string]policy.Server{}}
	for _, name := range servers {
		p.Servers[name] = policy.Server{Project: "team"}
	}
	return p
}

func newGateway(t *testing.T, p *policy.Policy) *gateway {
	t.Helper()
	g := &gateway{New(still{}, slog.New(slog.NewTextHandler(t.Output(), nil))), t, nil}
	g.calls = g.Apply(p)
	return g
}

// call is one that has ended.
func (g *gateway) call(change func(*telemetry.Call)) {
	c := &telemetry.Call{
		Transport: "http", Project: "team", Server: "files", Method: mcp.MethodToolsCall, Tool: "read", Started: time.Now(), BytesIn: 10,
		Request:  mcp.NewRequest([]byte("1"), mcp.MethodToolsCall, []byte(`{"name":"read"}`)),
		Revision: mcp.Revision2025November,
	}
	c.Status, c.BytesOut, c.Duration, c.Passed = "ok", 20, 20*time.Millisecond, c.Started.Add(5*time.Millisecond)
	if change != nil {
		change(c)
	}
	g.calls.End(g.calls.Begin(context.Background(), c), c)
}

// scrape is what Prometheus gets, as text.
func (g *gateway) scrape() string {
	g.t.Helper()
	w := httptest.NewRecorder()
	g.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		g.t.Fatalf("got status %d: %s", w.Code, w.Body)
	}
	text, err := io.ReadAll(w.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return string(text)
}

// has wants lines to be in what is scraped.
func (g *gateway) has(want ...string) {
	g.t.Helper()
	text := g.scrape()
	lines := "\n" + text
	for _, line := range want {
		if !strings.Contains(lines, "\n"+line+"\n") {
			name, _, _ := strings.Cut(line, "{")
			g.t.Errorf("got no line %s; there are:\n%s", line, about(text, name))
		}
	}
}

func about(text, name string) string {
	var found strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, name) {
			found.WriteString(line)
		}
	}
	return found.String()
}

// series is how many lines begin with a name.
func (g *gateway) series(name string) int {
	g.t.Helper()
	return strings.Count("\n"+g.scrape(), "\n"+name+"{")
}

func TestCalls(t *testing.T) {
	t.Parallel()
	g := newGateway(t, rules("files"))
	g.call(nil)
	g.call(nil)
	g.call(func(c *telemetry.Call) { c.Status, c.Duration = "error -32603", 3*time.Second })
	g.call(func(c *telemetry.Call) { c.Status, c.Refused, c.Passed = "limited", true, time.Time{} })
	g.call(func(c *telemetry.Call) { c.Method, c.Tool, c.Status = "tools/list", "", "ok" })
	g.call(func(c *telemetry.Call) { c.Method, c.Tool, c.Status = "made/up", "", "error -32601" })
	g.call(func(c *telemetry.Call) { c.Method, c.Tool, c.Status = mcp.MethodListen, "", "cancelled" })
	g.call(func(c *telemetry.Call) { c.Server, c.Method, c.Tool = "", mcp.MethodInitialize, "" })
	g.calls.Begin(context.Background(), &telemetry.Call{Project: "team", Server: "files"})
	g.has(
		`mcp_gateway_calls_total{method="tools/call",project="team",server="files",status="ok",tool="read"} 2`,
		`mcp_gateway_calls_total{method="tools/call",project="team",server="files",status="error",tool="read"} 1`,
		`mcp_gateway_calls_total{method="tools/call",project="team",server="files",status="limited",tool="read"} 1`,
		`mcp_gateway_calls_total{method="tools/list",project="team",server="files",status="ok",tool=""} 1`,
		`mcp_gateway_calls_total{method="other",project="team",server="files",status="error",tool=""} 1`,
		`mcp_gateway_calls_total{method="subscriptions/listen",project="team",server="files",status="cancelled",tool=""} 1`,
		`mcp_gateway_calls_total{method="initialize",project="team",server="",status="ok",tool=""} 1`,
		`mcp_gateway_calls_in_flight{project="team",server="files"} 1`,
		`mcp_gateway_call_bytes_total{direction="in",project="team",server="files"} 70`,
		`mcp_gateway_call_bytes_total{direction="out",project="team",server="files"} 140`,
		`mcp_gateway_rate_limited_total{project="team",server="files"} 1`,
		`mcp_gateway_call_duration_seconds_bucket{method="tools/call",project="team",server="files",tool="read",le="0.025"} 3`,
		`mcp_gateway_call_duration_seconds_bucket{method="tools/call",project="team",server="files",tool="read",le="5"} 4`,
		`mcp_gateway_call_duration_seconds_count{method="tools/call",project="team",server="files",tool="read"} 4`,
	)
	if got := about(g.scrape(), `mcp_gateway_call_duration_seconds_count{method="subscriptions/listen"`); got != "" {
		t.Errorf("got how long a subscription took: %s", got)
	}
}

func TestConventions(t *testing.T) {
	t.Parallel()
	g := newGateway(t, rules("files"))
	g.call(nil)
	g.call(func(c *telemetry.Call) { c.Status, c.Transport = "error -32602", "grpc" })
	g.call(func(c *telemetry.Call) { c.Status = "error 123456" })
	g.call(func(c *telemetry.Call) { c.Status, c.Passed = "forbidden", time.Time{} })
	g.call(func(c *telemetry.Call) { c.Transport, c.Method, c.Tool = "", "tools/list", "" }) // the gateway itself
	g.call(func(c *telemetry.Call) { c.Revision = "made up" })
	const tool = `gen_ai_operation_name="execute_tool",gen_ai_tool_name="read",mcp_method_name="tools/call",`
	g.has(
		`mcp_server_operation_duration_seconds_count{error_type="",`+tool+`mcp_protocol_version="2025-11-25",network_protocol_name="http",network_transport="tcp",project="team",server="files"} 1`,
		`mcp_server_operation_duration_seconds_count{error_type="-32602",`+tool+`mcp_protocol_version="2025-11-25",network_protocol_name="grpc",network_transport="tcp",project="team",server="files"} 1`,
		`mcp_server_operation_duration_seconds_count{error_type="_OTHER",`+tool+`mcp_protocol_version="2025-11-25",network_protocol_name="http",network_transport="tcp",project="team",server="files"} 1`,
		`mcp_server_operation_duration_seconds_count{error_type="forbidden",`+tool+`mcp_protocol_version="2025-11-25",network_protocol_name="http",network_transport="tcp",project="team",server="files"} 1`,
		`mcp_server_operation_duration_seconds_count{error_type="",`+tool+`mcp_protocol_version="other",network_protocol_name="http",network_transport="tcp",project="team",server="files"} 1`,
		`mcp_client_operation_duration_seconds_bucket{error_type="",`+tool+`mcp_protocol_version="",network_protocol_name="",network_transport="pipe",project="team",server="files",le="0.02"} 2`,
		`mcp_client_operation_duration_seconds_bucket{error_type="",`+tool+`mcp_protocol_version="",network_protocol_name="",network_transport="pipe",project="team",server="files",le="0.01"} 0`,
		`mcp_client_operation_duration_seconds_count{error_type="",gen_ai_operation_name="",gen_ai_tool_name="",mcp_method_name="tools/list",mcp_protocol_version="",network_protocol_name="",network_transport="pipe",project="team",server="files"} 1`,
	)
	text := g.scrape()
	if got := about(text, `mcp_server_operation_duration_seconds_count{error_type="",gen_ai_operation_name="",`); got != "" {
		t.Errorf("got as a client's what the gateway asked: %s", got)
	}
	if got := about(text, `mcp_client_operation_duration_seconds_count{error_type="forbidden"`); got != "" {
		t.Errorf("got a duration of what was not passed on: %s", got)
	}
}

// Whatever clients send, there are only so many series.
func TestCardinality(t *testing.T) {
	t.Parallel()
	g := newGateway(t, rules("files"))
	before := strings.Count(g.scrape(), "\n")
	for i := range 10_000 {
		name := fmt.Sprintf("tool\n%d\xff%s\"}", i, strings.Repeat("é", i%100))
		g.call(func(c *telemetry.Call) { c.Tool, c.Status = name, "error -32602" })
		g.call(func(c *telemetry.Call) { c.Tool, c.Status = name, "tool-error" })
		g.call(func(c *telemetry.Call) {
			c.Method, c.Tool, c.Revision, c.Transport = fmt.Sprint("method/", i), "", name, fmt.Sprint("transport", i)
			c.Status = fmt.Sprint("error ", i)
		})
		g.calls.(telemetry.Doorkeeper).Refused(telemetry.Refusal{Transport: name, Reason: name})
	}
	if got := g.series("mcp_gateway_calls_total"); got != 3 {
		t.Errorf("got %d series of names that no server knows, want one for each status", got)
	}
	if grown := strings.Count(g.scrape(), "\n") - before; grown > 200 {
		t.Errorf("got %d lines more", grown)
	}
	// What a server does is real, but a server may be hostile as well.
	for i := range 3000 {
		name := fmt.Sprintf("tool\n%d\xff%s\"}", i, strings.Repeat("é", i%100))
		g.call(func(c *telemetry.Call) { c.Tool = name })
		g.call(func(c *telemetry.Call) { c.Tool, c.Listed, c.Status = name, true, "tool-error" })
		g.call(func(c *telemetry.Call) {
			c.Tool, c.Listed, c.Status = name, true, fmt.Sprint("error ", []int{-32600, -32601, -32602, -32603, -32002, 7}[i%6])
			c.Revision, c.Transport = mcp.Revisions()[i%5], transport(i%int(transports)).String()
		})
	}
	if got := g.series("mcp_gateway_call_duration_seconds_count"); got != maxTools+2 {
		t.Errorf("got %d series of durations, want %d tools, other, and the method other", got, maxTools)
	}
	if got := g.series("mcp_server_operation_duration_seconds_count") + g.series("mcp_client_operation_duration_seconds_count"); got > 2*maxConventions+400 {
		t.Errorf("got %d series of the conventions", got)
	}
	text := g.scrape()
	if !utf8.ValidString(text) {
		t.Error("got what is no UTF-8")
	}
	for line := range strings.Lines(text) {
		if i := strings.Index(line, `tool="`); i >= 0 && strings.Index(line[i+6:], `"`) > 2*maxLabel {
			t.Fatalf("got a long label: %s", line)
		}
	}
	g.has(`mcp_gateway_refusals_total{reason="failed",transport="other"} 10000`)
}

func TestClean(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, want string }{
		{"read", "read"},
		{"", ""},
		{strings.Repeat("a", maxLabel), strings.Repeat("a", maxLabel)},
		{strings.Repeat("a", maxLabel+1), strings.Repeat("a", maxLabel)},
		{strings.Repeat("é", maxLabel), strings.Repeat("é", maxLabel/2)},
		{"a" + strings.Repeat("é", maxLabel), "a" + strings.Repeat("é", maxLabel/2-1) + "?"},
		{"a\xffb", "a?b"},
		{strings.Repeat("\xff", 2*maxLabel), "?"},
	} {
		if got := clean(test.text); got != test.want {
			t.Errorf("%q: got %q, want %q", test.text, got, test.want)
		}
	}
}

func TestStateNow(t *testing.T) {
	t.Parallel()
	g := newGateway(t, rules("files"))
	g.Sample(time.Now(), []control.Sandbox{{ID: "files-2", Server: "files", Project: "team", Frozen: true}})
	g.has(
		"mcp_gateway_sessions 2",
		`mcp_gateway_connections{transport="http"} 3`,
		"mcp_gateway_audit_lost_records_total 4",
		"mcp_gateway_usage_pending_entries 8",
		"mcp_gateway_usage_flush_failures_total 9",
		`mcp_gateway_quota_limit{project="team",quota="calls_per_day"} 10`,
		`mcp_gateway_quota_used_ratio{project="team",quota="calls_per_day"} 0.4`,
		`mcp_gateway_quota_limit{project="new",quota="calls_per_day"} 10`,
		`mcp_gateway_waiting{project="team",server="files"} 5`,
		`mcp_gateway_queue_messages{project="team",server="files"} 6`,
		`mcp_gateway_instances{project="team",server="files",state="running"} 1`,
		`mcp_gateway_instances{project="team",server="files",state="frozen"} 1`,
		`mcp_gateway_instances{project="team",server="files",state="starting"} 1`,
		`mcp_gateway_instances{project="team",server="files",state="spare"} 1`,
		`mcp_gateway_instances{project="team",server="files",state="draining"} 0`,
		`mcp_gateway_breakers{project="team",server="files",state="open"} 1`,
		`mcp_gateway_breakers{project="team",server="files",state="half-open"} 1`,
		`mcp_gateway_health_checks_total{project="team",result="ok",server="files"} 8`,
		`mcp_gateway_health_checks_total{project="team",result="failed",server="files"} 1`,
		`mcp_gateway_crash_loops{project="team",server="files"} 1`,
		"mcp_gateway_config_generation 7",
		"mcp_gateway_config_last_reload_successful 1",
	)
	g.Reloaded(7, false)
	g.has("mcp_gateway_config_generation 7", "mcp_gateway_config_last_reload_successful 0", `mcp_gateway_config_reloads_total{result="refused"} 1`)
	g.Reloaded(8, true)
	g.has("mcp_gateway_config_generation 8", "mcp_gateway_config_last_reload_successful 1", `mcp_gateway_config_reloads_total{result="ok"} 1`)
	door := g.calls.(telemetry.Doorkeeper)
	door.Refused(telemetry.Refusal{Transport: "grpc", Reason: "unauthenticated"})
	door.Refused(telemetry.Refusal{Transport: "http", Reason: "limited"})
	door.Refused(telemetry.Refusal{Transport: "rest", Reason: "limited"})
	g.has(
		`mcp_gateway_auth_failures_total{transport="grpc"} 1`, `mcp_gateway_auth_failures_total{transport="http"} 0`,
		`mcp_gateway_refusals_total{reason="limited",transport="rest"} 1`, `mcp_gateway_rate_limited_total{project="",server=""} 2`,
	)
}

// A server that is gone takes its series with it, also those that a call of before would
// bring back.
func TestServersGo(t *testing.T) {
	t.Parallel()
	g := newGateway(t, rules("files", "mail"))
	g.call(nil)
	g.call(func(c *telemetry.Call) { c.Server = "mail" })
	before := g.calls
	g.calls = g.Apply(rules("mail"))
	old := &gateway{g.Metrics, t, before}
	old.call(nil)
	old.call(func(c *telemetry.Call) { c.Tool = "another" })
	text := g.scrape()
	if strings.Contains(text, `server="files"`) || strings.Contains(text, "another") {
		t.Errorf("got series of a server that is gone:\n%s", about(text, "mcp_"))
	}
	g.call(func(c *telemetry.Call) { c.Server = "mail" })
	g.has(`mcp_gateway_calls_total{method="tools/call",project="team",server="mail",status="ok",tool="read"} 2`)
	g.calls = g.Apply(rules("mail", "files"))
	g.call(nil)
	g.has(`mcp_gateway_calls_total{method="tools/call",project="team",server="files",status="ok",tool="read"} 1`)
}

func TestOff(t *testing.T) {
	t.Parallel()
	p := rules("files")
	p.Metrics.Enabled = false
	g := newGateway(t, p)
	if g.calls != nil {
		t.Error("got an observer, want none")
	}
	w := httptest.NewRecorder()
	g.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("got status %d, want 404", w.Code)
	}
	g.Sample(time.Now(), []control.Sandbox{{ID: "files-1", Server: "files", Project: "team"}})
	g.Ended(control.Exit{Sandbox: "files-1", Server: "files"})
}
