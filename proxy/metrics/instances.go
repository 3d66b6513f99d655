package metrics

import (
	"mcpgateway/proxy/fleet"
)

// Instance counts what becomes of instances.
func (m *Metrics) Instance(e fleet.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.servers[place{e.Project, e.Server}]
	if s == nil {
		return
	}
	switch e.Kind {
	case fleet.Started:
		s.started++
		m.starting.WithLabelValues(e.Project, e.Server).Observe(e.Took.Seconds())
	case fleet.NotStarted:
		s.notStarted++
	case fleet.Restarted:
		s.restarted++
	case fleet.Ended:
		s.ends[e.Cause]++
	}
}
