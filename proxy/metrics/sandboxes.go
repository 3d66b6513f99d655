package metrics

import (
	"cmp"
	"slices"
	"time"

	"mcpgateway/runtime/control"
)

// maxSandboxes bounds the sandboxes that have series of their own.
const maxSandboxes = 500

// samplesAfterEnd is for how many samples a sandbox that has ended is remembered: one may
// have been asked for before its end and come after it.
const samplesAfterEnd = 3

// sandbox is one that runs, as of the last sample.
type sandbox struct {
	control.Sandbox
	counted consumption // of what it used
}

// consumption is what sandboxes have used in all.
type consumption struct{ cpu, throttled, stalledCPU, stalledMemory, stalledIO time.Duration }

func consumptionOf(u control.Usage) consumption {
	return consumption{u.CPU, u.Throttled, u.StalledCPU, u.StalledMemory, u.StalledIO}
}

// most is what two counts of the same say together: one that was taken while a sandbox
// ended may have zeros.
func (c consumption) most(d consumption) consumption {
	return consumption{
		max(c.cpu, d.cpu), max(c.throttled, d.throttled),
		max(c.stalledCPU, d.stalledCPU), max(c.stalledMemory, d.stalledMemory), max(c.stalledIO, d.stalledIO),
	}
}

// grow adds what has come between two counts.
func (c *consumption) grow(from, to consumption) {
	c.cpu += to.cpu - from.cpu
	c.throttled += to.throttled - from.throttled
	c.stalledCPU += to.stalledCPU - from.stalledCPU
	c.stalledMemory += to.stalledMemory - from.stalledMemory
	c.stalledIO += to.stalledIO - from.stalledIO
}

// Sample takes what all sandboxes use.
func (m *Metrics) Sample(_ time.Time, running []control.Sandbox) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := make(map[string]*sandbox, len(running))
	for _, one := range running {
		if _, over := m.ended[one.ID]; over {
			continue
		}
		s := m.running[one.ID]
		if s == nil {
			s = &sandbox{}
		}
		s.Sandbox = one
		m.usedLocked(place{one.Project, one.Server}, s, one.Usage)
		next[one.ID] = s
	}
	for id, s := range m.running { // those whose end is told next
		if next[id] == nil && m.ended[id] == 0 {
			next[id] = s
		}
	}
	m.running = next
	for id := range m.ended {
		if m.ended[id]--; m.ended[id] == 0 {
			delete(m.ended, id)
		}
	}
}

// usedLocked counts what a sandbox has used since it was asked last. m.mu must be held.
func (m *Metrics) usedLocked(at place, s *sandbox, now control.Usage) {
	next := s.counted.most(consumptionOf(now))
	if of := m.servers[at]; of != nil {
		of.used.grow(s.counted, next)
	}
	s.counted = next
}

// Ended takes what a sandbox used in all.
func (m *Metrics) Ended(exit control.Exit) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.running[exit.Sandbox]
	if s == nil { // it has not lived long
		s = &sandbox{}
		s.Server, s.Project = exit.Server, m.projectLocked(exit.Server)
	}
	m.usedLocked(place{s.Project, s.Server}, s, exit.Usage)
	delete(m.running, exit.Sandbox)
	delete(m.traffic, exit.Sandbox)
	m.ended[exit.Sandbox] = samplesAfterEnd
}

// projectLocked is the project of a server. m.mu must be held.
func (m *Metrics) projectLocked(server string) string {
	for at := range m.servers {
		if at.name == server {
			return at.project
		}
	}
	return ""
}

// oldestLocked are the sandboxes that have series of their own: those that run for
// longest, so that they stay the same. m.mu must be held.
func (m *Metrics) oldestLocked() []*sandbox {
	all := make([]*sandbox, 0, len(m.running))
	for _, s := range m.running {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *sandbox) int {
		return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID))
	})
	return all[:min(len(all), maxSandboxes)]
}
