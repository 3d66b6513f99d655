package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mcpgateway/runtime/document"
)

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadTrustsOnlyOwnFiles(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		mode fs.FileMode
		user int
		want string // what must be in the error; {} stands for the path
	}{
		{"own", 0o600, os.Geteuid(), ""},
		{"readable by all", 0o644, os.Geteuid(), ""},
		{"group may write", 0o660, os.Geteuid(), "{}: can be written by its group or others (mode 0660): run chmod go-w {}"},
		{"others may write", 0o602, os.Geteuid(), "{}: can be written by its group or others (mode 0602): run chmod go-w {}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := write(t, "gateway.yaml", "")
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			_, _, err := Load(path, unset)
			got, want := "", strings.ReplaceAll(tt.want, "{}", path)
			if err != nil {
				got = err.Error()
			}
			if want == "" && got != "" || !strings.Contains(got, want) {
				t.Errorf("Load: got %q, want %q", got, want)
			}
		})
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe.yaml")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	large := write(t, "large.yaml", strings.Repeat("#", document.MaxFileSize+1))
	for _, tt := range []struct{ name, path, want string }{
		{"no such file", filepath.Join(t.TempDir(), "none.yaml"), "no such file"},
		{"pipe", pipe, "is not a regular file"},
		{"folder", t.TempDir(), "is not a regular file"},
		{"too large", large, "is larger than 1048576 bytes"},
		{"unknown format", write(t, "gateway.json", "{}"), "neither YAML nor TOML"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, _, err := Load(tt.path, unset)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Load: got %v, want an error with %q", err, tt.want)
			}
			if c != nil {
				t.Error("Load: got a configuration beside the error")
			}
		})
	}
	if _, _, err := Load(filepath.Join(t.TempDir(), "none.yaml"), unset); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load of no file: got %v, want fs.ErrNotExist", err)
	}
}

// Twenty thousand servers that are one alias with twenty thousand arguments each
// are four hundred million values.
func TestAliasBomb(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	bomb.WriteString("servers:\n s: &s {command: c, args: [" + strings.Repeat("x, ", 20000) + "x]}\n")
	for i := range 20000 {
		fmt.Fprintf(&bomb, " s%d: *s\n", i)
	}
	_, _, err := Parse("bomb.yaml", bomb.Bytes(), unset)
	if want := "bomb.yaml:1:1: is larger than 4194304 bytes with its aliases and variables replaced"; err == nil || err.Error() != want {
		t.Errorf("Parse: got %.200v, want %q", err, want)
	}
}

// What holds itself is read as deep as the schema is, no deeper.
func TestAliasLoop(t *testing.T) {
	t.Parallel()
	_, _, err := Parse("t.yaml", []byte("servers: &s {a: *s}"), unset)
	want := `t.yaml:1:14: servers.a.a: unknown key: known here are `
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("Parse: got %v, want %s…", err, want)
	}
}

// Deep nesting and long keys cost no more than their bytes.
func TestDeepDocuments(t *testing.T) {
	t.Parallel()
	half := document.MaxFileSize / 4
	for _, tt := range []struct{ name, content, want string }{
		{"t.toml", "a = " + strings.Repeat("[", half) + strings.Repeat("]", half), "nested too deeply"},
		{"t.toml", "a = " + strings.Repeat("{b=", half) + "1", "nested too deeply"},
		{"t.toml", strings.Repeat("a.", half) + "b = 1", "nested too deeply"},
		{"t.toml", "[" + strings.Repeat("a.", half) + "b]", "nested too deeply"},
		{"t.toml", strings.Repeat("a", half) + " = 1", "a key is longer than 256 bytes"},
		{"t.yaml", strings.Repeat("[", half), "not valid YAML: exceeded max depth"},
		{"t.yaml", "? " + strings.Repeat("a", half) + "\n: 1", "a key must be a text of at most 256 bytes"},
	} {
		_, _, err := Parse(tt.name, []byte(tt.content), unset)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %.10q…: got %.200v, want %q", tt.name, tt.content, err, tt.want)
		}
	}
}

func TestVariablesAreBounded(t *testing.T) {
	t.Parallel()
	env := func(string) (string, bool) { return strings.Repeat("x", 1<<17), true }
	content := "servers: {s: {command: c, args: [" + strings.Repeat(`"${A}", `, 100) + "]}}"
	_, _, err := Parse("t.yaml", []byte(content), env)
	if err == nil || strings.Count(err.Error(), "\n") != 0 || !strings.Contains(err.Error(), "4194304 bytes") {
		t.Errorf("Parse: got %.200q, want one error that names the limit", err)
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	c, warnings, err := Parse("t.yaml", []byte("servers: {s: {command: c}}"), unset)
	if err != nil || len(warnings)+len(c.Unsupported()) > 0 {
		t.Fatalf("Parse: %v, %v", err, warnings)
	}
	s := c.Servers["s"]
	for _, tt := range []struct {
		name      string
		got, want any
	}{
		{"version", c.Version, "1.0"},
		{"name", c.Gateway.Name, "mcp-gateway"},
		{"max_servers", c.Gateway.MaxServers, 50},
		{"http", c.Transports.HTTP.Enabled, true},
		{"http port", c.Transports.HTTP.Port, 0},
		{"grpc", c.Transports.GRPC.Enabled, false},
		{"address", c.Transports.GRPC.Address, "127.0.0.1"},
		{"max_body_mb", c.Transports.HTTP.MaxBodyMB, 4},
		{"authentication", strings.Join(c.Security.Authentication.Type, ","), "api-key"},
		{"pool start", c.Sandbox.UIDPool.Start, 1879048192},
		{"pool count", c.Sandbox.UIDPool.Count, 1024},
		{"enabled", s.Enabled, true},
		{"eager", s.Eager, false},
		{"project", s.Project, "default"},
		{"image", s.Image, "host"},
		{"stdio", s.Stdio, "socket"},
		{"timeout", s.Timeout, time.Minute},
		{"idle_timeout", s.IdleTimeout, 10 * time.Minute},
		{"freeze_after", s.FreezeAfter, time.Minute},
		{"resources", s.Resources, Resources{512, 1, 256}},
		{"working_directory", s.WorkingDirectory, "/tmp"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, tt.got, tt.want)
		}
	}
	if _, ok := c.Projects["default"]; !ok {
		t.Error(`projects: got no "default"`)
	}
}

func TestResources(t *testing.T) {
	t.Parallel()
	c, _, err := Parse("t.toml", []byte(`
resources = { max_memory_mb = 900, max_pids = 9 }
[projects.small]
resources = { max_memory_mb = 100, max_cpu = 0.5 }
[servers.a]
command = "c"
[servers.b]
command = "c"
project = "small"
resources.max_memory_mb = 50
[servers.c]
command = "c"
project = "small"
`), unset)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]Resources{"a": {900, 1, 9}, "b": {50, 0.5, 9}, "c": {100, 0.5, 9}} {
		if got := c.Servers[name].Resources; got != want {
			t.Errorf("resources of %s: got %v, want %v", name, got, want)
		}
	}
}
