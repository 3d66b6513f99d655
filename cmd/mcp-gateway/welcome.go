package main

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"mcpgateway/policy"
	"mcpgateway/runtime/config"
)

// listTools asks a server for its tools in one request, which the revision
// 2026-07-28 allows.
const listTools = `curl -s %[1]s/servers/%[2]s/mcp -H 'Authorization: Bearer %[3]s' -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' -H 'MCP-Protocol-Version: 2026-07-28' -H 'Mcp-Method: tools/list' -d '{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"curl","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}'`

// welcome says where the gateway is and how clients are told of it.
func welcome(out io.Writer, a addresses, cfg *config.Config) {
	fmt.Fprint(out, "\nMCP Gateway is ready.\n\n")
	for _, line := range []struct{ name, address string }{{"http", a.HTTP}, {"grpc", a.GRPC}, {"websocket", a.WebSocket}, {"sse", a.SSE}, {"admin", a.Admin}} {
		if line.address != "" {
			fmt.Fprintf(out, "  %-9s  %s\n", line.name, line.address)
		}
	}
	key := a.Key
	if key == "" {
		key = "$MCP_GATEWAY_KEY"
		fmt.Fprintf(out, "  key        make one with: mcp-gateway %s\n", howToComeIn(cfg))
	} else {
		fmt.Fprintf(out, "  key        %s (it ends with this gateway)\n", key)
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Servers)) {
		if cfg.Servers[name].Enabled && a.HTTP != "" {
			introduce(out, a.HTTP, name, key)
		}
	}
	fmt.Fprint(out, "\nCtrl-C stops it.\n")
}

// howToComeIn is the command that makes a credential for HTTP.
func howToComeIn(cfg *config.Config) string {
	a := cfg.Security.Authentication.Policy
	if methods := a.Methods["http"]; !slices.Contains(methods, policy.MethodAPIKey) && slices.Contains(methods, policy.MethodJWT) {
		return "token create NAME --config FILE --state DIR"
	}
	return "key create NAME --state DIR"
}

func introduce(out io.Writer, address, name, key string) {
	fmt.Fprintf(out, "\nServer %q. List its tools:\n\n", name)
	fmt.Fprintf(out, listTools, address, name, key)
	fmt.Fprintf(out, "\n\nGive it to Claude Code:\n\n"+
		`claude mcp add --transport http %[2]s %[1]s/servers/%[2]s/mcp --header "Authorization: Bearer %[3]s"`, address, name, key)
	fmt.Fprintf(out, "\n\nor to any client with a .mcp.json:\n\n"+
		`{"mcpServers":{"%[2]s":{"type":"http","url":"%[1]s/servers/%[2]s/mcp","headers":{"Authorization":"Bearer %[3]s"}}}}`+"\n", address, name, key)
}
