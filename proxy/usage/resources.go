package usage

import (
	"time"

	"mcpgateway/proxy/egress"
	"mcpgateway/proxy/ledger"
	"mcpgateway/runtime/control"
)

// remembered is how long a sandbox is known to have ended: a list of the daemon's that was
// on its way meanwhile still has it.
const remembered = time.Minute

// box is what was counted of one sandbox.
type box struct {
	server string
	cpu    int64 // microseconds
	memory int64 // KiB, when it was looked at
	rest   int64 // KiB-microseconds that were not enough for one KiB-second
	at     time.Time
}

// Sample counts what sandboxes have used since the last time.
func (m *Meter) Sample(now time.Time, running []control.Sandbox) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, ended := range m.gone {
		if now.Sub(ended) > remembered {
			delete(m.gone, id)
		}
	}
	for _, s := range running {
		if !m.gone[s.ID].IsZero() {
			continue
		}
		b := m.boxes[s.ID]
		if b == nil {
			b = &box{server: s.Server, at: s.Started, memory: s.Usage.Memory >> 10}
			m.boxes[s.ID] = b
			m.projects[s.Server] = s.Project
		}
		m.usedLocked(s.ID, b, now, s.Usage)
	}
}

// Ended counts the rest of what a sandbox has used.
func (m *Meter) Ended(exit control.Exit) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	b := m.boxes[exit.Sandbox]
	if b == nil { // it lived for less than a sample
		b = &box{server: exit.Server, at: now.Add(-exit.Lived), memory: exit.Usage.MemoryPeak >> 10}
	}
	m.usedLocked(exit.Sandbox, b, now, exit.Usage)
	delete(m.boxes, exit.Sandbox)
	delete(m.owners, exit.Sandbox)
	m.gone[exit.Sandbox] = now
}

// usedLocked counts what a sandbox used until now. The kernel's count of CPU only grows; one
// that is smaller was taken while the sandbox ended. m.mu must be held.
func (m *Meter) usedLocked(id string, b *box, now time.Time, u control.Usage) {
	var amounts ledger.Amounts
	if cpu := u.CPU.Microseconds(); cpu > b.cpu {
		amounts.CPUMicros, b.cpu = cpu-b.cpu, cpu
	}
	if u.Memory > 0 {
		b.memory = u.Memory >> 10
	}
	if passed := now.Sub(b.at).Microseconds(); passed > 0 {
		sum := b.memory*passed + b.rest
		amounts.MemoryKiBSeconds, b.rest = sum/microseconds, sum%microseconds
		b.at = now
	}
	if amounts != (ledger.Amounts{}) {
		m.resourceLocked(b.server, id, now, amounts)
	}
}

const microseconds = int64(time.Second / time.Microsecond)

// Egress counts a connection of a server's that has ended.
func (m *Meter) Egress(r egress.Record) {
	if r.Sent+r.Received == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.resourceLocked(r.Server, r.Sandbox, m.now(), ledger.Amounts{EgressSent: r.Sent, EgressReceived: r.Received})
}

// resourceLocked counts what an instance used. m.mu must be held.
func (m *Meter) resourceLocked(server, sandbox string, now time.Time, amounts ledger.Amounts) {
	project := m.projects[server]
	m.quotas.Count(project, now, 0, amounts.CPUMicros)
	m.bookLocked(entry{Key: ledger.Key{Hour: ledger.HourOf(now), Project: project, Server: server, Identity: m.owners[sandbox]}, amounts: amounts})
}
