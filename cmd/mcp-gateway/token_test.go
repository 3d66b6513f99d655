package main

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mcpgateway/policy"
	"mcpgateway/policy/authn"
	"mcpgateway/runtime/config"
	"mcpgateway/runtime/keys"
)

func run(t *testing.T, arguments ...string) (out, problems string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := newCommand()
	cmd.SetArgs(arguments)
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	err = cmd.ExecuteContext(t.Context())
	return strings.TrimSpace(stdout.String()), stderr.String(), err
}

func configure(t *testing.T, content string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// letIn asks a gateway of the configuration and state.
func letIn(t *testing.T, file, state, token string) (*policy.Identity, error) {
	t.Helper()
	cfg, _, err := config.Load(file, os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	p := cfg.Security.Authentication.Policy
	if p.Tokens.Own {
		if p.Tokens.Key, err = keys.Secret(tokenKeyFile(state)); err != nil {
			t.Fatal(err)
		}
	}
	remembered := authn.NewState()
	defer remembered.Close()
	a, err := authn.New(p, nil, remembered)
	if err != nil {
		t.Fatal(err)
	}
	return a.Authenticate(t.Context(), authn.Request{Transport: "http", Header: http.Header{"Authorization": {"Bearer " + token}}})
}

func TestTokenCreate(t *testing.T) {
	t.Parallel()
	const secret = "0123456789abcdef0123456789abcdef"
	for _, tt := range []struct {
		name, config, subject string
		makesKey              bool
	}{
		{"the gateway's own", "gateway: {name: gw}\nsecurity: {authentication: {type: jwt}}", "jwt:gw|alice", true},
		{"a secret", "security: {authentication: {type: jwt, jwt_key: " + secret + ", audience: a, issuers: [https://auth.company.com]}}", "jwt:https://auth.company.com|alice", false},
		{"other claims", "projects: {alpha: {}}\nsecurity: {authentication: {type: jwt, claims: {roles: realm.roles, user: name}, organizations: {org_1: alpha}}}", "jwt:mcp-gateway|alice", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			file, state := configure(t, tt.config), t.TempDir()
			arguments := []string{"token", "create", "alice", "--config", file, "--state", state, "--role", "reader", "--group", "staff", "--project", "alpha", "--expires-in", "1h"}
			first, told, err := run(t, arguments...)
			if err != nil {
				t.Fatal(err)
			}
			second, _, err := run(t, arguments...)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(told, "no gateway runs") != tt.makesKey {
				t.Errorf("said %q", told)
			}
			for _, token := range []string{first, second} {
				id, err := letIn(t, file, state, token)
				if err != nil || id.Subject != tt.subject || !slices.Equal(id.Roles, []string{"reader"}) || !slices.Equal(id.Groups, []string{"staff"}) ||
					!slices.Equal(id.Projects, []string{"alpha"}) {
					t.Errorf("got %+v, %v", id, err)
				}
			}
			info, err := os.Stat(tokenKeyFile(state))
			if made := err == nil; made != tt.makesKey || made && info.Mode().Perm() != 0o600 {
				t.Errorf("got key %v, %v", info, err)
			}
		})
	}
}

func TestTokenCreateRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, config, want string
		more               []string
	}{
		{"no tokens", "security: {authentication: {type: api-key}}", "no authentication of type jwt", nil},
		{"others' tokens", "security: {authentication: {type: jwt, issuers: [https://auth.example.com]}}", "its issuers make the tokens", nil},
		{"public key", "security: {authentication: {type: jwt, jwt_key: \"-----BEGIN PUBLIC KEY-----\"}}", "who holds the private one", nil},
		{"over already", "security: {authentication: {type: jwt}}", "is over already", []string{"--expires-in", "0s"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			arguments := append([]string{"token", "create", "alice", "--config", configure(t, tt.config), "--state", t.TempDir()}, tt.more...)
			if out, _, err := run(t, arguments...); err == nil || !strings.Contains(err.Error(), tt.want) || out != "" {
				t.Errorf("got %q, %v, want %q", out, err, tt.want)
			}
		})
	}
}

func TestKeysOfProjects(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	if _, _, err := run(t, "key", "create", "ci", "--state", state, "--project", "alpha", "--project", "beta"); err != nil {
		t.Fatal(err)
	}
	list, _, err := run(t, "key", "list", "--state", state)
	if err != nil || !strings.Contains(list, "PROJECTS") || !strings.Contains(list, "alpha,beta") {
		t.Errorf("got %s, %v", list, err)
	}
}
