// Package config reads the gateway's configuration, YAML or TOML, into one
// immutable Config. It is strict: whatever it does not know, cannot convert or
// holds to be unsafe is an error with its position, and all errors of a file
// come in one go. It starts nothing.
//
// Runs in: daemon, CLI.
package config

import (
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/profile"
	"mcpgateway/runtime/document"
	"mcpgateway/runtime/secret"
)

// Config is one whole configuration: complete (defaults are filled in), checked
// and never changed afterwards. Its fields are the schema of the file.
type Config struct {
	Version          string             `config:"version" want:"1.0"` // "1.0", also the default
	Gateway          Gateway            `config:"gateway"`
	Projects         map[string]Project `config:"projects"`
	Servers          map[string]Server  `config:"servers"`
	Transports       Transports         `config:"transports"`
	Security         Security           `config:"security"`
	RateLimit        GatewayRateLimit   `config:"rate_limit"`     // of security.rate_limit, if that is given
	MaxConcurrent    MaxConcurrent      `config:"max_concurrent"` // requests in flight
	MaxSessions      Room               `config:"max_sessions"`
	MaxConnections   Room               `config:"max_connections"`
	HealthCheck      HealthCheck        `config:"health_check"`
	Resources        Resources          `config:"resources"` // defaults of every server
	Audit            Audit              `config:"audit"`
	ServiceDiscovery ServiceDiscovery   `config:"service_discovery"`
	Sandbox          Sandbox            `config:"sandbox"`
	Secrets          Secrets            `config:"secrets"`
	Metrics          policy.Metrics     `config:"metrics"`
	Tracing          Tracing            `config:"tracing"`
	Logging          policy.Logging     `config:"logging"`
	Usage            Usage              `config:"usage"`

	unsupported document.Errors
	unfetched   int
	fetched     [2]known // those of helpers, and the others
}

// Unsupported returns the settings that are understood but that this version
// cannot enforce, in the order of the file. Who starts servers must refuse a
// configuration that has any: it would be weaker than it reads.
func (c *Config) Unsupported() document.Errors { return c.unsupported }

// Gateway describes this gateway.
type Gateway struct {
	Name        string `config:"name"`                       // default "mcp-gateway"
	Environment string `config:"environment"`                // free text for people, such as "production"
	MaxServers  int    `config:"max_servers" want:"1..4096"` // most sandboxes at a time, 1 to 4096; default 50
	Watch       bool   `config:"watch"`                      // let a changed file take effect by itself; default true
}

// Project is a tenant. Its resources are a ceiling over all its servers together.
type Project struct {
	Resources          Resources   `config:"resources"` // zero fields: no ceiling
	AllowedDirectories []Directory `config:"allowed_directories"`
	RateLimit          RateLimit   `config:"rate_limit"`                       // of requests for all its servers together
	MaxConcurrent      int         `config:"max_concurrent" want:"0..1000000"` // of those in flight

	Quota policy.Budget `config:"quota"`
}

// Server is one MCP server and the sandbox it runs in.
type Server struct {
	Project            string                  `config:"project"`           // default "default"
	Enabled            bool                    `config:"enabled"`           // default true
	Eager              bool                    `config:"eager"`             // start one instance before the gateway is ready
	Image              string                  `config:"image" want:"host"` // default "host"
	Command            string                  `config:"command"`
	Args               []string                `config:"args" visible:"every user, in /proc/PID/cmdline"`
	Env                map[string]secret.Value `config:"env"`
	Redact             bool                    `config:"redact"`                     // take secrets of env out of what the server says; default true
	WorkingDirectory   string                  `config:"working_directory" want:"/"` // default: the first allowed directory, else "/tmp"
	Stdio              string                  `config:"stdio" want:"socket|pipes"`  // "socket" (default) or "pipes"
	Mounts             []Mount                 `config:"mounts"`
	AllowedDirectories []Directory             `config:"allowed_directories"` // the project's and those of ALLOWED_DIRECTORIES are added
	Resources          Resources               `config:"resources"`
	Profile            string                  `config:"profile"`      // default "default"
	Network            []string                `config:"network"`      // added to a profile whose mode is "allow"
	AllowWeaker        bool                    `config:"allow_weaker"` // let the settings above give more than the profile does
	Instances          policy.Instances        `config:"instances" want:"per-session|per-identity|shared"`
	Replicas           int                     `config:"replicas" want:"1..4096"`                                // of a shared one; default 1
	Strategy           policy.Strategy         `config:"strategy" want:"least-busy|round-robin|consistent-hash"` // of a shared one; default "least-busy"
	Warm               int                     `config:"warm" want:"0..4096"`                                    // instances started before they are needed; default 0
	Prepared           int                     `config:"prepared" want:"0..64"`                                  // sandboxes made ahead of the starts to come; default 1
	Timeout            time.Duration           `config:"timeout" want:"10ms..24h"`                               // longest wait for one answer; default 60s
	MaxTimeout         time.Duration           `config:"max_timeout" want:"10ms..240h"`                          // with progress; default 10 times timeout
	IdleTimeout        time.Duration           `config:"idle_timeout" want:"10ms..24h"`                          // default 10m
	FreezeAfter        time.Duration           `config:"freeze_after" want:"0|10ms..24h"`                        // default 1m; zero: never
	ReclaimAfter       time.Duration           `config:"reclaim_after" want:"0|10ms..24h"`                       // of a frozen one; default 5m; zero: never

	RateLimit      RateLimit       `config:"rate_limit"`
	MaxConcurrent  int             `config:"max_concurrent" want:"0..1000000"` // requests in flight
	CircuitBreaker CircuitBreaker  `config:"circuit_breaker"`
	Retry          Retry           `config:"retry"`
	Tools          map[string]Tool `config:"tools"`
	RequiredScopes []string        `config:"required_scopes"`                   // of tokens, beside security.authentication.required_scopes
	ToolPins       policy.PinMode  `config:"tool_pins" want:"off|report|block"` // default: security.tool_pins.mode

	OnCrash policy.OnCrash   `config:"on_crash" want:"restart|end-session"` // default "restart"
	Restart policy.Restart   `config:"restart"`
	SLO     policy.Objective `config:"slo"`

	// Sandbox is the profile with the server's settings laid over it: all limits,
	// mounts and names, whoever set them. Not a key.
	Sandbox *profile.Effective
}

