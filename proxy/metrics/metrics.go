// Package metrics counts what the gateway does, and serves it to Prometheus: calls,
// refusals, instances, what sandboxes use, how well servers do what their objectives
// say, and counters that the configuration declares. What clients and servers write
// becomes the value of a label only within bounds: nobody can make series without end.
// It asks nobody anything but its Source, when it is scraped, and keeps nothing over a
// restart.
//
// Runs in: proxy.
package metrics

import (
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"mcpgateway/policy"
	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/breaker"
	"mcpgateway/proxy/egress"
	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/health"
	"mcpgateway/proxy/quota"
	"mcpgateway/proxy/telemetry"
	"mcpgateway/proxy/usage"
)

// Source is asked at each scrape what there is at the moment. It must not wait.
type Source interface {
	// Sessions is how many sessions are open.
	Sessions() int
	// Connections is how many clients are connected, by transport.
	Connections() map[string]int
	// Running gives the instances of all servers.
	Running() []backend.Running
	// Waiting is how many callers wait for an instance to start, by server.
	Waiting() map[string]int
	// Rows gives the places where instances ended by themselves of late.
	Rows() []breaker.Row
	// HealthChecks is how the checks of each server's instances have ended.
	HealthChecks() []health.Count
	// States gives places, with their breakers.
	States() []fleet.State
	// Connected reports whether there is a daemon.
	Connected() bool
	// LostRecords is how many records the audit log has lost.
	LostRecords() uint64
	// Quotas gives the quotas of projects, with what of them is used up.
	Quotas() []quota.State
	// Ledger is how the ledger is.
	Ledger() usage.Stats
}

// Metrics is everything that is counted, over all generations. Its methods may be
// called concurrently, but for Apply.
type Metrics struct {
	source   Source
	registry *prometheus.Registry
	scrape   http.Handler
	duration *prometheus.HistogramVec
	starting *prometheus.HistogramVec
	served   *prometheus.HistogramVec // as a server of the gateway's clients
	asked    *prometheus.HistogramVec // as a client of the servers
	refusals refusals
	enabled  atomic.Bool

	mu        sync.Mutex
	servers   map[place]*server
	counters  map[string]*counter        // the configuration's own
	running   map[string]*sandbox        // by id, as of the last sample
	traffic   map[string]*egress.Traffic // of sandboxes that run, if they have a network
	ended     map[string]int             // sandboxes: how many samples may still name them
	listeners []certificate
	reloads   reloads
}

// place is a server; without one, what callers do with all servers of a project, or of
// the gateway.
type place struct{ project, name string }

// reloads is what became of configurations.
type reloads struct {
	generation  uint64
	good        bool // the last one was
	at          time.Time
	ok, refused uint64
}

// Bounds of a scrape.
const (
	maxScrapes = 4
	scrapeWait = 20 * time.Second
)

// New returns metrics of nothing: Apply says what is counted.
func New(source Source, log *slog.Logger) *Metrics {
	m := &Metrics{
		source: source, registry: prometheus.NewRegistry(),
		duration: histogram(prefix+"call_duration_seconds", "How long calls took, from their arrival at the server's guard to their answer, waiting and starting included. Subscriptions are not among them.",
			buckets(), "project", "server", "method", "tool"),
		starting: histogram(prefix+"instance_start_seconds", "How long instances took to start and to say who they are.", buckets(), "project", "server"),
		served:   conventions("mcp_server_operation_duration_seconds", "The duration of the MCP request or notification as observed on the receiver from the time it was received until the result or ack is sent (OpenTelemetry semantic conventions)."),
		asked:    conventions("mcp_client_operation_duration_seconds", "The duration of the MCP request or notification as observed on the sender from the time it was sent until the response or ack is received (OpenTelemetry semantic conventions)."),
		servers:  map[place]*server{},
		counters: map[string]*counter{},
		running:  map[string]*sandbox{}, ended: map[string]int{}, traffic: map[string]*egress.Traffic{},
	}
	m.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.duration, m.starting, m.served, m.asked, &builtIn{m, descriptions()}, &declared{m},
	)
	m.scrape = promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError), ErrorHandling: promhttp.ContinueOnError,
		EnableOpenMetrics: true, MaxRequestsInFlight: maxScrapes, Timeout: scrapeWait,
		OfferedCompressions: []promhttp.Compression{promhttp.Identity, promhttp.Gzip},
	})
	return m
}

// ServeHTTP serves the metrics, if the policy in force says so.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !m.enabled.Load() {
		http.Error(w, "metrics.enabled is false", http.StatusNotFound)
		return
	}
	m.scrape.ServeHTTP(w, r)
}

// Apply says what is counted from now on, and returns who is told of the calls under a
// policy; nil if nothing is counted. What was counted goes on, but for servers and
// counters that are not there any more.
func (m *Metrics) Apply(next *policy.Policy) telemetry.Observer {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.enabled.Store(next.Metrics.Enabled)
	m.reloads.generation, m.listeners = next.Generation, certificates(next)
	if m.reloads.at.IsZero() {
		m.reloads.good, m.reloads.at = true, time.Now()
	}
	m.keepLocked(places(next))
	m.declareLocked(next.Metrics)
	if !next.Metrics.Enabled {
		return nil
	}
	calls := &calls{m: m, servers: map[place]*server{}, counters: map[string][]*counter{}}
	for at := range places(next) {
		s := m.servers[at]
		if s == nil {
			s = newServer(m, at)
			m.servers[at] = s
		}
		s.aim(next.Servers[at.name].Objective)
		calls.servers[at] = s
		if at.name != "" {
			calls.counters[at.name] = m.countersOfLocked(at.name)
		}
	}
	return calls
}

// places are those of a policy where calls are counted.
func places(p *policy.Policy) map[place]bool {
	if !p.Metrics.Enabled {
		return nil
	}
	all := map[place]bool{{}: true}
	for name, server := range p.Servers {
		all[place{server.Project, name}] = true
		all[place{server.Project, ""}] = true
	}
	return all
}

// keepLocked forgets servers that are gone, with their series. m.mu must be held.
func (m *Metrics) keepLocked(there map[place]bool) {
	for at, s := range m.servers {
		if there[at] {
			continue
		}
		s.gone = true
		delete(m.servers, at)
		of := prometheus.Labels{"project": at.project, "server": at.name}
		for _, vec := range []*prometheus.HistogramVec{m.duration, m.starting, m.served, m.asked} {
			vec.DeletePartialMatch(of)
		}
	}
}

// Reloaded is told of the end of a reload: the generation in force, and whether the new
// configuration was good.
func (m *Metrics) Reloaded(generation uint64, good bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := &m.reloads
	r.generation, r.good, r.at = generation, good, time.Now()
	if good {
		r.ok++
	} else {
		r.refused++
	}
}

// Began is told of the generation that another daemon began with.
func (m *Metrics) Began(generation uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reloads.generation, m.reloads.good, m.reloads.at = generation, true, time.Now()
}

// buckets are those of call_duration_seconds.
func buckets() []float64 {
	return []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
}

// histogram is a classic one and a native one at the same time. Native ones have
// buckets at most 10 % wide, from 0.1 ms to a minute, and wider ones if a call is far
// outside of that.
func histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMaxExemplars: -1,
	}, labels)
}
