package proxy

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/breaker"
	"mcpgateway/proxy/catalog"
	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/ledger"
	"mcpgateway/proxy/pins"
	"mcpgateway/proxy/quota"
	"mcpgateway/proxy/recent"
	"mcpgateway/proxy/report"
	"mcpgateway/proxy/tail"
	"mcpgateway/proxy/usage"
	"mcpgateway/runtime/release"
)

// asked is what operators are told of a proxy: an operator.Source.
type asked struct{ *Proxy }

// PinModes gives every server of the generation in force.
func (p asked) PinModes() map[string]policy.PinMode {
	if now := p.current.Load(); now != nil {
		return pinModes(now.Policy)
	}
	return nil
}

// States gives instances, and the breakers of their places.
func (p asked) States() []fleet.State { return p.fleet.States() }

// Listing asks a server for its tools.
func (p asked) Listing(ctx context.Context, server string) (pins.Listing, error) {
	now := p.current.Load().Gate
	member, known := now.Operator(server)
	if !known {
		return pins.Listing{}, fmt.Errorf("server %q is not there any more", server)
	}
	definitions, err := catalog.Tools(ctx, catalog.Member{Name: server, Server: member})
	if err != nil {
		return pins.Listing{}, fmt.Errorf("list the tools of server %q: %w", server, err)
	}
	return now.Pins().Listing(server, definitions), nil
}

// Lines gives the last lines of a server's standard error.
func (p asked) Lines(server string, n int) []report.Line { return p.memory.stderr.Read(server, n) }

// Follow reads them as they come.
func (p asked) Follow(server string, n int) (*tail.Reader, error) {
	return p.memory.stderr.Follow(server, n)
}

// Status is the gateway at a glance.
func (p asked) Status() report.Status {
	all := p.memory.recent.All()
	s := report.Status{
		Version: release.Version(), Started: p.started, Listeners: p.listening(), Sessions: p.sessions.Count(), Load: loadOf(all),
		Servers: map[report.State]int{}, Instances: len(p.fleet.Running()), Places: p.places(), Warnings: []string{}, LastReload: p.reloaded.Load(),
	}
	if err := p.ready(); err != nil {
		s.NotReady = err.Error()
	}
	s.Ready = s.NotReady == ""
	if now := p.current.Load(); now != nil {
		s.Gateway, s.Generation = now.Policy.Gateway, now.Policy.Generation
		s.Applied = time.Unix(0, p.applied.Load())
		s.Warnings = append(s.Warnings, nearlyUsedUp(p.memory.usage.Quotas(), now.Policy.Budgets)...)
	}
	for _, server := range p.Servers() {
		s.Servers[server.State]++
	}
	return s
}

// nearlyUsedUp says which quotas are used up, or so much that their projects want it told.
func nearlyUsedUp(quotas []quota.State, budgets map[string]policy.Budget) (warnings []string) {
	for _, q := range quotas {
		percent := 100 * q.Ratio()
		most := cmp.Or(budgets[q.Project].WarnPercent, 100)
		if q.Known && percent >= float64(most) {
			warnings = append(warnings, fmt.Sprintf("project %q has used %.0f%% of %s, which is %.0f, until %s",
				q.Project, percent, q.Quota, q.Limit, q.Until.UTC().Format(time.RFC3339)))
		}
	}
	return warnings
}

// Servers gives those of the generation in force.
func (p asked) Servers() (list []report.Server) {
	now := p.current.Load()
	if now == nil {
		return nil
	}
	running, places := p.fleet.Running(), p.places()
	for _, name := range slices.Sorted(maps.Keys(now.Policy.Servers)) {
		list = append(list, p.summary(name, now.Policy.Servers[name], running, places))
	}
	return list
}

// Server gives all that is known of one.
func (p asked) Server(name string) (d report.Detail, known bool) {
	now := p.current.Load()
	if now == nil {
		return d, false
	}
	if d.Settings, known = now.Policy.Servers[name]; !known {
		return d, false
	}
	running, places := p.fleet.Running(), p.places()
	d.Server = p.summary(name, d.Settings, running, places)
	d.Settings.Secrets = nil // nobody needs what they are recognised by
	d.Places = slices.DeleteFunc(places, func(at report.Place) bool { return at.Server != name })
	d.Sandboxes = []report.Sandbox{}
	for _, i := range running {
		if i.Server == name {
			d.Sandboxes = append(d.Sandboxes, report.Sandbox{Sandbox: i.Sandbox, Started: i.Began, InFlight: i.InFlight, Draining: i.Leaving})
		}
	}
	return d, true
}

// places are those that are left alone, or nearly so, each once.
func (p asked) places() []report.Place {
	places := []report.Place{}
	for _, s := range p.fleet.States() {
		at := report.Place{Server: s.Server, Place: s.Instance, State: s.State.State, Failures: s.Failures, Until: s.Until, Cause: s.Cause}
		if at.State != breaker.Closed && !slices.Contains(places, at) {
			places = append(places, at)
		}
	}
	for _, row := range p.fleet.Rows() {
		if row.Loop {
			places = append(places, report.Place{Server: row.Server, Place: row.Instance, State: string(report.CrashLoop), Failures: row.Ends, Cause: row.Cause})
		}
	}
	return places
}

func (p asked) summary(name string, settings policy.Server, running []backend.Running, places []report.Place) report.Server {
	stats := p.memory.recent.Server(name)
	s := report.Server{
		Name: name, Project: settings.Project, ToolPins: cmp.Or(settings.ToolPins, policy.PinsOff),
		Load: loadOf(stats), LastCall: stats.LastCall, Restarts: stats.Restarts,
	}
	if stats.Failure.Status != "" {
		s.LastError = &report.Failure{Time: stats.Failure.Time, Status: stats.Failure.Status, Reason: stats.Failure.Reason}
	}
	s.State = report.Idle
	for _, i := range running {
		if i.Server != name {
			continue
		}
		s.Instances++
		switch {
		case !i.Leaving && s.State != report.Running:
			s.State, s.Since = report.Running, i.Began // the oldest comes first
		case i.Leaving && s.State == report.Idle:
			s.State, s.Since = report.Draining, i.Began
		}
	}
	p.judge(&s, places)
	return s
}

// judge finds a state that is worse than what instances a server has.
func (p asked) judge(s *report.Server, places []report.Place) {
	for _, at := range places {
		switch {
		case at.Server != s.Name:
		case at.State == string(report.CrashLoop):
			s.State, s.Since, s.Reason = report.CrashLoop, time.Time{}, at.Cause
		case s.State != report.CrashLoop:
			s.State, s.Since, s.Reason = report.Failing, time.Time{}, at.Cause
		}
	}
	if p.fleet.Stopped(s.Name) {
		s.State, s.Since, s.Reason = report.Stopped, p.memory.stops.since(s.Name), "an operator stopped it"
	}
}

// loadOf puts statistics for operators.
func loadOf(s recent.Stats) report.Load {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return report.Load{
		Calls: s.Calls, Errors: s.Errors, ToolErrors: s.ToolErrors, Refused: s.Refused, Total: s.Total,
		InFlight: s.InFlight, PerSecond: s.PerSecond, P50: ms(s.P50), P95: ms(s.P95),
	}
}

// Usage sums up what was used.
func (p asked) Usage(ctx context.Context, q ledger.Query) (usage.Report, error) {
	return p.memory.usage.Report(ctx, q)
}
