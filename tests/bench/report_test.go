package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mcpgateway/tests/traffic"
)

// The floor of each run is its own: a run in which everything took twice as long
// changes no ratio.
func TestRatiosAreOfTheSameRun(t *testing.T) {
	t.Parallel()
	lines := []line{
		{System: direct, Transport: "http", Sessions: 1},
		{System: direct, Transport: "http", Sessions: 16},
		{System: ours, Transport: "http", Era: string(traffic.Stateless), Instances: shared, Sessions: 16},
		{System: ours, Transport: "http", Era: string(traffic.Stateless), Instances: shared, Sessions: 64},
	}
	var runs []run
	for _, slow := range []float64{1, 2, 5} {
		runs = append(runs, run{figures: []figures{
			{PerSecond: 7, P50: 7, P99: 7, ServerCPU: 7},
			{PerSecond: 20000 / slow, P50: 100 * slow, P99: 300 * slow, ServerCPU: 25 * slow},
			{PerSecond: 10000 / slow, P50: 250 * slow, P99: 450 * slow, ServerCPU: 9 * slow, GatewayCPU: 50 * slow, ProxyRSS: int64(slow)},
			{PerSecond: 9000},
		}})
	}
	rows := summarize(lines, runs)
	got := rows[2]
	if got.PerSecond != 5000 || got.P50 != 500 || got.ProxyRSS != 2 {
		t.Errorf("got medians %+v, want those of the second run", got.figures)
	}
	if want := (ratios{PerSecond: 0.5, P50: 2.5, P99: 1.5, CPU: 2}); got.Ratio == nil || *got.Ratio != want {
		t.Errorf("got ratios %+v, want %+v", got.Ratio, want)
	}
	if rows[3].Ratio != nil {
		t.Errorf("got ratios %+v without a floor of 64 sessions", rows[3].Ratio)
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	for want, values := range map[float64][]float64{3: {9, 1, 3}, 2.5: {4, 1, 2, 3}, 7: {7}} {
		var runs []run
		for _, v := range values {
			runs = append(runs, run{starts: starts{Sandbox: v}})
		}
		if got := median(runs, func(r run) float64 { return r.starts.Sandbox }); got != want {
			t.Errorf("%v: got %v, want %v", values, got, want)
		}
	}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	row16 := row{line: line{System: ours, Transport: "http", Era: string(traffic.Stateless), Instances: shared, Sessions: 16}, figures: figures{PerSecond: 100}, Ratio: &ratios{PerSecond: 0.7, CPU: 2.1, P99: 1.5}}
	row64 := row{line: row16.line, figures: figures{PerSecond: 99, ProxyRSS: 30 << 20}, Ratio: &ratios{}}
	row64.Sessions = 64
	targets := judge([]row{row16, row64}, starts{ForkExec: 1, Sandbox: 4, Prepared: 2.4},
		single{Answer8: answer{Refused: "too large"}, Answer32: answer{Seconds: 1.5, Memory: 2}, Churn: churn{Sessions: 5000, RSSEarly: 1, RSSLate: 1}})
	for what, want := range map[string]string{
		"gateway CPU a call, 16 sessions, 2026-07-28":                "FALLS SHORT",
		"throughput, 16 sessions, 2026-07-28":                        "met",
		"throughput of 64 sessions, 2026-07-28":                      "FALLS SHORT",
		"p99, 16 sessions, 2026-07-28":                               "met",
		"p50, 1 session, 2026-07-28":                                 "not measured",
		"memory of the proxy, 64 busy sessions, 2026-07-28":          "met",
		"1,000 tiny servers in sandboxes: start all":                 "not measured",
		"throughput, 16 sessions, 2025-11-25":                        "not measured",
		"cold start of a sandbox to the first byte":                  "not measured", // no bwrap
		"open of a session on a prepared sandbox, to the first byte": "met",
		"answer of 8 MiB":                                            "FALLS SHORT: it does not work",
		"answer of 32 MiB":                                           "FALLS SHORT",
		"memory of the gateway for a large answer":                   "met",
		"50,000 sessions opened and closed: RSS":                     "not measured", // of 5,000
	} {
		var found bool
		for _, target := range targets {
			if target.What == what {
				found = true
				if got := target.verdict(); got != want {
					t.Errorf("%s: got %q, want %q", what, got, want)
				}
			}
		}
		if !found {
			t.Errorf("no target %q", what)
		}
	}
	var out bytes.Buffer
	printTargets(&out, targets)
	if got := strings.Count(out.String(), "\n"); got != len(targets)+3 {
		t.Errorf("got %d lines for %d targets", got, len(targets))
	}
}

func TestHistoryIsOneLineARun(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "history.jsonl")
	r := report{Commit: "c", Rows: []row{{line: line{System: ours, Sessions: 16}, figures: figures{P50: 3}, Ratio: &ratios{P50: 2}}}}
	for range 2 {
		if err := r.remember(path); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
	var got struct {
		Commit string
		Rows   []struct {
			System string
			P50    float64 `json:"p50_us"`
			Ratio  struct{ P50 float64 }
		}
	}
	if err := json.Unmarshal([]byte(lines[0]), &got); err != nil {
		t.Fatal(err)
	}
	if len(lines) != 2 || got.Commit != "c" || got.Rows[0].System != ours || got.Rows[0].P50 != 3 || got.Rows[0].Ratio.P50 != 2 {
		t.Errorf("got %d lines, the first %s", len(lines), lines[0])
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	for _, bad := range [][]string{{"-sessions", "0"}, {"-sessions", "1,x"}, {"-era", "2024"}, {"-transport", "http,pigeon"}, {"-runs", "0"}, {"x"}} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%v: got no error", bad)
		}
	}
	o, err := parse([]string{"-short", "-runs", "2"})
	if err != nil || o.runs != 2 || o.starts != 10 || len(o.sessions) != 2 {
		t.Errorf("got %+v, %v, want what is short but for what was said", o, err)
	}
}
