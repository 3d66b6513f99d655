package config

import (
	"time"

	"mcpgateway/policy"
)

func (c *Config) setDefaults() {
	listener := Listener{Address: "127.0.0.1"}
	*c = Config{
		Version:   "1.0",
		Gateway:   Gateway{Name: "mcp-gateway", MaxServers: 50, Watch: true},
		Resources: Resources{MaxMemoryMB: 512, MaxCPU: 1, MaxPIDs: 256},
		Transports: Transports{
			HTTP: HTTP{Listener: listener, MaxBodyMB: 4}, GRPC: GRPC{Listener: listener},
			WebSocket: Channel{Listener: listener}, SSE: Channel{Listener: listener},
		},
		Security: Security{
			Authentication: Authentication{Type: Texts{"api-key"}, Leeway: 30 * time.Second},
			ToolPins:       ToolPins{Mode: policy.PinsOff}, HiddenText: policy.HiddenStrip,
		},
		MaxSessions: Room{Gateway: 16384}, MaxConnections: Room{Gateway: 16384},
		Secrets:     Secrets{Refresh: 5 * time.Minute},
		HealthCheck: HealthCheck{Enabled: true, Interval: 30 * time.Second, Timeout: 5 * time.Second},
		Metrics:     policy.Metrics{Enabled: true},
		Tracing:     Tracing{Protocol: "grpc", Sample: 1},
		Logging:     policy.Logging{Level: "info", Format: "text", StderrLines: 20},
		Usage:       Usage{Enabled: true, Store: "sqlite", Retention: 400 * 24 * time.Hour, Export: UsageExport{Interval: time.Minute}},
		Audit: Audit{
			File: "/var/log/mcp-gateway/audit.log", MaxSizeMB: 100, OnFull: policy.OnFullBlock, Sync: policy.SyncInterval,
			Syslog: AuditSyslog{Facility: "authpriv"},
		},
		Sandbox: Sandbox{UIDPool: UIDPool{Start: 0x70000000, Count: 1024}},
	}
	c.Transports.HTTP.Enabled = true
	c.RateLimit.PerIdentity.Enabled, c.Security.RateLimit.PerIdentity.Enabled = true, true
}

// SetDefaults gives a server's keys the values that they have unless the file
// says otherwise.
func (s *Server) SetDefaults() {
	*s = Server{
		Project: "default", Enabled: true, Redact: true, Image: "host", Stdio: "socket", Profile: "default",
		Replicas: 1, Strategy: policy.StrategyLeastBusy, Prepared: 1,
		Timeout: time.Minute, IdleTimeout: 10 * time.Minute, FreezeAfter: time.Minute, ReclaimAfter: 5 * time.Minute,
		RateLimit:      RateLimit{Enabled: true},
		CircuitBreaker: CircuitBreaker{Enabled: true, Failures: 5, Window: time.Minute, OpenFor: 30 * time.Second, HalfOpen: 1},
		Retry:          Retry{Attempts: 2, Backoff: 100 * time.Millisecond, MaxBackoff: 2 * time.Second},
		OnCrash:        policy.OnCrashRestart,
		Restart:        policy.Restart{Backoff: 200 * time.Millisecond, MaxBackoff: time.Minute, Limit: 10, Reset: time.Minute},
	}
}
