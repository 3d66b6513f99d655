package daemon

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"mcpgateway/policy"
	"mcpgateway/runtime/config"
	"mcpgateway/runtime/document"
	"mcpgateway/runtime/keys"
)

// maxMessageBytes is the longest line that the proxy takes from a server: 32 MiB of an
// answer, and what is around and escaped in it.
const maxMessageBytes = 48 << 20

// generation is one configuration in force: all of it, and the proxy's half.
type generation struct {
	number    uint64
	config    *config.Config
	revisions map[string]string // by server, of those that are enabled
	document  []byte            // the proxy's half: a policy.Policy as JSON
	unchanged []byte            // the same, whatever its number
}

// loadGeneration reads the configuration. files are the paths of what it was made of,
// or would be but for an error.
func loadGeneration(number uint64, options Options) (g *generation, warnings document.Errors, files []string, err error) {
	r := config.Read(options.Config, os.LookupEnv, options.fetch())
	files = append(r.Files, options.Keys, options.TokenKey)
	if r.Err != nil {
		return nil, nil, files, r.Err
	}
	if unsupported := r.Config.Unsupported(); len(unsupported) > 0 {
		return nil, nil, files, unsupported
	}
	stored, err := keys.Load(options.Keys)
	if err != nil {
		return nil, nil, files, err
	}
	half := proxyHalf(number, r.Config, stored, options.salt)
	if half.Audit, err = auditRules(r.Config, options.State); err != nil {
		return nil, nil, files, err
	}
	if half.Authentication, err = authentication(r.Config, options.TokenKey); err != nil {
		return nil, nil, files, err
	}
	if tokens := half.Authentication.Tokens; tokens != nil && tokens.Own && len(tokens.Key) == 0 {
		r.Warnings = append(r.Warnings, document.Error{Position: options.TokenKey, Text: "is not there: no token is good before mcp-gateway token create"})
	}
	g = &generation{number: number, config: r.Config, revisions: map[string]string{}}
	for name, s := range half.Servers {
		g.revisions[name] = s.Revision
	}
	g.document, err = json.Marshal(half)
	half.Generation = 0
	if err == nil {
		g.unchanged, err = json.Marshal(half)
	}
	if err != nil {
		return nil, nil, files, fmt.Errorf("write generation %d: %w", number, err)
	}
	return g, r.Warnings, files, nil
}

// same reports whether two generations say the same.
func (g *generation) same(other *generation) bool {
	return bytes.Equal(g.unchanged, other.unchanged) && reflect.DeepEqual(g.config, other.config)
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
			WebSocket: t.OnHTTP(t.WebSocket.Listener), SSE: t.OnHTTP(t.SSE.Listener), TLS: t.HTTP.TLS.PEM,
			PublicURL: t.HTTP.PublicURL,
		},
		GRPC: policy.GRPC{TLS: t.GRPC.TLS.PEM},
		Limits: policy.Limits{
			MaxBodyBytes:            int64(t.HTTP.MaxBodyMB) << 20,
			MaxMessageBytes:         maxMessageBytes,
			MaxSessions:             cfg.MaxSessions.Gateway,
			MaxSessionsPerCaller:    cfg.MaxSessions.PerIdentity,
			MaxConnections:          cfg.MaxConnections.Gateway,
			MaxConnectionsPerCaller: cfg.MaxConnections.PerIdentity,
			MaxInstancesPerCaller:   (cfg.Gateway.MaxServers + 1) / 2,
			Gateway:                 quota(cfg.RateLimit.RateLimit, cfg.MaxConcurrent.Gateway),
			PerIdentity:             quota(cfg.RateLimit.PerIdentity, cfg.MaxConcurrent.PerIdentity),
			Projects:                map[string]policy.Quota{},
		},
		ToolLock:   policy.ToolLock{Name: filepath.Base(cfg.Security.ToolPins.File), Content: cfg.Security.ToolPins.Lock},
		HiddenText: cfg.Security.HiddenText,
		RBAC:       rules(cfg.Security.Authorization.RBAC),
		Health:     cfg.HealthCheck.Rules(),
		Metrics:    cfg.Metrics,
		Tracing:    cfg.Tracing.Rules(),
		Logging:    cfg.Logging,
		Usage:      cfg.Usage.Rules(),
		Budgets:    map[string]policy.Budget{},
	}
	for name, l := range t.All() {
		if l.Enabled {
			p.Transports = append(p.Transports, name)
		}
	}
	slices.Sort(p.Transports) // so that the same configuration gives the same document
	for name, project := range cfg.Projects {
		p.Limits.Projects[name] = quota(project.RateLimit, project.MaxConcurrent)
		if project.Quota != (policy.Budget{}) {
			p.Budgets[name] = project.Quota
		}
	}
	for name, s := range cfg.Servers {
		if s.Enabled {
			p.Servers[name] = policy.Server{
				Project: s.Project, Program: program(s, salt), Revision: revision(s, salt), Eager: s.Eager,
				Instances: s.Instances, Replicas: s.Replicas, Strategy: s.Strategy, Warm: s.Warm,
				Timeout: s.Timeout, MaxTimeout: s.MaxTimeout, IdleTimeout: s.IdleTimeout, FreezeAfter: s.FreezeAfter, ReclaimAfter: s.ReclaimAfter,
				ToolPins: s.ToolPins, RequiredScopes: s.RequiredScopes, Network: network(s.Sandbox.Network), Secrets: matcher(name, s, salt),
				Quota: quota(s.RateLimit, s.MaxConcurrent), Breaker: breaker(s.CircuitBreaker), Retry: policy.Retry(s.Retry), Tools: tools(s.Tools),
				OnCrash: s.OnCrash, Restart: s.Restart, Objective: s.SLO,
			}
		}
	}
	return p
}

// authentication adds the secret of the gateway's own tokens, if such are to be taken.
func authentication(cfg *config.Config, secretPath string) (policy.Authentication, error) {
	a := cfg.Security.Authentication.Policy
	if a.Tokens == nil || !a.Tokens.Own {
		return a, nil
	}
	tokens := *a.Tokens
	var err error
	tokens.Key, err = keys.Secret(secretPath)
	a.Tokens = &tokens
	return a, err
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
	return digest(salt, s.Image, s.Command, s.Args)
}

// revision is another whenever anything has changed that a server's sandbox is made
// of. What is not named here counts: one restart too many is better than a server
// that runs on as it should no more.
func revision(s config.Server, salt string) string {
	env := environment(s)
	profile := s.Sandbox.Profile // without where its values come from
	s.Env, s.Sandbox = nil, nil
	// What the proxy does with instances.
	s.Enabled, s.Eager, s.Instances, s.Replicas, s.Strategy, s.Warm, s.Prepared = false, false, "", 0, "", 0, 0
	s.Timeout, s.MaxTimeout, s.IdleTimeout, s.FreezeAfter, s.ReclaimAfter = 0, 0, 0, 0, 0
	s.RateLimit, s.MaxConcurrent, s.CircuitBreaker, s.Retry, s.Tools, s.ToolPins = config.RateLimit{}, 0, config.CircuitBreaker{}, config.Retry{}, nil, ""
	s.OnCrash, s.Restart, s.SLO = "", policy.Restart{}, policy.Objective{}
	return digest(salt, s, env, profile)
}

func digest(parts ...any) string {
	text, err := json.Marshal(parts)
	if err != nil {
		panic(err) // configurations have nothing that can't be marshalled
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
