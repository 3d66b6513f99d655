package config

import (
	"cmp"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"mcpgateway/policy"
	"mcpgateway/runtime/document"
	"mcpgateway/runtime/secret"
)

// HealthCheck is how instances are watched that have nothing to do.
type HealthCheck struct {
	Enabled  bool          `config:"enabled"`                 // default true
	Interval time.Duration `config:"interval" want:"1s..24h"` // default 30s
	Timeout  time.Duration `config:"timeout" want:"10ms..1h"` // default 5s
}

// Tracing is where spans go; nowhere without an endpoint.
type Tracing struct {
	Endpoint string                  `config:"endpoint"`                  // "http://127.0.0.1:4317", or https
	Protocol string                  `config:"protocol" want:"grpc|http"` // OTLP's; default "grpc"
	Headers  map[string]secret.Value `config:"headers"`
	Sample   float64                 `config:"sample" want:"0..1"` // part of the traces that begin here; default 1
	CAFile   string                  `config:"ca_file" want:"/"`   // PEM; default: the system's

	RootCAs []byte // what the file holds. Not a key
}

// Usage is the ledger of what was used.
type Usage struct {
	Enabled   bool          `config:"enabled"`                        // default true
	Store     string        `config:"store" want:"sqlite|postgres"`   // default "sqlite"
	Database  secret.Value  `config:"database"`                       // URL of postgres
	Retention time.Duration `config:"retention" want:"0|24h..87600h"` // default 9600h, 400 days; 0: for ever
	Export    UsageExport   `config:"export"`
}

// UsageExport is where CloudEvents go; nowhere without a URL.
type UsageExport struct {
	URL      string                  `config:"url"`
	Headers  map[string]secret.Value `config:"headers"`
	Interval time.Duration           `config:"interval" want:"1s..24h"` // default 1m
	CAFile   string                  `config:"ca_file" want:"/"`        // PEM; default: the system's

	RootCAs []byte // what the file holds. Not a key
}

// operation judges what keeps a gateway running and tells of it.
func (c *checker) operation() {
	for name, project := range c.config.Projects {
		if b := &project.Quota; b.CallsPerDay+b.CPUSecondsPerMonth > 0 {
			b.WarnPercent = cmp.Or(b.WarnPercent, 80)
			c.config.Projects[name] = project
			if !c.config.Usage.Enabled {
				c.Fail(document.At("projects", name, "quota"), "needs the ledger: write usage.enabled: true, or remove it")
			}
		}
	}
	c.counters(document.At("metrics", "counters"))
	tracing, export := &c.config.Tracing, &c.config.Usage.Export
	tracing.RootCAs = c.receiver(document.At("tracing"), "endpoint", tracing.Endpoint, tracing.CAFile)
	export.RootCAs = c.receiver(document.At("usage", "export"), "url", export.URL, export.CAFile)
	if usage := &c.config.Usage; usage.Store == "postgres" && usage.Database.Empty() {
		c.Fail(document.At("usage", "database"), "is missing: postgres needs a URL, such as postgres://user@host/database")
	} else if usage.Store != "postgres" && !usage.Database.Empty() {
		c.Fail(document.At("usage", "database"), "has no meaning without store: postgres")
	}
}

// receiver judges where the proxy sends what it has to tell, and reads whom to trust.
func (c *checker) receiver(p document.Path, key, text, caFile string) []byte {
	if u, err := url.Parse(text); text != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil) {
		c.Fail(p.Key(key), "is %q, want a URL such as https://host:port", text)
	}
	return c.pem(p.Key("ca_file"), caFile, c.ReadFile)
}

// sources are what a label of a counter may be made of, beside an argument.
func sources() []string { return []string{"project", "server", "status", "tool", "transport"} }

func (c *checker) counters(at document.Path) {
	// Prometheus' data model.
	name, path := regexp.MustCompile(`^[a-z_][a-z0-9_]{0,63}$`), regexp.MustCompile(`^arguments(\.[A-Za-z0-9_-]+)+$`)
	for _, counter := range slices.Sorted(maps.Keys(c.config.Metrics.Counters)) {
		p, k := at.Key(counter), c.config.Metrics.Counters[counter]
		if !name.MatchString(counter) || strings.HasSuffix(counter, "_total") || counter == "skipped" {
			c.Add(p, "a counter's name has small letters, digits and _, and no _total, which is added; skipped is the gateway's own")
		}
		for i, server := range k.Servers {
			c.OneOf(p.Key("servers").Index(i), server, slices.Sorted(maps.Keys(c.config.Servers)))
		}
		if k.Add != "" && !path.MatchString(k.Add) {
			c.Fail(p.Key("add"), "is %q, want the path of an argument, such as arguments.amount", k.Add)
		}
		for _, label := range slices.Sorted(maps.Keys(k.Labels)) {
			if !name.MatchString(label) || strings.HasPrefix(label, "__") {
				c.Add(p.Key("labels").Key(label), "a label's name has small letters, digits and _")
			}
			if source := k.Labels[label]; !slices.Contains(sources(), source) && !path.MatchString(source) {
				c.Fail(p.Key("labels").Key(label), "is %q, want one of %s, or the path of an argument, such as arguments.plan", source, strings.Join(sources(), ", "))
			}
		}
	}
}

// supervision completes a server's objectives, and judges how it is started again.
func (c *checker) supervision(p document.Path, s *Server) {
	if s.Restart.MaxBackoff < s.Restart.Backoff {
		c.Fail(p.Key("restart").Key("max_backoff"), "is %s, below backoff, which is %s", s.Restart.MaxBackoff, s.Restart.Backoff)
	}
	slo := &s.SLO
	switch {
	case slo.Availability == 0 && slo.Latency == 0:
		if c.Given(p.Key("slo")) {
			c.Fail(p.Key("slo"), "has no objective: write availability, latency, or both")
		}
		*slo = policy.Objective{}
		return
	case slo.Latency == 0 && slo.LatencyTarget > 0:
		c.Fail(p.Key("slo").Key("latency_target"), "is of latency, which is missing")
	case slo.Latency > 0:
		slo.LatencyTarget = cmp.Or(slo.LatencyTarget, 99)
	}
	slo.Window = cmp.Or(slo.Window, 30*24*time.Hour)
}

// Rules are the proxy's half of the settings, nil without checks.
func (h HealthCheck) Rules() *policy.Health {
	if !h.Enabled {
		return nil
	}
	return &policy.Health{Interval: h.Interval, Timeout: h.Timeout}
}

// Rules are the proxy's half of the settings, nil without an endpoint.
func (t *Tracing) Rules() *policy.Tracing {
	if t.Endpoint == "" {
		return nil
	}
	return &policy.Tracing{Endpoint: t.Endpoint, Protocol: t.Protocol, Headers: revealed(t.Headers), Sample: t.Sample, RootCAs: t.RootCAs}
}

// Rules are the proxy's half of the settings, nil without a ledger.
func (u *Usage) Rules() *policy.Usage {
	if !u.Enabled {
		return nil
	}
	rules := &policy.Usage{Database: u.Database.Reveal(), Retention: u.Retention}
	if e := &u.Export; e.URL != "" {
		rules.Export = &policy.UsageExport{URL: e.URL, Headers: revealed(e.Headers), Interval: e.Interval, RootCAs: e.RootCAs}
	}
	return rules
}

func revealed(headers map[string]secret.Value) map[string]string {
	open := map[string]string{}
	for name, value := range headers {
		open[name] = value.Reveal()
	}
	return open
}
