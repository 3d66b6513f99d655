package config

import (
	"cmp"
	"time"
)

func (c *Config) setDefaults() {
	listener := Transport{Address: "127.0.0.1", MaxBodyMB: 4}
	*c = Config{
		Version:   "1.0",
		Gateway:   Gateway{Name: "mcp-gateway", MaxServers: 50},
		Resources: Resources{MaxMemoryMB: 512, MaxCPU: 1, MaxPIDs: 256},
		Transports: Transports{
			HTTP: listener, GRPC: listener, WebSocket: listener, SSE: listener,
		},
		Security: Security{Authentication: Authentication{Type: "api-key"}},
		Sandbox:  Sandbox{UIDPool: UIDPool{Start: 0x70000000, Count: 1024}},
	}
	c.Transports.HTTP.Enabled = true
}

// SetDefaults gives a server's keys the values that they have unless the file
// says otherwise.
func (s *Server) SetDefaults() {
	*s = Server{
		Project: "default", Enabled: true, Image: "host", Stdio: "socket",
		Timeout: time.Minute, IdleTimeout: 10 * time.Minute, FreezeAfter: time.Minute,
	}
}

// orDefaults fills in what r leaves open. A default gives way to the project's
// ceiling; a limit that was written down does not.
func (r Resources) orDefaults(defaults, ceiling Resources) Resources {
	return Resources{
		MaxMemoryMB: cmp.Or(r.MaxMemoryMB, below(defaults.MaxMemoryMB, ceiling.MaxMemoryMB)),
		MaxCPU:      cmp.Or(r.MaxCPU, below(defaults.MaxCPU, ceiling.MaxCPU)),
		MaxPIDs:     cmp.Or(r.MaxPIDs, below(defaults.MaxPIDs, ceiling.MaxPIDs)),
	}
}

// below is value, or ceiling where there is a lower one.
func below[T cmp.Ordered](value, ceiling T) T {
	var none T
	if ceiling == none {
		return value
	}
	return min(value, ceiling)
}
