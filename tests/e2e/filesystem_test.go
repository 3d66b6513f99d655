package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// owner is a user of the host that is nobody special.
const owner = 1234

// outcome is what a client says of one session.
type outcome struct {
	Revision string
	Tools    []string
	Result   struct {
		IsError bool
		Content []struct{ Text string }
	}
}

func (o outcome) text() string {
	var texts []string
	for _, c := range o.Result.Content {
		texts = append(texts, c.Text)
	}
	return strings.Join(texts, "\n")
}

// client runs one session of a client that others wrote: list the tools, call
// one, end.
type client func(t *testing.T, url, key, tool string, arguments map[string]any) outcome

// TestFilesystemServer has clients that nobody here wrote use a server that
// nobody here wrote.
func TestFilesystemServer(t *testing.T) {
	t.Parallel()
	project := owned(t, owner, "hello.txt", "hello from the host")
	g := start(t, filesystemServer(t, project))
	clients := []struct {
		name     string
		revision string // "": the client's choice
		run      client
	}{
		{"go sdk", "", goSDK},
		{"typescript sdk v1", "2025-11-25", typeScript("sdk.mjs")},
		{"typescript sdk v2 legacy", "2025-11-25", typeScript("client.mjs", "legacy")},
		{"typescript sdk v2 auto", "2026-07-28", typeScript("client.mjs", "auto")},
		{"typescript sdk v2 pinned", "2026-07-28", typeScript("client.mjs", "2026-07-28")},
	}
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			url := g.addresses.HTTP + "/servers/files/mcp"
			read := c.run(t, url, g.addresses.Key, "read_text_file", map[string]any{"path": filepath.Join(project, "hello.txt")})
			if got, want := read.text(), "hello from the host"; got != want || read.Result.IsError {
				t.Errorf("read_text_file: got %q, want %q", got, want)
			}
			if c.revision != "" && read.Revision != c.revision {
				t.Errorf("revision: got %q, want %q", read.Revision, c.revision)
			}
			for _, tool := range []string{"read_text_file", "write_file", "list_directory"} {
				if !slices.Contains(read.Tools, tool) {
					t.Errorf("tools/list: got %q, without %q", read.Tools, tool)
				}
			}
			path := filepath.Join(project, strings.ReplaceAll(c.name, " ", "-")+".txt")
			written := c.run(t, url, g.addresses.Key, "write_file", map[string]any{"path": path, "content": "by " + c.name})
			if written.Result.IsError {
				t.Errorf("write_file: %s", written.text())
			}
			checkFile(t, path, "by "+c.name, owner)
		})
	}
	t.Run("outside", func(t *testing.T) {
		got := goSDK(t, g.addresses.HTTP+"/servers/files/mcp", g.addresses.Key, "read_text_file", map[string]any{"path": "/etc/shadow"})
		if !got.Result.IsError {
			t.Errorf("read_text_file /etc/shadow: got %q, want an error", got.text())
		}
	})
}

// filesystemServer is the configuration of the server from npm for a project.
func filesystemServer(t *testing.T, project string) string {
	t.Helper()
	mounts := []string{built.files + ":/srv/files"}
	node, err := exec.LookPath("node")
	if err == nil {
		node, err = filepath.EvalSymlinks(node)
	}
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(node, "/usr/") {
		mounts = append(mounts, filepath.Dir(filepath.Dir(node)))
	}
	return servers(entry("files",
		fmt.Sprintf("command: %q", node),
		fmt.Sprintf("args: [/srv/files/node_modules/@modelcontextprotocol/server-filesystem/dist/index.js, %q]", project),
		fmt.Sprintf("mounts: [%s]", strings.Join(mounts, ", ")),
		fmt.Sprintf("allowed_directories: [%q]", project+":rw"),
		"eager: true"))
}

// checkFile asserts what a server's file is on the host.
func checkFile(t *testing.T, path, content string, uid int) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
		return
	}
	if string(got) != content {
		t.Errorf("%s: got %q, want %q", path, got, content)
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(stat.Uid) != uid || int(stat.Gid) != uid {
		t.Errorf("%s belongs to %d:%d, want %d:%[4]d", path, stat.Uid, stat.Gid, uid)
	}
	if info.Mode()&(os.ModeSetuid|os.ModeSetgid) != 0 {
		t.Errorf("%s has mode %s, want no setuid or setgid bit", path, info.Mode())
	}
}

// goSDK is the official Go SDK.
func goSDK(t *testing.T, url, key, tool string, arguments map[string]any) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	transport := &mcp.StreamableClientTransport{Endpoint: url, HTTPClient: &http.Client{Transport: bearer(key)}}
	session, err := mcp.NewClient(&mcp.Implementation{Name: "e2e", Version: "1"}, nil).Connect(ctx, transport, nil)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	defer func() {
		if err := session.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}()
	var o outcome
	for found, err := range session.Tools(ctx, nil) {
		if err != nil {
			t.Fatalf("tools/list: %v", err)
		}
		o.Tools = append(o.Tools, found.Name)
	}
	result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: arguments})
	if err != nil {
		t.Fatalf("tools/call: %v", err)
	}
	encoded, err := json.Marshal(result)
	if err == nil {
		err = json.Unmarshal(encoded, &o.Result)
	}
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// bearer adds a key to every request.
type bearer string

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(r)
}

// typeScript is one of the TypeScript SDKs' clients; see clients/ts/session.mjs.
func typeScript(script string, revision ...string) client {
	return func(t *testing.T, url, key, tool string, arguments map[string]any) outcome {
		t.Helper()
		encoded, err := json.Marshal(arguments)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		args := append([]string{filepath.Join(built.clients, script), url, tool, string(encoded)}, revision...)
		cmd := exec.CommandContext(ctx, built.node, args...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "MCP_GATEWAY_KEY=" + key}
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v: %s", script, err, out)
		}
		var o outcome
		if err := json.Unmarshal(out, &o); err != nil {
			t.Fatalf("%s: %v: %s", script, err, out)
		}
		return o
	}
}
