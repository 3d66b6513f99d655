package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The policy file's mistakes come with the configuration's, each with its own
// position; the file is watched, whether or not it is any good.
func TestPolicyFile(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, content, want string
		missing             bool
	}{
		{name: "good", content: "roles: {viewer: {}}\n"},
		{name: "two mistakes", content: "roles: {viewer: {extend: [x]}}\nbindings: [{role: viwer, keys: [ci]}]\n",
			want: `POLICY:1:18: roles.viewer.extend: unknown key: did you mean "extends"?` + "\n" +
				`POLICY:2:19: bindings[0].role: is "viwer": did you mean "viewer"?`},
		{name: "missing", missing: true, want: "CONFIG:1:55: security.authorization.policy_file: read policy file: open POLICY: no such file or directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			policy, config := filepath.Join(dir, "p.yaml"), filepath.Join(dir, "c.yaml")
			if !tt.missing {
				if err := os.WriteFile(policy, []byte(tt.content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			text := "security: {authorization: {type: rbac, policy_file:   " + policy + "}}\n"
			r := read(config, []byte(text), os.LookupEnv, systemHost())
			got := ""
			if r.Err != nil {
				got = strings.NewReplacer(policy, "POLICY", config, "CONFIG").Replace(r.Err.Error())
			}
			if got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
			if (r.Err == nil) != (r.Config != nil && r.Config.Security.Authorization.RBAC != nil) {
				t.Errorf("got %+v and %v, want rules or an error", r.Config, r.Err)
			}
			if !slices.Contains(r.Files, policy) {
				t.Errorf("watched: got %q, want the policy file", r.Files)
			}
		})
	}
}
