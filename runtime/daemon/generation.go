package daemon

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

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
	document, err := json.Marshal(proxyHalf(number, cfg, stored, options.salt))
	if err != nil {
		return nil, fmt.Errorf("write generation %d: %w", number, err)
	}
	return &generation{number: number, config: cfg, document: document}, nil
}

// proxyHalf picks what the proxy may know: no command, path or secret of a server.
func proxyHalf(number uint64, cfg *config.Config, stored []policy.Key, salt string) policy.Policy {
	t := &cfg.Transports
	p := policy.Policy{
		Generation: number,
		Gateway:    cfg.Gateway.Name,
		Servers:    map[string]policy.Server{},
		Keys:       stored,
		HTTP: policy.HTTP{
			AllowedHosts: t.HTTP.AllowedHosts, AllowedOrigins: t.HTTP.AllowedOrigins,
			WebSocket: t.OnHTTP(t.WebSocket), SSE: t.OnHTTP(t.SSE), TLS: t.HTTP.TLS.PEM,
		},
		GRPC: policy.GRPC{TLS: t.GRPC.TLS.PEM},
		Limits: policy.Limits{
			MaxBodyBytes:         int64(t.HTTP.MaxBodyMB) << 20,
			MaxMessageBytes:      maxMessageBytes,
			MaxSessions:          cfg.Gateway.MaxServers, // each has a sandbox
			MaxSessionsPerCaller: (cfg.Gateway.MaxServers + 1) / 2,
			Gateway:              quota(cfg.RateLimit.RateLimit, cfg.MaxConcurrent.Gateway),
			PerIdentity:          quota(cfg.RateLimit.PerIdentity, cfg.MaxConcurrent.PerIdentity),
			Projects:             map[string]policy.Quota{},
		},
		ToolLock:   policy.ToolLock{Name: filepath.Base(cfg.Security.ToolPins.File), Content: cfg.Security.ToolPins.Lock},
		HiddenText: cfg.Security.HiddenText,
		RBAC:       rules(cfg.Security.Authorization.RBAC),
	}
	for name, l := range t.All() {
		if l.Enabled {
			p.Transports = append(p.Transports, name)
		}
	}
	for name, project := range cfg.Projects {
		p.Limits.Projects[name] = quota(project.RateLimit, project.MaxConcurrent)
	}
	for name, s := range cfg.Servers {
		if s.Enabled {
			p.Servers[name] = policy.Server{
				Project: s.Project, Program: program(s, salt), Eager: s.Eager,
				Instances: s.Instances, Replicas: s.Replicas, Strategy: s.Strategy, Warm: s.Warm,
				Timeout: s.Timeout, MaxTimeout: s.MaxTimeout, IdleTimeout: s.IdleTimeout, FreezeAfter: s.FreezeAfter,
				ToolPins: s.ToolPins, Network: network(s.Sandbox.Network),
				Quota: quota(s.RateLimit, s.MaxConcurrent), Breaker: breaker(s.CircuitBreaker), Retry: policy.Retry(s.Retry), Tools: tools(s.Tools),
			}
		}
	}
	return p
}

// rules takes the folder from the policy file's path, which the proxy need not know.
func rules(full *policy.RBAC) *policy.RBAC {
	if full == nil {
		return nil
	}
	out := *full
	out.File = filepath.Base(out.File)
	return &out
}

// program names what a server runs without saying it. The environment plays no
// part, and whoever has the digest can't try what the arguments may be, for there
// are secrets among those, too: the salt is the daemon's own.
func program(s config.Server, salt string) string {
	text, _ := json.Marshal([]any{salt, s.Image, s.Command, s.Args}) // texts can always be marshalled
	digest := sha256.Sum256(text)
	return hex.EncodeToString(digest[:])
}
