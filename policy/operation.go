package policy

import "time"

// What keeps a gateway running and tells of it. The config tags are the keys that the
// values have in the configuration, with their ranges: both sides want the same of
// them.

// Health is how instances that have nothing to do are watched.
type Health struct {
	Interval time.Duration `json:"interval"` // between checks, > 0
	Timeout  time.Duration `json:"timeout"`  // longest wait for an answer, > 0
}

// OnCrash says what becomes of a session whose own process has ended by itself.
type OnCrash string

// The values of OnCrash.
const (
	OnCrashRestart    OnCrash = "restart"     // another is started and initialised as the first was; the session goes on
	OnCrashEndSession OnCrash = "end-session" // the client has to initialise again
)

// Restart says when an instance is started in the place of one that ended by itself,
// or did not start.
type Restart struct {
	Backoff    time.Duration `json:"backoff" config:"backoff" want:"10ms..10m"`        // wait before the second in a row, doubled each time, with jitter
	MaxBackoff time.Duration `json:"max_backoff" config:"max_backoff" want:"10ms..1h"` // >= Backoff
	Limit      int           `json:"limit" config:"limit" want:"1..1000"`              // in a row, after which it is a crash loop: none is started until somebody says so
	Reset      time.Duration `json:"reset" config:"reset" want:"1s..24h"`              // an instance that lived so long ends the row
}

// Objective is what a server's calls shall be like. Zero fields are no objective.
type Objective struct {
	Availability  float64       `json:"availability,omitempty" config:"availability" want:"50..99.999"`     // percent of the calls that succeed
	Latency       time.Duration `json:"latency,omitempty" config:"latency" want:"1ms..1h"`                  // that calls take at most
	LatencyTarget float64       `json:"latency_target,omitempty" config:"latency_target" want:"50..99.999"` // percent of the calls that do; of Latency alone
	Window        time.Duration `json:"window,omitempty" config:"window" want:"1h..2160h"`                  // over which both are meant
}

// Budget is what the servers of a project may use up together. Zero fields are no
// budget; days and months are those of UTC.
type Budget struct {
	CallsPerDay        int64 `json:"calls_per_day,omitempty" config:"calls_per_day" want:"1..1000000000000"`
	CPUSecondsPerMonth int64 `json:"cpu_seconds_per_month,omitempty" config:"cpu_seconds_per_month" want:"1..1000000000000"`
	WarnPercent        int   `json:"warn_percent,omitempty" config:"warn_percent" want:"1..100"` // of a budget, at which its use is told of
}

// Metrics are what is counted.
type Metrics struct {
	Enabled  bool               `json:"enabled" config:"enabled"`
	Counters map[string]Counter `json:"counters,omitempty" config:"counters"` // by name, beside the built-in ones
}

// Counter counts calls of tools by what is in them.
type Counter struct {
	Help      string            `json:"help,omitempty" config:"help"`
	Servers   []string          `json:"servers,omitempty" config:"servers"`                   // none: all
	Tools     []string          `json:"tools,omitempty" config:"tools"`                       // none: all
	Status    string            `json:"status,omitempty" config:"status" want:"ok|error|any"` // which calls count
	Add       string            `json:"add,omitempty" config:"add"`                           // "arguments.NAME" whose number is added; "": 1
	Labels    map[string]string `json:"labels,omitempty" config:"labels"`                     // label → "project", "server", "tool", "transport", "status", "arguments.NAME"
	MaxSeries int               `json:"max_series" config:"max_series" want:"1..10000"`       // combinations of labels; others count as "other"
}

// Tracing is where spans go.
type Tracing struct {
	Endpoint string            `json:"endpoint"` // URL of the OTLP receiver, https or http
	Protocol string            `json:"protocol"` // "grpc" or "http"
	Headers  map[string]string `json:"headers,omitempty"`
	Sample   float64           `json:"sample"` // part of the traces that begin here, 0 to 1
	RootCAs  []byte            `json:"root_cas,omitempty"`
}

// Logging is what both processes log, and how.
type Logging struct {
	Level       string `json:"level" config:"level" want:"debug|info|warn|error"`
	Format      string `json:"format" config:"format" want:"text|json"`
	StderrLines int    `json:"stderr_lines" config:"stderr_lines" want:"0..10000"` // of each instance, a second
}

// Usage is where the ledger of what was used is kept.
type Usage struct {
	Database  string        `json:"database,omitempty"`  // URL of a PostgreSQL; "": the proxy's own SQLite
	Retention time.Duration `json:"retention,omitempty"` // how long entries are kept; 0: for ever
	Export    *UsageExport  `json:"export,omitempty"`
}

// UsageExport is where CloudEvents go.
type UsageExport struct {
	URL      string            `json:"url"`
	Headers  map[string]string `json:"headers,omitempty"`
	Interval time.Duration     `json:"interval"` // > 0
	RootCAs  []byte            `json:"root_cas,omitempty"`
}
