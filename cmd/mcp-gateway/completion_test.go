package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Names come from the running gateway, and from its configuration if none runs.
func TestCompletion(t *testing.T) {
	t.Parallel()
	running := fakeProxy(t, map[string]string{"/servers": `{"servers":[{"name":"live"},{"name":"o\u001bther"}]}`})
	dir := t.TempDir()
	config := filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(config, []byte("projects: {alpha: {}}\nservers: {files: {command: sh, project: alpha}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, id, err := createKey(keyFile(dir), "ana\x1b", nil, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"tools", "list", "--state", running, "--config", config, ""}, "live"},
		{[]string{"tools", "approve", "--state", dir, "--config", config, ""}, "files"},
		{[]string{"tools", "approve", "--state", dir, "--config", config, "files", ""}, ""},
		{[]string{"policy", "explain", "--config", config, "--project", ""}, "alpha\ndefault"},
		{[]string{"key", "revoke", "--state", dir, ""}, id + "\tana\\u{1b}"},
		{[]string{"key", "list", "-o", ""}, "table\njson"},
		{[]string{"freeze", "--state", dir, ""}, ""},
		{[]string{"completion", ""}, "bash\nfish\nzsh"},
	} {
		out, _, _ := runCommand(append([]string{"__complete"}, tt.args...)...)
		names, _, _ := strings.Cut(out, ":")
		if got := strings.TrimSpace(names); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.args, got, tt.want)
		}
	}
}
