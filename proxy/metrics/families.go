package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
)

// prefix is that of the gateway's own metrics.
const prefix = "mcp_gateway_"

// family is one of the metrics that are read when they are scraped.
type family struct {
	name   string // without the prefix
	kind   prometheus.ValueType
	help   string
	labels []string
}

// families lists them; docs/metrics.md has them, too.
func families() []family {
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	server := []string{"project", "server"}
	of := func(more ...string) []string { return append([]string{"project", "server"}, more...) }
	return []family{
		{"calls_total", counter, "Calls at servers that have ended, by what became of them.", of("method", "tool", "status")},
		{"calls_in_flight", gauge, "Calls at servers that have not ended.", server},
		{"call_bytes_total", counter, "Bytes of the messages of calls: in from clients, out to them.", of("direction")},
		{"waiting", gauge, "Callers who wait for an instance of a server to start.", server},
		{"queue_messages", gauge, "Messages that instances of a server have not taken yet.", server},

		{"refusals_total", counter, "Clients that were turned away at the door, before any server was asked.", []string{"transport", "reason"}},
		{"auth_failures_total", counter, "Clients whose credential was missing or no good.", []string{"transport"}},
		{"rate_limited_total", counter, "Requests over a limit; project and server are empty for the limits of the gateway and of each caller.", server},
		{"sessions", gauge, "Sessions of clients that are open.", nil},
		{"connections", gauge, "Clients that are connected, by the listener's transport.", []string{"transport"}},

		{"instances", gauge, "Instances of a server, by what they do.", of("state")},
		{"instance_starts_total", counter, "Starts of instances of a server.", of("result")},
		{"instance_ends_total", counter, "Instances of a server that have ended, by the cause.", of("cause")},
		{"restarts_total", counter, "Instances of a server that were started in the place of one that had ended by itself.", server},
		{"crash_loops", gauge, "Places of a server's instances where none is started any more, because they end by themselves again and again.", server},
		{"health_checks_total", counter, "Checks whether instances of a server that had nothing to do were well.", of("result")},
		{"oom_kills_total", counter, "Instances of a server that were ended for memory.", server},
		{"breakers", gauge, "Circuit breakers of a server that are not closed.", of("state")},

		{"server_cpu_seconds_total", counter, "CPU time that a server's sandboxes have used.", server},
		{"server_throttled_seconds_total", counter, "Time that a server's sandboxes had to wait for their CPU limit.", server},
		{"server_stalled_seconds_total", counter, "Time that some of a server's sandboxes waited for want of a resource (PSI); cgroup v2 only.", of("resource")},
		{"server_memory_bytes", gauge, "Memory of a server's sandboxes that run.", server},
		{"server_pids", gauge, "Processes and threads in a server's sandboxes that run.", server},
		{"sandbox_cpu_seconds_total", counter, "CPU time that a running sandbox has used.", of("sandbox")},
		{"sandbox_memory_bytes", gauge, "Memory of a running sandbox.", of("sandbox")},
		{"sandbox_memory_limit_bytes", gauge, "Memory that a running sandbox may have at most.", of("sandbox")},
		{"sandbox_cpu_limit_cores", gauge, "CPU cores that a running sandbox may use at most.", of("sandbox")},
		{"sandbox_throttled_seconds_total", counter, "Time that a running sandbox had to wait for its CPU limit.", of("sandbox")},
		{"sandbox_stalled_seconds_total", counter, "Time that some of a running sandbox waited for want of a resource (PSI); cgroup v2 only.", of("sandbox", "resource")},
		{"sandbox_egress_bytes_total", counter, "Bytes that a running sandbox has sent and received through the gateway's network.", of("sandbox", "direction")},
		{"sandbox_pids", gauge, "Processes and threads in a running sandbox.", of("sandbox")},
		{"sandbox_pids_limit", gauge, "Processes and threads that may be in a running sandbox at most.", of("sandbox")},

		{"egress_bytes_total", counter, "Bytes that a server's sandboxes have sent and received through the gateway's network.", of("direction")},
		{"egress_connections_total", counter, "Connections that a server's sandboxes wanted, by what the rules said.", of("verdict")},

		{"certificate_expiry_timestamp_seconds", gauge, "When the first certificate of a listener expires, or of its clients' authorities.", []string{"listener"}},
		{"config_generation", gauge, "Number of the configuration in force.", nil},
		{"config_last_reload_successful", gauge, "Whether the last configuration was good: 1, or 0 if the one before is still in force.", nil},
		{"config_last_reload_timestamp_seconds", gauge, "When the last configuration was read.", nil},
		{"config_reloads_total", counter, "Reloads of the configuration, by their result.", []string{"result"}},

		{"slo_objective_ratio", gauge, "Part of the events that are to be good, by the objective.", of("slo")},
		{"slo_events_total", counter, "Calls that an objective is about, by whether they were as it says.", of("slo", "outcome")},
		{"slo_burn_rate", gauge, "How many times faster than the objective allows its error budget was used up, over the window.", of("slo", "window")},
		{"slo_error_budget_remaining_ratio", gauge, "Part of the error budget that is left of the objective's window, since the gateway's start; below 0 if more was used up.", of("slo")},

		{"custom_skipped_total", counter, "Calls that a counter of the configuration did not count, because the argument to be added is no number from 0 on.", []string{"counter"}},
		{"quota_limit", gauge, "What a quota of a project is: calls or CPU seconds.", []string{"project", "quota"}},
		{"quota_used_ratio", gauge, "Part of a quota that is used up in this day or month.", []string{"project", "quota"}},
		{"usage_pending_entries", gauge, "Entries of usage that are not in the ledger yet.", nil},
		{"usage_flush_failures_total", counter, "Writes to the ledger that failed. What they had is kept, and written again.", nil},

		{"daemon_connected", gauge, "1 if the proxy is connected to its daemon, which starts servers.", nil},
		{"audit_lost_records_total", counter, "Records of the audit log that were lost because it could not be written.", nil},
		{"build_info", gauge, "1; the labels say which program this is.", []string{"version", "goversion"}},
	}
}

// description is a family, ready to be told.
type description struct {
	*prometheus.Desc
	kind prometheus.ValueType
}

func descriptions() map[string]description {
	all := map[string]description{}
	for _, f := range families() {
		all[f.name] = description{prometheus.NewDesc(prefix+f.name, f.help, f.labels, nil), f.kind}
	}
	return all
}
