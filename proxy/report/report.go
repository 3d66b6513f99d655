// Package report is what the proxy tells its operator, as data: the gateway at a glance,
// its servers, what they do. Texts in it may be what servers wrote: who shows them on
// a terminal must clean them.
//
// Runs in: proxy (makes it), CLI (shows it).
package report

import (
	"encoding/json"
	"time"

	"mcpgateway/policy"
)

// State is what becomes of a call to a server now.
type State string

// The states of servers. Of several that hold, the first of this list is told.
const (
	Stopped   State = "stopped"    // by an operator: calls are refused until it is started
	CrashLoop State = "crash-loop" // it ended again and again: it is not started any more, somewhere
	Failing   State = "failing"    // a circuit breaker is not closed
	Running   State = "running"    // there are instances
	Draining  State = "draining"   // there are only instances that take no more calls
	Idle      State = "idle"       // there is no instance; the next call starts one
)

// States lists them in that order.
func States() []State { return []State{Stopped, CrashLoop, Failing, Running, Draining, Idle} }

// Load is what a server, or the gateway, did in the last five minutes.
type Load struct {
	Calls      int64   `json:"calls"`
	Errors     int64   `json:"errors"`      // that failed by no fault of their clients
	ToolErrors int64   `json:"tool_errors"` // whose tool said that it failed
	Refused    int64   `json:"refused"`     // that the gateway did not pass on
	Total      int64   `json:"total"`       // calls since the gateway knows the server
	InFlight   int     `json:"in_flight"`
	PerSecond  float64 `json:"per_second"` // calls, in the last ten seconds
	P50        float64 `json:"p50_ms"`     // coarse; 0 without calls
	P95        float64 `json:"p95_ms"`
}

// Failure is a call that failed by no fault of its client.
type Failure struct {
	Time   time.Time `json:"time"`
	Status string    `json:"status"` // as in the audit log
	Reason string    `json:"reason"`
}

// Server is one server of the generation in force.
type Server struct {
	Name      string         `json:"name"`
	Project   string         `json:"project"`
	State     State          `json:"state"`
	Since     time.Time      `json:"since,omitzero"`   // of the state, where that is known
	Reason    string         `json:"reason,omitempty"` // of the state, for people
	Instances int            `json:"instances"`
	Restarts  uint64         `json:"restarts"` // of instances that ended by themselves
	ToolPins  policy.PinMode `json:"tool_pins"`
	Load      Load           `json:"load"`
	LastCall  time.Time      `json:"last_call,omitzero"`
	LastError *Failure       `json:"last_error,omitempty"`
}

// Servers is the answer to GET /servers.
type Servers struct {
	Servers []Server `json:"servers"`
}

// Detail is the answer to GET /servers/NAME.
type Detail struct {
	Server
	// Settings are what the proxy enforces for the server, without what recognises its
	// secrets. Durations are in nanoseconds.
	Settings policy.Server `json:"settings"`
	// Sandboxes are its instances.
	Sandboxes []Sandbox `json:"sandboxes"`
	Places    []Place   `json:"places"`
}

// Sandbox is one instance of a server, as the proxy knows it.
type Sandbox struct {
	Sandbox  string    `json:"sandbox"`
	Started  time.Time `json:"started"`
	InFlight int       `json:"in_flight"`
	Draining bool      `json:"draining"`
}

// Place is a place of instances that is left alone, or nearly so.
type Place struct {
	Server   string    `json:"server"`
	Place    string    `json:"place"` // "replica:2" or "identity:SUBJECT"
	State    string    `json:"state"` // of its breaker: "open" or "half-open"; or "crash-loop"
	Failures int       `json:"failures"`
	Until    time.Time `json:"until,omitzero"` // when it is tried again by itself
	Cause    string    `json:"cause"`
}

// Reload is how the last reload of the configuration ended.
type Reload struct {
	Time       time.Time `json:"time"`
	Good       bool      `json:"good"` // else the configuration before stays in force
	Generation uint64    `json:"generation"`
}

// Listener is where clients connect.
type Listener struct {
	Transport string `json:"transport"`
	Address   string `json:"address"`
	Assigned  bool   `json:"assigned,omitempty"` // the configuration did not name the port; the proxy does not know
}

// Status is the answer to GET /status.
type Status struct {
	Gateway    string        `json:"gateway"`
	Version    string        `json:"version"`
	Started    time.Time     `json:"started"`
	Ready      bool          `json:"ready"`
	NotReady   string        `json:"not_ready,omitempty"` // why not
	Generation uint64        `json:"generation"`
	Applied    time.Time     `json:"applied,omitzero"`      // since when the generation is in force
	LastReload *Reload       `json:"last_reload,omitempty"` // absent before the first
	Listeners  []Listener    `json:"listeners"`
	Servers    map[State]int `json:"servers"` // how many are in each state
	Instances  int           `json:"instances"`
	Sessions   int           `json:"sessions"`
	Load       Load          `json:"load"`
	Places     []Place       `json:"places"` // that are left alone
	Warnings   []string      `json:"warnings"`
}

// Call is what POST /servers/NAME/call takes.
type Call struct {
	Tool      string          `json:"tool"`
	Arguments json.RawMessage `json:"arguments,omitempty"`
}

// Called is its answer: the tool's result as the server sent it.
type Called struct {
	Result json.RawMessage `json:"result"`
}

// Done is the answer to POST /servers/NAME/start, stop and restart.
type Done struct {
	State     State    `json:"state"`
	Sandboxes []string `json:"sandboxes"` // that were started, and work
	Ending    int      `json:"ending"`    // instances that end when their calls have
}

// Line is one line of a server's standard error. GET /servers/NAME/logs answers with one
// as JSON on each line.
type Line struct {
	Time    time.Time `json:"time"`
	Sandbox string    `json:"sandbox"`
	Text    string    `json:"text"`
	Missed  uint64    `json:"missed,omitempty"` // lines before it that the reader was too slow for
}
