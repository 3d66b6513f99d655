package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const countersText = `projects: {team: {}}
rate_limit: {enabled: true, requests_per_second: 1000, burst: 1000}
metrics:
  counters:
    orders: {servers: [test], tools: [echo], add: arguments.amount, labels: {plan: arguments.plan}}
`

// TestMetrics has a real Prometheus scrape a gateway that was used, misused, and
// reloaded.
func TestMetrics(t *testing.T) {
	t.Parallel()
	config := countersText + servers(
		testserver("test", "project: team", "instances: shared", "slo: {availability: 99, latency: 30s}"),
		testserver("greedy", "resources: {max_memory_mb: 32}"),
		testserver("limited", "instances: shared", "rate_limit: {requests_per_second: 0.02, burst: 1}"),
	)
	g := start(t, config)
	prometheus := startPrometheus(t, g.addresses.Admin, "--enable-feature=native-histograms")
	s := g.open(t, "test")
	s.call(t, "no-such-tool", `{}`)
	s.post(t, `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`)
	for _, arguments := range []string{`{"plan":"gold","amount":2.5}`, `{"plan":"gold","amount":4}`, `{"plan":"tin\n\"","amount":1}`, `{"amount":"much"}`} {
		s.ask(t, "echo", json.RawMessage(arguments))
	}
	one := asker{g, g.addresses.Key}
	for range 3 {
		one.http(t, "/servers/limited", "tools/call", `"name":"echo","arguments":{}`)
	}
	one.http(t, "/servers/greedy", "tools/call", `"name":"memory","arguments":{"n":500}`)
	stranger := g.at("test")
	stranger.key = "mcpgw_nobody_nothing"
	stranger.post(t, initialize)
	g.writeConfig(t, g.pool()+"# changed\n"+config)
	g.cli(t, "reload")
	g.writeConfig(t, g.pool()+config+"nonsense: 1\n")
	g.refusedReload(t)

	for query, want := range map[string]string{
		`up`: "1",
		`sum(mcp_gateway_calls_total{project="team",server="test",tool="echo",status="ok"})`: "4",
		`sum(mcp_gateway_calls_total{server="test",tool="other"})`:                           "1",
		`count(mcp_gateway_calls_total{tool="no-such-tool"}) or vector(0)`:                   "0",
		`sum(mcp_gateway_calls_total{server="greedy",method="tools/call",status="ended"})`:   "1",
		`sum(mcp_gateway_calls_total{server="limited",status="limited"})`:                    "2",
		`mcp_gateway_rate_limited_total{server="limited"}`:                                   "2",
		`sum(mcp_gateway_oom_kills_total{server="greedy"})`:                                  "1",
		`mcp_gateway_instance_ends_total{server="greedy",cause="oom"}`:                       "1",
		`mcp_gateway_instance_starts_total{server="test",result="ok"}`:                       "1",
		`mcp_gateway_instances{server="test",state="running"}`:                               "1",
		`mcp_gateway_auth_failures_total{transport="http"}`:                                  "1",
		`mcp_gateway_refusals_total{reason="unauthenticated"}`:                               "1",
		`mcp_gateway_sessions`:                                                "1",
		`mcp_gateway_connections{transport="http"} >= bool 0`:                 "1",
		`mcp_gateway_config_generation`:                                       "2",
		`mcp_gateway_config_last_reload_successful`:                           "0",
		`mcp_gateway_config_reloads_total{result="ok"}`:                       "1",
		`mcp_gateway_custom_orders_total{plan="gold"}`:                        "6.5",
		`mcp_gateway_custom_orders_total{plan="tin\n\""}`:                     "1",
		`mcp_gateway_custom_skipped_total{counter="orders"}`:                  "1",
		`mcp_gateway_slo_objective_ratio{slo="availability"}`:                 "0.99",
		`sum(mcp_gateway_slo_events_total{slo="availability",outcome="bad"})`: "0",
		`sum(mcp_gateway_slo_events_total{slo="latency",outcome="good"})`:     "5",
		`mcp_gateway_server_cpu_seconds_total{server="greedy"} > bool 0`:      "1",
		`count(mcp_gateway_sandbox_memory_limit_bytes{server="test"})`:        "1",
		`mcp_gateway_sandbox_pids{server="test"} > bool 0`:                    "1",
		`process_resident_memory_bytes > bool 0`:                              "1",
		// Native histograms.
		`histogram_count(mcp_gateway_call_duration_seconds{server="test",tool="echo"})`:                                          "4",
		`histogram_quantile(0.9, mcp_gateway_call_duration_seconds{server="test",tool="echo"}) < bool 60`:                        "1",
		`histogram_count(mcp_server_operation_duration_seconds{gen_ai_tool_name="echo",error_type="",server="test"})`:            "4",
		`histogram_count(mcp_client_operation_duration_seconds{gen_ai_tool_name="echo",network_transport="pipe",server="test"})`: "4",
	} {
		prometheus.has(t, query, want)
	}
	g.lintMetrics(t)
}

// monitor is a running Prometheus.
type monitor struct{ url string }

// startPrometheus has one scrape an address until the test's end, and keep what it gets.
func startPrometheus(t *testing.T, admin string, more ...string) *monitor {
	t.Helper()
	at, err := url.Parse(admin)
	if err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	dir := folder(t)
	config := filepath.Join(dir, "prometheus.yml")
	rules, err := filepath.Abs("../../packaging/prometheus")
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%q, %q]\n"+
		"scrape_configs: [{job_name: mcp-gateway, static_configs: [{targets: [%q]}]}]\n", rules+"/recording.yaml", rules+"/alerts.yaml", at.Host)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var log output
	cmd := exec.Command("prometheus", append([]string{
		"--config.file=" + config, "--storage.tsdb.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + address, "--log.level=warn",
	}, more...)...)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("Prometheus ended with %v", err)
		}
		if t.Failed() {
			t.Logf("Prometheus' log:\n%s", log.String())
		}
	})
	return &monitor{"http://" + address}
}

// ask is the one value of a query's answer; "" if there is not exactly one.
func (m *monitor) ask(query string) string {
	response, err := http.Get(m.url + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		return "" // it is not there yet
	}
	defer response.Body.Close()
	var answer struct {
		Error string
		Data  struct{ Result []struct{ Value [2]any } }
	}
	content, err := io.ReadAll(response.Body)
	if err != nil || json.Unmarshal(content, &answer) != nil || answer.Error != "" {
		return answer.Error
	}
	if len(answer.Data.Result) != 1 {
		return ""
	}
	value, _ := answer.Data.Result[0].Value[1].(string)
	return value
}

// has wants a query to have a value, once Prometheus has scraped what it is about.
func (m *monitor) has(t *testing.T, query, want string) {
	t.Helper()
	got := ""
	defer func() {
		if got != want {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}()
	eventually(t, query+" is "+want, func() bool { got = m.ask(query); return got == want })
}

// lintMetrics has Prometheus' own checker read the metrics.
func (g *gateway) lintMetrics(t *testing.T) {
	t.Helper()
	response, err := http.Get(g.addresses.Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	lint := exec.Command("promtool", "check", "metrics")
	lint.Stdin = bytes.NewReader(text)
	if found, err := lint.CombinedOutput(); err != nil || len(strings.TrimSpace(string(found))) > 0 {
		t.Errorf("promtool check metrics: %v: %s", err, found)
	}
}
