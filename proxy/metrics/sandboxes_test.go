package metrics

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/fleet"
	"mcpgateway/runtime/control"
)

func box(id string, cpu time.Duration) control.Sandbox {
	return control.Sandbox{
		ID: id, Server: "files", Project: "team", Started: time.Unix(1, 0), MemoryLimit: 1 << 20, CPULimit: .5, PIDLimit: 64,
		Usage: control.Usage{CPU: cpu, Throttled: cpu / 2, Memory: 1000, PIDs: 3, StalledIO: cpu / 4},
	}
}

func TestSandboxes(t *testing.T) {
	t.Parallel()
	g := newGateway(t, rules("files"))
	now := time.Now()
	cpu := func(want string) {
		t.Helper()
		g.has(`mcp_gateway_server_cpu_seconds_total{project="team",server="files"} ` + want)
	}
	g.Traffic("team", "files", "files-1").Sent.Add(5)
	g.Sample(now, []control.Sandbox{box("files-1", 2*time.Second), box("files-2", time.Second)})
	cpu("3")
	g.has(
		`mcp_gateway_server_throttled_seconds_total{project="team",server="files"} 1.5`,
		`mcp_gateway_server_stalled_seconds_total{project="team",resource="io",server="files"} 0.75`,
		`mcp_gateway_server_memory_bytes{project="team",server="files"} 2000`,
		`mcp_gateway_server_pids{project="team",server="files"} 6`,
		`mcp_gateway_sandbox_cpu_seconds_total{project="team",sandbox="files-1",server="files"} 2`,
		`mcp_gateway_sandbox_throttled_seconds_total{project="team",sandbox="files-1",server="files"} 1`,
		`mcp_gateway_sandbox_stalled_seconds_total{project="team",resource="io",sandbox="files-1",server="files"} 0.5`,
		`mcp_gateway_sandbox_egress_bytes_total{direction="sent",project="team",sandbox="files-1",server="files"} 5`,
		`mcp_gateway_sandbox_memory_bytes{project="team",sandbox="files-1",server="files"} 1000`,
		`mcp_gateway_sandbox_memory_limit_bytes{project="team",sandbox="files-1",server="files"} 1.048576e+06`,
		`mcp_gateway_sandbox_cpu_limit_cores{project="team",sandbox="files-1",server="files"} 0.5`,
		`mcp_gateway_sandbox_pids{project="team",sandbox="files-1",server="files"} 3`,
		`mcp_gateway_sandbox_pids_limit{project="team",sandbox="files-1",server="files"} 64`,
	)
	g.Sample(now, []control.Sandbox{box("files-1", 0), box("files-2", 4*time.Second)}) // the first one ends just now
	cpu("6")
	g.Ended(control.Exit{Sandbox: "files-1", Server: "files", OOM: true, Signal: 9, Usage: control.Usage{CPU: 5 * time.Second}})
	cpu("9")
	g.Sample(now, []control.Sandbox{box("files-1", 4*time.Second), box("files-2", 4*time.Second)}) // was asked for before its end
	cpu("9")
	g.Ended(control.Exit{Sandbox: "files-3", Server: "files", Status: 1, Usage: control.Usage{CPU: time.Second}}) // between two samples
	cpu("10")
	if got := g.series("mcp_gateway_sandbox_egress_bytes_total"); got != 0 {
		t.Errorf("got %d series of the traffic of sandboxes that are gone", got)
	}
	if got := g.series("mcp_gateway_sandbox_pids"); got != 1 {
		t.Errorf("got %d sandboxes, want 1", got)
	}
	for range 2 * samplesAfterEnd {
		g.Sample(now, nil)
	}
	cpu("10") // what ended without a word is still counted when it comes
	g.Ended(control.Exit{Sandbox: "files-2", Server: "files", Stopped: true, Usage: control.Usage{CPU: 6 * time.Second}})
	cpu("12")
	if g.mu.Lock(); len(g.running)+len(g.ended) != 1 {
		t.Errorf("got %v and %v remembered", g.running, g.ended)
	}
	g.mu.Unlock()
}

func TestSandboxesAreBounded(t *testing.T) {
	t.Parallel()
	g := newGateway(t, rules("files"))
	var many []control.Sandbox
	for i := range 2 * maxSandboxes {
		many = append(many, box(fmt.Sprint("files-", i), time.Second))
	}
	g.Sample(time.Now(), many)
	if got := g.series("mcp_gateway_sandbox_memory_bytes"); got != maxSandboxes {
		t.Errorf("got %d sandboxes, want %d", got, maxSandboxes)
	}
	g.has(fmt.Sprintf(`mcp_gateway_server_pids{project="team",server="files"} %d`, 6*maxSandboxes))
}

func TestInstances(t *testing.T) {
	t.Parallel()
	g := newGateway(t, rules("files"))
	for _, e := range []fleet.Event{
		{Kind: fleet.Started, Took: 300 * time.Millisecond}, {Kind: fleet.Started, Took: time.Second}, {Kind: fleet.NotStarted, Took: time.Minute},
		{Kind: fleet.Ended, Cause: backend.CauseOOM, Failed: true}, {Kind: fleet.Restarted}, {Kind: fleet.Ended, Cause: backend.CauseStopped},
	} {
		e.Project, e.Server = "team", "files"
		g.Instance(e)
		e.Server = "gone"
		g.Instance(e)
	}
	g.has(
		`mcp_gateway_instance_starts_total{project="team",result="ok",server="files"} 2`,
		`mcp_gateway_instance_starts_total{project="team",result="failed",server="files"} 1`,
		`mcp_gateway_instance_start_seconds_bucket{project="team",server="files",le="0.5"} 1`,
		`mcp_gateway_instance_start_seconds_count{project="team",server="files"} 2`,
		`mcp_gateway_instance_ends_total{cause="oom",project="team",server="files"} 1`,
		`mcp_gateway_instance_ends_total{cause="stopped",project="team",server="files"} 1`,
		`mcp_gateway_instance_ends_total{cause="exit",project="team",server="files"} 0`,
		`mcp_gateway_oom_kills_total{project="team",server="files"} 1`,
		`mcp_gateway_restarts_total{project="team",server="files"} 1`,
	)
	if strings.Contains(g.scrape(), `"gone"`) {
		t.Error("got series of a server that is not there")
	}
}
