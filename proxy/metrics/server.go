package metrics

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/egress"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/telemetry"
)

// Bounds of one server.
const (
	maxTools       = 200  // that are told apart
	maxConventions = 2000 // series of each histogram of the OpenTelemetry conventions
)

// server is what is counted of a place. Its series are found without a lock.
type server struct {
	m *Metrics
	place
	inFlight  atomic.Int64
	in, out   atomic.Uint64 // bytes
	limited   atomic.Uint64
	traffic   egress.Traffic
	objective atomic.Pointer[objective] // nil without one

	mu          sync.Mutex                                           // of who adds to these
	series      atomic.Pointer[map[key]*series]                      // whose maps are never changed
	conventions atomic.Pointer[map[conventional]prometheus.Observer] // nor these
	tools       map[string]bool                                      // that are told apart

	// Guarded by Metrics.mu:
	used consumption
	gone bool
	// Instances:
	started, notStarted, restarted uint64
	ends                           map[backend.Cause]uint64
}

// key is what calls of one server are told apart by.
type key struct{ method, tool string }

// series is what is counted of calls alike.
type series struct {
	duration prometheus.Observer // nil if nobody sees it any more
	ended    [statuses]atomic.Uint64
}

func newServer(m *Metrics, at place) *server {
	s := &server{m: m, place: at, tools: map[string]bool{}, ends: map[backend.Cause]uint64{}}
	s.series.Store(&map[key]*series{})
	s.conventions.Store(&map[conventional]prometheus.Observer{})
	return s
}

// key is how a call is told apart.
func (s *server) key(c *telemetry.Call) key {
	return key{methodOf(c.Method), clean(c.Tool)}
}

// of returns the series of a call. Anybody can make up names of tools: one is told
// apart if its server has listed it, or has done what it was asked, and there are not
// too many.
func (s *server) of(c *telemetry.Call) (k key, found *series) {
	k = s.key(c)
	if found = (*s.series.Load())[k]; found != nil {
		return k, found
	}
	return s.add(k, c.Listed || c.Status == "ok")
}

func (s *server) add(k key, real bool) (key, *series) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := *s.series.Load()
	if k.tool != "" && !s.tools[k.tool] {
		if real && len(s.tools) < maxTools {
			s.tools[k.tool] = true
		} else {
			k.tool = other
		}
	}
	if found := known[k]; found != nil {
		return k, found
	}
	added := &series{}
	if k.method != mcp.MethodListen { // how long somebody listens says nothing of the server
		added.duration = s.observer(s.m.duration, s.project, s.name, k.method, k.tool)
	}
	more := maps.Clone(known)
	more[k] = added
	s.series.Store(&more)
	return k, added
}

// observer is the series of a histogram, nil if the server is gone: a call of an older
// generation must not bring it back.
func (s *server) observer(of *prometheus.HistogramVec, values ...string) prometheus.Observer {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.gone {
		return nil
	}
	return of.WithLabelValues(values...)
}

// convention is the series of a call in a histogram of the OpenTelemetry conventions.
func (s *server) convention(of conventional) prometheus.Observer {
	if found := (*s.conventions.Load())[of]; found != nil {
		return found
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := *s.conventions.Load()
	if len(known) >= 2*maxConventions {
		of = of.plain()
	}
	if found := known[of]; found != nil {
		return found
	}
	added := s.observer(of.in(s.m), of.values(s.place)...)
	if added == nil {
		return nil
	}
	more := maps.Clone(known)
	more[of] = added
	s.conventions.Store(&more)
	return added
}

// Traffic counts what the network of a sandbox carries, for it and for its server.
func (m *Metrics) Traffic(project, server, sandbox string) *egress.Traffic {
	m.mu.Lock()
	defer m.mu.Unlock()
	own := new(egress.Traffic)
	if s := m.servers[place{project, server}]; s != nil {
		own.Of = &s.traffic
	}
	if m.ended[sandbox] == 0 {
		m.traffic[sandbox] = own
	}
	return own
}
