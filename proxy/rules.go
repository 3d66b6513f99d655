package proxy

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/audit"
	"mcpgateway/policy/authn"
	"mcpgateway/policy/ratelimit"
	"mcpgateway/policy/rbac"
	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/metrics"
	"mcpgateway/proxy/pins"
	"mcpgateway/proxy/recent"
	"mcpgateway/proxy/tail"
	"mcpgateway/proxy/telemetry"
	"mcpgateway/proxy/tracing"
	"mcpgateway/proxy/usage"
	"mcpgateway/runtime/control"
)

// memory is what outlives a generation, so that a new one forgets no caller, no limit
// and no tool that has changed.
type memory struct {
	auth   *authn.State
	limits *ratelimit.Table
	pins   *pins.Registry
	floods *gate.Floods
	audit  *audit.Log
	recent *recent.Calls // for operators
	stderr *tail.Lines   // for operators
	stops  stops         // by operators
	usage  *usage.Meter
	calls  *callLog
	tracer *tracing.Tracer

	metrics *metrics.Metrics // set by New
}

func newMemory(o Options) *memory {
	return &memory{
		auth: authn.NewState(), limits: ratelimit.New(), pins: pins.NewRegistry(differs(o.Audit, o.Log)),
		floods: gate.NewFloods(), audit: o.Audit, recent: recent.New(time.Now), stderr: tail.New(), calls: newCallLog(o.Log),
		usage:  usage.New(usage.Options{Folder: o.StateDir, Log: o.Log}),
		tracer: tracing.New(o.Log),
	}
}

// observers are those who are told of calls under a policy.
func (m *memory) observers(next *policy.Policy) []telemetry.Observer {
	all := []telemetry.Observer{m.recent, m.calls}
	if counting := m.metrics.Apply(next); counting != nil {
		all = append(all, counting)
	}
	if next.Usage != nil {
		all = append(all, m.usage)
	}
	if next.Tracing != nil {
		all = append(all, m.tracer)
	}
	return all
}

// happened tells those who want to know what became of an instance.
func (m *memory) happened(e fleet.Event) {
	m.metrics.Instance(e)
	if e.Kind == fleet.Restarted {
		m.recent.Restarted(e.Server)
	}
	if e.Lost { // what it has used since the last sample nobody knows
		for _, w := range m.watchers() {
			w.Ended(control.Exit{Sandbox: e.Sandbox, Server: e.Server, Stopped: true})
		}
	}
}

// watchers are those who are told of what runs.
func (m *memory) watchers() []telemetry.Watcher { return []telemetry.Watcher{m.metrics, m.usage} }

// rules makes of a policy what a gate enforces. It refuses one of which a part can't
// be enforced.
func (m *memory) rules(next *policy.Policy) (rules gate.Rules, err error) {
	rules = gate.Rules{Policy: next}
	if next.Audit != nil {
		rules.Audit = m.audit
	}
	if rules.Auth, err = authn.New(next.Authentication, next.Keys, m.auth); err != nil {
		return rules, err
	}
	if next.RBAC != nil {
		if rules.RBAC, err = rbac.New(next.RBAC); err != nil {
			return rules, fmt.Errorf("policy file: %w", err)
		}
	}
	if rules.Pins, err = m.view(next); err != nil {
		return rules, err
	}
	if err := m.usage.Apply(next); err != nil {
		return rules, err
	}
	if next.Usage != nil && len(next.Budgets) > 0 {
		rules.Quotas = m.usage
	}
	// Last: what follows changes what is remembered.
	if err := m.tracer.Apply(next.Gateway, next.Tracing); err != nil {
		return rules, fmt.Errorf("tracing: %w", err)
	}
	rules.Observers, rules.Stderr = m.observers(next), m.stderr.Add
	rules.Limits = m.limits.With(next)
	names := slices.Collect(maps.Keys(next.Servers))
	m.recent.Keep(names)
	m.stderr.Keep(names)
	return rules, nil
}

// view is what is known of tools under the lock of a policy.
func (m *memory) view(next *policy.Policy) (*pins.View, error) {
	lock, err := parseLock(next.ToolLock)
	if err != nil {
		return nil, err
	}
	return m.pins.View(lock, pinModes(next)), nil
}
