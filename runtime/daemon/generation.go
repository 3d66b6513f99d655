package daemon

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"

	"mcpgateway/policy"
	"mcpgateway/runtime/config"
	"mcpgateway/runtime/keys"
)

// maxMessageBytes is the longest line that the proxy takes from a server.
const maxMessageBytes = 16 << 20

// generation is one configuration in force: all of it, and the proxy's half.
type generation struct {
	number   uint64
	config   *config.Config
	document []byte // the proxy's half: a policy.Policy as JSON
}

func loadGeneration(number uint64, options Options) (*generation, error) {
	cfg, warnings, err := config.Load(options.Config, os.LookupEnv)
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		slog.Warn(w.Text, "position", w.Position)
	}
	if unsupported := cfg.Unsupported(); len(unsupported) > 0 {
		return nil, unsupported
	}
	stored, err := keys.Load(options.Keys)
	if err != nil {
		return nil, err
	}
	document, err := json.Marshal(proxyHalf(number, cfg, stored))
	if err != nil {
		return nil, fmt.Errorf("write generation %d: %w", number, err)
	}
	return &generation{number: number, config: cfg, document: document}, nil
}

// proxyHalf picks what the proxy may know: no command, path or secret.
func proxyHalf(number uint64, cfg *config.Config, stored []policy.Key) policy.Policy {
	http := cfg.Transports.HTTP
	p := policy.Policy{
		Generation: number,
		Gateway:    cfg.Gateway.Name,
		Servers:    map[string]policy.Server{},
		Keys:       stored,
		HTTP:       policy.HTTP{AllowedHosts: http.AllowedHosts, AllowedOrigins: http.AllowedOrigins},
		Limits: policy.Limits{
			MaxBodyBytes:         int64(http.MaxBodyMB) << 20,
			MaxMessageBytes:      maxMessageBytes,
			MaxSessions:          cfg.Gateway.MaxServers, // each has a sandbox
			MaxSessionsPerCaller: (cfg.Gateway.MaxServers + 1) / 2,
		},
	}
	for name, s := range cfg.Servers {
		if s.Enabled {
			p.Servers[name] = policy.Server{Project: s.Project, Eager: s.Eager, Timeout: s.Timeout, IdleTimeout: s.IdleTimeout, FreezeAfter: s.FreezeAfter,
				Network: network(s.Sandbox.Network)}
		}
	}
	return p
}
