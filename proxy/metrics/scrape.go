package metrics

import (
	"maps"
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/breaker"
	"mcpgateway/proxy/egress"
	"mcpgateway/proxy/health"
	"mcpgateway/runtime/release"
)

// builtIn gives the families.
type builtIn struct {
	*Metrics
	known map[string]description
}

// Describe gives the descriptions of them all.
func (b *builtIn) Describe(out chan<- *prometheus.Desc) {
	for _, d := range b.known {
		out <- d.Desc
	}
}

// told collects what a scrape is told. It is sent when no lock is held any more.
type told struct {
	known   map[string]description
	metrics []prometheus.Metric
}

// is tells the value of a family with labels.
func (t *told) is(name string, value float64, labels ...string) {
	d := t.known[name]
	t.metrics = append(t.metrics, prometheus.MustNewConstMetric(d.Desc, d.kind, value, labels...))
}

// Collect gives what there is now.
func (b *builtIn) Collect(out chan<- prometheus.Metric) {
	t := &told{known: b.known}
	b.now(t)
	b.atTheDoor(t)
	b.mu.Lock()
	servers := slices.Collect(maps.Values(b.servers))
	for _, s := range servers {
		s.resourcesLocked(t)
	}
	b.sandboxesLocked(t)
	b.configurationLocked(t)
	counters := maps.Clone(b.counters)
	b.mu.Unlock()
	now := time.Now().Unix()
	for _, s := range servers {
		s.calls(t)
		s.objectives(t, now)
	}
	for name, c := range counters {
		c.mu.Lock()
		t.is("custom_skipped_total", float64(c.skipped), name)
		c.mu.Unlock()
	}
	for _, metric := range t.metrics {
		out <- metric
	}
}

// now asks the source.
func (b *builtIn) now(t *told) {
	version, goVersion := release.Version(), runtime.Version()
	t.is("build_info", 1, version, goVersion)
	t.is("sessions", float64(b.source.Sessions()))
	connected := 0.0
	if b.source.Connected() {
		connected = 1
	}
	t.is("daemon_connected", connected)
	t.is("audit_lost_records_total", float64(b.source.LostRecords()))
	ledger := b.source.Ledger()
	t.is("usage_pending_entries", float64(ledger.Pending))
	t.is("usage_flush_failures_total", float64(ledger.Failures))
	for _, q := range b.source.Quotas() {
		t.is("quota_limit", q.Limit, q.Project, q.Quota)
		if q.Known {
			t.is("quota_used_ratio", q.Ratio(), q.Project, q.Quota)
		}
	}
	for transport, open := range b.source.Connections() {
		t.is("connections", float64(open), transport)
	}
	b.instances(t)
	b.places(t)
}

// frozen is the state of an instance that the kernel holds.
const frozen = "frozen"

// instances tells what each server's instances do. Those of servers that are gone have
// no series.
func (b *builtIn) instances(t *told) {
	running, waiting := b.source.Running(), b.source.Waiting()
	b.mu.Lock()
	defer b.mu.Unlock()
	states, queued := map[place]map[string]int{}, map[place]int{}
	for at := range b.servers {
		states[at] = map[string]int{}
	}
	for _, one := range running {
		at, state := place{one.Project, one.Server}, string(one.State)
		if s := b.running[one.Sandbox]; one.State == backend.Serving && s != nil && s.Frozen {
			state = frozen
		}
		if states[at] != nil {
			states[at][state]++
			queued[at] += one.Queued
		}
	}
	for at := range b.servers {
		if at.name == "" {
			continue
		}
		t.is("waiting", float64(waiting[at.name]), at.project, at.name)
		t.is("queue_messages", float64(queued[at]), at.project, at.name)
		for _, state := range []string{string(backend.Serving), frozen, string(backend.Draining), string(backend.Starting), string(backend.Spare)} {
			t.is("instances", float64(states[at][state]), at.project, at.name, state)
		}
	}
}

