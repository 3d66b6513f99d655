package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"mcpgateway/tests/hostids"
	"mcpgateway/tests/traffic"
)

// gateway is a running `mcp-gateway up` with everything on that a careful operator has.
type gateway struct {
	*program
	release   func() // of its part of the host's ids
	key       string
	addresses struct{ HTTP, GRPC, WebSocket string }
	log       bytes.Buffer // read after the end only
}

// Servers of its configuration: the same program, shared, with an instance for each
// session, and with one more that waits for the next one; and a tiny one.
const (
	sharedServer = "echo"
	ownServer    = "echo-own"
	warmServer   = "echo-warm"
	tinyServer   = "echo-tiny"
)

// proxyUser is whom the proxies run as.
const proxyUser = "nobody"

const settings = `version: "1.0"
gateway: {name: bench, max_servers: 4096, watch: false}
max_sessions: {gateway: 65536, per_identity: 65536}
max_connections: {gateway: 65536, per_identity: 65536}
sandbox: {uid_pool: {start: %d, count: %d}}
transports:
  http: {enabled: true}
  grpc: {enabled: true}
  websocket: {enabled: true}
security:
  authentication: {type: api-key}
  authorization: {type: rbac, policy_file: %q}
rate_limit:
  enabled: true
  requests_per_second: 1000000
  burst: 1000000
  per_identity: {requests_per_second: 1000000, burst: 1000000}
audit: {enabled: true, file: %q}
metrics: {enabled: true}
servers:
  echo:      {command: /srv/bench/bench-echo, mounts: [%[5]q], instances: shared}
  echo-own:  {command: /srv/bench/bench-echo, mounts: [%[5]q], instances: per-session}
  echo-tiny: {command: /srv/bench/bench-tiny, mounts: [%[5]q], instances: per-session}
  echo-warm: {command: /srv/bench/bench-echo, mounts: [%[5]q], instances: per-session, warm: 1}
`

// rules is a policy of so many rules. The last of them lets the key in; the others are
// about servers and tools that are not there, every tenth denies, and every fifth has a
// condition.
func rules(n int) string {
	var b strings.Builder
	b.WriteString("version: \"1.0\"\nroles:\n  caller:\n    permissions:\n")
	for i := range n - 1 {
		effect, when := "allow", ""
		if i%10 == 9 {
			effect = "deny"
		}
		if i%5 == 4 {
			when = `, when: 'args.path.startsWith("/srv/")'`
		}
		fmt.Fprintf(&b, "      - {effect: %s, actions: [tools/call], servers: [\"team-%d-*\"], tools: [\"read_%d_*\"]%s}\n", effect, i, i, when)
	}
	b.WriteString("      - {actions: [\"*\"], servers: [\"echo*\"]}\nbindings:\n  - {role: caller, keys: [bench]}\n")
	return b.String()
}

// startGateway starts one in a new folder, with ids for so many sandboxes.
func startGateway(ctx context.Context, bin, dir, echo string, sandboxes int) (*gateway, error) {
	first, release, err := hostids.ClaimFor(sandboxes)
	if err != nil {
		return nil, err
	}
	g := &gateway{release: release}
	if err := g.start(ctx, bin, dir, filepath.Dir(echo), first, sandboxes); err != nil {
		if g.program != nil {
			err = errors.Join(err, g.program.stop(), fmt.Errorf("the gateway's log: %s", g.log.String()))
		}
		release()
		return nil, err
	}
	return g, nil
}

func (g *gateway) start(ctx context.Context, bin, dir, programs string, firstID, sandboxes int) error {
	state, config, policy, ready := filepath.Join(dir, "state"), filepath.Join(dir, "mcp-gateway.yaml"), filepath.Join(dir, "policies.yaml"), filepath.Join(dir, "ready.json")
	text := fmt.Sprintf(settings, firstID, sandboxes, policy, filepath.Join(dir, "log", "audit.log"), programs+":/srv/bench")
	err := errors.Join(os.Mkdir(dir, 0o755), os.Mkdir(filepath.Join(dir, "log"), 0o755),
		os.WriteFile(config, []byte(text), 0o600), os.WriteFile(policy, []byte(rules(100)), 0o600))
	if err != nil {
		return err
	}
	command := filepath.Join(bin, "mcp-gateway")
	out, err := exec.CommandContext(ctx, command, "key", "create", "bench", "--state", state, "--output", "json").Output()
	if err != nil {
		return fmt.Errorf("make a key with %s (make build): %w", command, err)
	}
	var made struct{ Key string }
	if err := json.Unmarshal(out, &made); err != nil {
		return fmt.Errorf("read the key: %w", err)
	}
	g.key = made.Key
	cmd := exec.Command(command, "up", "--config", config, "--state", state, "--ready-file", ready, "--proxy-user", proxyUser)
	cmd.Stderr = &g.log
	if g.program, err = startProgram(cmd); err != nil {
		return err
	}
	return g.eventually(ctx, "the gateway is ready", func() (bool, error) {
		content, err := os.ReadFile(ready)
		if errors.Is(err, os.ErrNotExist) {
			return false, nil
		}
		if err == nil {
			err = json.Unmarshal(content, &g.addresses)
		}
		return true, err
	})
}

func (g *gateway) stop() error {
	defer g.release()
	return g.program.stop()
}

func (g *gateway) line(transport string, era traffic.Era, instances string) line {
	server := sharedServer
	if instances == own {
		server = ownServer
	}
	l := line{System: ours, Transport: transport, Era: string(era), Instances: instances, root: g.pid()}
	l.open = func(int) (traffic.Session, error) { return g.open(transport, era, server) }
	return l
}

func (g *gateway) open(transport string, era traffic.Era, server string) (traffic.Session, error) {
	switch transport {
	case "grpc":
		return traffic.GRPC(g.addresses.GRPC, g.key, server, era)
	case "websocket":
		return traffic.WebSocket(g.addresses.WebSocket+"/servers/"+server+"/ws", g.key, era)
	default:
		return traffic.HTTP(g.addresses.HTTP+"/servers/"+server+"/mcp", g.key, era)
	}
}
