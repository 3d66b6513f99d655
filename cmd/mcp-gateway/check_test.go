package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mcpgateway/runtime/provider"
)

// check needs no secret to be there, unless it is to look them up.
func TestCheckSecrets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "c.yaml")
	content := `security: {authentication: {type: jwt, jwt_key: "${credential:jwt}"}}
secrets: {helpers: {vault: {command: /none/vault, env: {TOKEN: "${file:/none/token}"}}}}
servers: {s: {command: cat, args: ["${HOME}"], env: {A: "${file:/none/a}", B: "${exec:vault:b}"}}}
`
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		with *provider.Provider
		want []string
		ok   bool
	}{
		{"without looking", nil, []string{"c.yaml: warning: 4 references to secrets were not looked up", "c.yaml:3:36: warning: servers.s.args[0]: what is in variable HOME will be seen by every user, in /proc/PID/cmdline"}, true},
		{"looking", &provider.Provider{}, []string{"c.yaml:2:64: secrets.helpers.vault.env.TOKEN: ${file:/none/token}: open /none/token: no such file"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out, problems bytes.Buffer
			err := error(nil)
			if tt.with == nil {
				err = check(&out, &problems, file, nil, &output{})
			} else {
				err = check(&out, &problems, file, tt.with.Fetch, &output{})
			}
			if (err == nil) != tt.ok {
				t.Errorf("got %v: %s", err, problems.String())
			}
			for _, want := range tt.want {
				if !strings.Contains(problems.String(), want) {
					t.Errorf("got %s\nwant %q in it", problems.String(), want)
				}
			}
		})
	}
}
