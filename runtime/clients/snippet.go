package clients

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Target is what a client is to be told of the gateway.
type Target struct {
	URL     string   // of the gateway, without a path
	Servers []string // names
	Key     string   // an API key; "": none is written
	KeyEnv  string   // the variable of the client's environment that holds it
}

// Names are the clients that snippets can be made for.
func Names() []string { return []string{"claude-code", "claude-desktop", "cursor", "vscode"} }

// inputID is what VS Code asks for.
const inputID = "mcp-gateway-key"

// Snippet is the part of a client's configuration file that connects it to servers of the
// gateway, over Streamable HTTP. Notes say what else is to be done.
func Snippet(client string, t Target) (text []byte, notes []string, err error) {
	servers, document := map[string]any{}, map[string]any{}
	for _, name := range t.Servers {
		url := strings.TrimSuffix(t.URL, "/") + "/servers/" + name + "/mcp"
		switch client {
		case "claude-code":
			servers[name] = map[string]any{"type": "http", "url": url, "headers": t.header("${" + t.variable() + "}")}
		case "cursor":
			servers[name] = map[string]any{"url": url, "headers": t.header("${env:" + t.variable() + "}")}
		case "vscode":
			reference := "${input:" + inputID + "}"
			if t.KeyEnv != "" {
				reference = "${env:" + t.KeyEnv + "}"
			}
			servers[name] = map[string]any{"type": "http", "url": url, "headers": t.header(reference)}
		case "claude-desktop":
			servers[name] = t.bridge(url)
		}
	}
	switch client {
	case "claude-code":
		document["mcpServers"], notes = servers, []string{"it belongs into .mcp.json of a project"}
	case "cursor":
		document["mcpServers"], notes = servers, []string{"it belongs into .cursor/mcp.json of a project, or ~/.cursor/mcp.json"}
	case "claude-desktop":
		document["mcpServers"] = servers
		notes = []string{"it belongs into claude_desktop_config.json; that file takes programs only, so npx runs mcp-remote, which connects"}
	case "vscode":
		document["servers"], notes = servers, []string{"it belongs into .vscode/mcp.json of a workspace"}
		if t.Key == "" && t.KeyEnv == "" {
			document["inputs"] = []any{map[string]any{"type": "promptString", "id": inputID, "description": "API key of MCP Gateway", "password": true}}
		}
	default:
		return nil, nil, fmt.Errorf("client %q is not known: use one of %s", client, strings.Join(Names(), ", "))
	}
	notes = slices.Concat(notes, t.keyNotes(client))
	text, err = json.Marshal(document, json.Deterministic(true), jsontext.WithIndent("  "), jsontext.EscapeForHTML(false))
	return append(text, '\n'), notes, err
}

// variable is where the key is, if nobody says it.
func (t Target) variable() string {
	if t.KeyEnv == "" {
		return "MCP_GATEWAY_KEY"
	}
	return t.KeyEnv
}

// header has the key, or what the client puts in its place.
func (t Target) header(reference string) map[string]any {
	if t.Key != "" {
		reference = t.Key
	}
	return map[string]any{"Authorization": "Bearer " + reference}
}

// bridge has a program connect. The key is a variable of it: arguments are seen by all,
// and lose their spaces on some systems.
func (t Target) bridge(url string) map[string]any {
	key := t.Key
	if key == "" {
		key = "PUT-THE-KEY-HERE"
	}
	args := []string{"-y", "mcp-remote", url, "--transport", "http-only", "--header", "Authorization:${MCP_GATEWAY_AUTHORIZATION}"}
	if strings.HasPrefix(url, "http://") {
		args = append(args, "--allow-http")
	}
	return map[string]any{"command": "npx", "args": args, "env": map[string]string{"MCP_GATEWAY_AUTHORIZATION": "Bearer " + key}}
}

func (t Target) keyNotes(client string) []string {
	switch {
	case t.Key != "":
		return []string{"it holds a key: keep it from others"}
	case client == "claude-desktop":
		return []string{"write the key (mcp-gateway key create) where it says PUT-THE-KEY-HERE: that program gives its servers no other variables"}
	case client == "vscode" && t.KeyEnv == "":
		return []string{"VS Code asks for the key (mcp-gateway key create) once"}
	}
	return []string{fmt.Sprintf("set %s to a key (mcp-gateway key create) where the client runs", t.variable())}
}