// places counts each server's breakers that are not closed, its crash loops, and the
// checks of its instances.
func (b *builtIn) places(t *told) {
	type count struct{ open, trying, loops int }
	counts := map[string]*count{}
	of := func(server string) *count {
		if counts[server] == nil {
			counts[server] = &count{}
		}
		return counts[server]
	}
	known := map[breaker.Place]bool{}
	for _, s := range b.source.States() {
		switch {
		case known[s.Place] || s.State.State == breaker.Closed: // a place can have several instances
		case s.State.State == "open":
			of(s.Server).open++
		default:
			of(s.Server).trying++
		}
		known[s.Place] = true
	}
	for _, row := range b.source.Rows() {
		if row.Loop {
			of(row.Server).loops++
		}
	}
	checks := map[string]health.Count{}
	for _, c := range b.source.HealthChecks() {
		checks[c.Server] = c
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for at := range b.servers {
		if at.name != "" {
			t.is("health_checks_total", float64(checks[at.name].OK), at.project, at.name, "ok")
			t.is("health_checks_total", float64(checks[at.name].Failed), at.project, at.name, "failed")
			t.is("breakers", float64(of(at.name).open), at.project, at.name, "open")
			t.is("breakers", float64(of(at.name).trying), at.project, at.name, "half-open")
			t.is("crash_loops", float64(of(at.name).loops), at.project, at.name)
		}
	}
}

func (b *builtIn) atTheDoor(t *told) {
	var limited uint64
	for by := range transports {
		for why := range statuses {
			n := b.refusals[by][why].Load()
			if why == statusLimited {
				limited += n
			}
			if n > 0 {
				t.is("refusals_total", float64(n), by.String(), why.String())
			}
		}
		if by != transportOther {
			t.is("auth_failures_total", float64(b.refusals[by][statusStranger].Load()), by.String())
		}
	}
	t.is("rate_limited_total", float64(limited), "", "")
}

// calls tells what became of them.
func (s *server) calls(t *told) {
	for k, series := range *s.series.Load() {
		for how := range statuses {
			if n := series.ended[how].Load(); n > 0 {
				t.is("calls_total", float64(n), s.project, s.name, k.method, k.tool, how.String())
			}
		}
	}
	if s.name == "" && s.in.Load() == 0 { // nobody opens sessions with many servers here
		return
	}
	t.is("calls_in_flight", float64(s.inFlight.Load()), s.project, s.name)
	t.is("call_bytes_total", float64(s.in.Load()), s.project, s.name, "in")
	t.is("call_bytes_total", float64(s.out.Load()), s.project, s.name, "out")
	if s.project != "" || s.name != "" { // else it is told at the door
		t.is("rate_limited_total", float64(s.limited.Load()), s.project, s.name)
	}
}

// resourcesLocked tells what the server's sandboxes did. Metrics.mu must be held.
func (s *server) resourcesLocked(t *told) {
	if s.name == "" {
		return
	}
	for _, cause := range []backend.Cause{backend.CauseExit, backend.CauseSignal, backend.CauseOOM, backend.CauseLimit, backend.CauseStopped} {
		t.is("instance_ends_total", float64(s.ends[cause]), s.project, s.name, string(cause))
	}
	t.is("oom_kills_total", float64(s.ends[backend.CauseOOM]), s.project, s.name)
	t.is("instance_starts_total", float64(s.started), s.project, s.name, "ok")
	t.is("instance_starts_total", float64(s.notStarted), s.project, s.name, "failed")
	t.is("restarts_total", float64(s.restarted), s.project, s.name)
	t.is("server_cpu_seconds_total", s.used.cpu.Seconds(), s.project, s.name)
	t.is("server_throttled_seconds_total", s.used.throttled.Seconds(), s.project, s.name)
	t.is("server_stalled_seconds_total", s.used.stalledCPU.Seconds(), s.project, s.name, "cpu")
	t.is("server_stalled_seconds_total", s.used.stalledMemory.Seconds(), s.project, s.name, "memory")
	t.is("server_stalled_seconds_total", s.used.stalledIO.Seconds(), s.project, s.name, "io")
	t.is("egress_bytes_total", float64(s.traffic.Sent.Load()), s.project, s.name, "sent")
	t.is("egress_bytes_total", float64(s.traffic.Received.Load()), s.project, s.name, "received")
	t.is("egress_connections_total", float64(s.traffic.Allowed.Load()), s.project, s.name, "allowed")
	t.is("egress_connections_total", float64(s.traffic.Refused.Load()), s.project, s.name, "refused")
}

// sandboxesLocked tells what runs now. m.mu must be held.
func (m *Metrics) sandboxesLocked(t *told) {
	memory, pids := map[place]int64{}, map[place]int64{}
	for _, s := range m.running {
		at := place{s.Project, s.Server}
		memory[at] += s.Usage.Memory
		pids[at] += s.Usage.PIDs
	}
	for at := range m.servers {
		if at.name != "" {
			t.is("server_memory_bytes", float64(memory[at]), at.project, at.name)
			t.is("server_pids", float64(pids[at]), at.project, at.name)
		}
	}
	for _, s := range m.oldestLocked() {
		s.tell(t, m.traffic[s.ID])
	}
}

func (s *sandbox) tell(t *told, traffic *egress.Traffic) {
	is := func(name string, value float64) { t.is(name, value, s.Project, s.Server, s.ID) }
	is("sandbox_cpu_seconds_total", s.counted.cpu.Seconds())
	is("sandbox_throttled_seconds_total", s.counted.throttled.Seconds())
	t.is("sandbox_stalled_seconds_total", s.counted.stalledCPU.Seconds(), s.Project, s.Server, s.ID, "cpu")
	t.is("sandbox_stalled_seconds_total", s.counted.stalledMemory.Seconds(), s.Project, s.Server, s.ID, "memory")
	t.is("sandbox_stalled_seconds_total", s.counted.stalledIO.Seconds(), s.Project, s.Server, s.ID, "io")
	if traffic != nil {
		t.is("sandbox_egress_bytes_total", float64(traffic.Sent.Load()), s.Project, s.Server, s.ID, "sent")
		t.is("sandbox_egress_bytes_total", float64(traffic.Received.Load()), s.Project, s.Server, s.ID, "received")
	}
	is("sandbox_memory_bytes", float64(s.Usage.Memory))
	is("sandbox_pids", float64(s.Usage.PIDs))
	if s.MemoryLimit > 0 {
		is("sandbox_memory_limit_bytes", float64(s.MemoryLimit))
	}
	if s.CPULimit > 0 {
		is("sandbox_cpu_limit_cores", s.CPULimit)
	}
	if s.PIDLimit > 0 {
		is("sandbox_pids_limit", float64(s.PIDLimit))
	}
}

// configurationLocked tells what is in force. m.mu must be held.
func (m *Metrics) configurationLocked(t *told) {
	for _, c := range m.listeners {
		t.is("certificate_expiry_timestamp_seconds", float64(c.expires.Unix()), c.listener)
	}
	good := 0.0
	if m.reloads.good {
		good = 1
	}
	t.is("config_generation", float64(m.reloads.generation))
	t.is("config_last_reload_successful", good)
	t.is("config_last_reload_timestamp_seconds", float64(m.reloads.at.UnixMilli())/1000)
	t.is("config_reloads_total", float64(m.reloads.ok), "ok")
	t.is("config_reloads_total", float64(m.reloads.refused), "refused")
}

// objectives tells how well the server does what its objective says.
func (s *server) objectives(t *told, now int64) {
	o := s.objective.Load()
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for name, r := range map[string]*record{"availability": o.availability, "latency": o.latency} {
		if r == nil {
			continue
		}
		t.is("slo_objective_ratio", r.target, s.project, s.name, name)
		t.is("slo_events_total", float64(r.good), s.project, s.name, name, "good")
		t.is("slo_events_total", float64(r.bad), s.project, s.name, name, "bad")
		t.is("slo_error_budget_remaining_ratio", r.remaining(now), s.project, s.name, name)
		for _, w := range windows() {
			t.is("slo_burn_rate", r.burn(now, w.long), s.project, s.name, name, w.name)
		}
	}
}
