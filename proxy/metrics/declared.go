package metrics

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"mcpgateway/policy"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/telemetry"
)

// Counters that the configuration declares.

// maxAdd is the largest number that a call can add: with larger ones a client could make
// a counter lose what others add.
const maxAdd = 1 << 53

// defaultSeries is what a counter without max_series has.
const defaultSeries = 100

// counter is one of them.
type counter struct {
	rules   policy.Counter
	servers map[string]bool // nil: all
	tools   map[string]bool // nil: all
	add     []string        // path of the argument; nil: 1
	sources []string        // of the labels
	paths   [][]string      // of the sources that are arguments
	desc    *prometheus.Desc

	mu      sync.Mutex
	series  map[string]*sum // by its labels' values
	skipped uint64
}

type sum struct {
	values []string
	total  float64
}

func newCounter(name string, rules policy.Counter) *counter {
	c := &counter{rules: rules, servers: set(rules.Servers), tools: set(rules.Tools), series: map[string]*sum{}}
	if rules.Add != "" {
		c.add = strings.Split(rules.Add, ".")
	}
	labels := slices.Sorted(maps.Keys(rules.Labels))
	for _, label := range labels {
		source := rules.Labels[label]
		c.sources, c.paths = append(c.sources, source), append(c.paths, strings.Split(source, "."))
	}
	c.desc = prometheus.NewDesc(prefix+"custom_"+name+"_total", cmp.Or(rules.Help, "Declared in the configuration, without a help text."), labels, nil)
	return c
}

func set(names []string) map[string]bool {
	if len(names) == 0 {
		return nil
	}
	all := map[string]bool{}
	for _, name := range names {
		all[name] = true
	}
	return all
}

// declareLocked says which counters there are. One that is as it was goes on. m.mu must
// be held.
func (m *Metrics) declareLocked(rules policy.Metrics) {
	next := map[string]*counter{}
	if rules.Enabled {
		for name, declared := range rules.Counters {
			if before := m.counters[name]; before != nil && reflect.DeepEqual(before.rules, declared) {
				next[name] = before
			} else {
				next[name] = newCounter(name, declared)
			}
		}
	}
	m.counters = next
}

// countersOfLocked are those that count calls of a server. m.mu must be held.
func (m *Metrics) countersOfLocked(server string) (of []*counter) {
	for _, c := range m.counters {
		if c.servers == nil || c.servers[server] {
			of = append(of, c)
		}
	}
	return of
}

// tell counts a call, if it is one that counts.
func (c *counter) tell(how status, call *telemetry.Call) {
	if c.tools != nil && !c.tools[call.Tool] || !c.wants(how) {
		return
	}
	by := 1.0
	if c.add != nil {
		var ok bool
		if by, ok = number(call.Request.At(call.Request.Param(c.add...))); !ok {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.skipped++
			return
		}
	}
	values := make([]string, len(c.sources))
	for i := range values {
		values[i] = c.value(i, how, call)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sumLocked(values).total += by
}

// wants reports whether calls count that ended so.
func (c *counter) wants(how status) bool {
	switch c.rules.Status {
	case "any":
		return true
	case "error":
		return how != statusOK
	}
	return how == statusOK
}

// value is that of the label at i.
func (c *counter) value(i int, how status, call *telemetry.Call) string {
	switch c.sources[i] {
	case "project":
		return call.Project
	case "server":
		return call.Server
	case "tool":
		return clean(call.Tool)
	case "transport":
		return call.Transport
	case "status":
		return how.String()
	}
	raw := call.Request.At(call.Request.Param(c.paths[i]...))
	if text, ok := mcp.TextOf(raw); ok {
		return clean(text)
	}
	if len(raw) == 0 || raw[0] == '{' || raw[0] == '[' || raw[0] == 'n' {
		return ""
	}
	return clean(string(raw))
}

// sumLocked is the series of labels, or that of all others. c.mu must be held.
func (c *counter) sumLocked(values []string) *sum {
	const separator = "\xff" // is in no UTF-8
	id := strings.Join(values, separator)
	if found := c.series[id]; found != nil {
		return found
	}
	if len(c.series) >= cmp.Or(c.rules.MaxSeries, defaultSeries) {
		for i := range values {
			values[i] = other
		}
		id = strings.Join(values, separator)
		if found := c.series[id]; found != nil {
			return found
		}
	}
	added := &sum{values: values}
	c.series[id] = added
	return added
}

// number is a JSON number that can be added.
func number(raw []byte) (float64, bool) {
	if len(raw) == 0 || raw[0] < '0' || raw[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseFloat(string(raw), 64)
	return n, err == nil && n <= maxAdd
}

// declared gives their series. It describes none beforehand: a reload can bring others.
type declared struct{ *Metrics }

// Describe says nothing.
func (declared) Describe(chan<- *prometheus.Desc) {}

// Collect gives what they have counted.
func (d declared) Collect(out chan<- prometheus.Metric) {
	d.mu.Lock()
	counters := maps.Clone(d.counters)
	d.mu.Unlock()
	for _, c := range counters {
		for _, s := range c.sums() {
			out <- prometheus.MustNewConstMetric(c.desc, prometheus.CounterValue, s.total, s.values...)
		}
	}
}

// sums are a copy, so that no call waits for a scrape.
func (c *counter) sums() (all []sum) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.series {
		all = append(all, *s)
	}
	return all
}