// Mount makes a program's folder or file of the host visible inside, read-only.
type Mount struct {
	Source string `config:"source"`
	Target string `config:"target"` // default: the same path
}

// Access says what a server may do in a directory.
type Access string

// The values of Access. AccessDefault is read-write where the directory belongs
// to a user, and read-only where it belongs to root.
const (
	AccessDefault   Access = ""
	AccessReadOnly  Access = "ro"
	AccessReadWrite Access = "rw"
)

// Directory is a project's directory that a server may use, at the same path.
// In a file it is either a mapping, or one text: "/path", "/path:ro", "/path:rw".
type Directory struct {
	Path   string `config:"path"`
	Access Access `config:"access" want:"ro|rw"`
	Owner  string `config:"owner"` // user name or id that the server acts as there; default: the directory's owner. Loaded, it is empty or a number above 0
}

// Resources are cgroup limits; zero is "not limited here".
type Resources struct {
	MaxMemoryMB int     `config:"max_memory_mb" want:"1..16777216"` // MiB, without swap; server default 512
	MaxCPU      float64 `config:"max_cpu" want:"0.01..4096"`        // cores, 0.01 and up; server default 1
	MaxPIDs     int     `config:"max_pids" want:"1..4194304"`       // processes and threads; server default 256
}

// Transports are the ways for clients to connect. What HTTP says of TLS, hosts,
// origins and sizes holds for WebSocket and HTTP+SSE, too.
type Transports struct {
	HTTP      HTTP    `config:"http"` // enabled by default
	GRPC      GRPC    `config:"grpc"`
	WebSocket Channel `config:"websocket"`
	SSE       Channel `config:"sse"`

	PortRange     Ports   `config:"port_range"`     // for listeners whose port is 0; default: any
	ReservedPorts []Ports `config:"reserved_ports"` // that those don't get
}

// Listener is where clients connect.
type Listener struct {
	Enabled bool   `config:"enabled"`
	Address string `config:"address"`              // an IP address to bind; default "127.0.0.1"
	Port    int    `config:"port" want:"0..65535"` // 0 (default): a free one, of port_range if there is one
}

// Channel is WebSocket, or HTTP+SSE.
type Channel struct {
	Listener
	Authentication Texts `config:"authentication"` // as of HTTP
}

// HTTP is Streamable HTTP and REST.
type HTTP struct {
	Listener
	TLS            TLS      `config:"tls"`
	Authentication Texts    `config:"authentication"` // methods of this listener; default: security.authentication.type
	PublicURL      string   `config:"public_url"`     // that clients know the gateway by; default: as their requests say
	AllowedHosts   []string `config:"allowed_hosts"`
	AllowedOrigins []string `config:"allowed_origins"`
	MaxBodyMB      int      `config:"max_body_mb" want:"1..1024"` // default 4
}

// GRPC is gRPC.
type GRPC struct {
	Listener
	Authentication Texts `config:"authentication"` // as of HTTP
	TLS            TLS   `config:"tls"`
}

// TLS is how a listener proves itself; without a certificate it is plain text.
type TLS struct {
	CertFile     string `config:"cert_file" want:"/"` // PEM, as the others
	KeyFile      string `config:"key_file" want:"/"`
	ClientCAFile string `config:"client_ca_file" want:"/"` // clients must have a certificate of one of these
	// ClientCertificates is "required" (default), or "optional": none is good, too.
	ClientCertificates string `config:"client_certificates" want:"required|optional"`
	CRLFile            string `config:"crl_file" want:"/"` // revocation lists of those authorities, PEM or DER

	// PEM is what the files hold, nil without any. Not a key.
	PEM *policy.TLS
}

// Security says who may come in.
type Security struct {
	Authentication Authentication    `config:"authentication"`
	Authorization  Authorization     `config:"authorization"`
	ToolPins       ToolPins          `config:"tool_pins"`
	HiddenText     policy.HiddenText `config:"hidden_text" want:"strip|block|report|off"` // default "strip"
	RateLimit      GatewayRateLimit  `config:"rate_limit"`
}

// ServiceDiscovery is where other gateways and servers are found.
type ServiceDiscovery struct {
	Type      string            `config:"type" want:"kubernetes|consul|file|plugin" enforced:""` // "kubernetes", "consul", "file", "plugin"
	Namespace string            `config:"namespace"`
	Labels    map[string]string `config:"labels"`
}

// Sandbox holds what all sandboxes share.
type Sandbox struct {
	Profiles string  `config:"profiles" want:"/"` // folder; default "profiles" beside the configuration
	UIDPool  UIDPool `config:"uid_pool"`
}

// UIDPool is the host ids that sandboxes get, 65,536 for each one.
type UIDPool struct {
	Start int `config:"start" want:"131072..2147418112"` // first host uid and gid, a multiple of 65,536 above 100,000; default 1,879,048,192
	Count int `config:"count" want:"1..4096"`            // ranges in the pool, 1 to 4096; default 1024
}
