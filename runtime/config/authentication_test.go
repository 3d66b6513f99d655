package config

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"mcpgateway/policy"
)

func TestAuthenticationErrors(t *testing.T) {
	t.Parallel()
	const auth = "security.authentication."
	for _, tt := range []struct {
		name, security, transports string // both in one line
		want                       string // "" for none; without file and place
	}{
		{"unknown method", "type: jtw", "", auth + `type: is "jtw", want api-key or jwt or mtls or oidc or workos`},
		{"unknown method in a list", "type: [api-key, basic]", "", auth + `type[1]: is "basic", want api-key or jwt or mtls or oidc or workos`},
		{"no method", "type: []", "", auth + "type: names no method: nobody could come in"},
		{"twice", "type: [api-key, api-key]", "", auth + `type[1]: is "api-key", which is there already`},
		{"two of tokens", "type: [jwt, oidc], issuers: [https://a.example]", "", auth + "type: jwt and oidc both take bearer tokens: name one of them, for all transports"},
		{"two of tokens on two listeners", "type: jwt", "grpc: {authentication: workos}", auth + "type: workos and jwt both take bearer tokens: name one of them, for all transports"},
		{"oidc without an issuer", "type: oidc", "", auth + "type: oidc needs issuers: name the address of the one who issues tokens"},
		{"oidc with a key", "type: oidc, issuers: [https://a.example], jwt_key: " + strings.Repeat("k", 32), "", auth + "jwt_key: is for type jwt: oidc fetches the keys of its issuers"},
		{"short secret", "type: jwt, jwt_key: short-secret", "", auth + "jwt_key: is a secret of 12 bytes, want at least 32: make one with openssl rand -base64 48"},
		{"plain issuer", "type: oidc, issuers: [http://a.example]", "", auth + `issuers[0]: is "http://a.example", want https: whoever is on the way could let anybody in`},
		{"issuer that is no address", "type: oidc, issuers: [a.example]", "", auth + `issuers[0]: is "a.example", want an address such as "https://auth.example.com"`},
		{"issuer with a user", "type: oidc, issuers: [https://u@a.example]", "", auth + `issuers[0]: is "https://u@a.example", want an address such as "https://auth.example.com"`},
		{"issuer twice", "type: oidc, issuers: [https://a.example, https://a.example]", "", auth + `issuers[1]: is "https://a.example", which is there already`},
		{"plain jwks_uri", "type: oidc, issuers: [{issuer: a, jwks_uri: http://a.example/keys}]", "", auth + `issuers[0].jwks_uri: is "http://a.example/keys", want https: whoever is on the way could let anybody in`},
		{"algorithm none", "type: oidc, issuers: [{issuer: https://a.example, algorithms: [none]}]", "", auth + `issuers[0].algorithms[0]: is "none", want RS256 or RS384 or RS512 or PS256 or PS384 or PS512 or ES256 or ES384 or ES512 or EdDSA`},
		{"symmetric algorithm of an issuer", "type: oidc, issuers: [{issuer: https://a.example, algorithms: [HS256]}]", "", auth + `issuers[0].algorithms[0]: is "HS256": did you mean "RS256"?`},
		{"long leeway", "leeway: 6m", "", auth + "leeway: is 6m0s, want 0s to 5m"},
		{"unknown project", "type: jwt, organizations: {org_1: beta}", "", auth + `organizations.org_1: is "beta", want alpha or default`},
		{"unknown name of certificates", "certificates: {identity: serial}", "", auth + `certificates.identity: is "serial", want spiffe or uri or email or dns or cn`},
		{"mtls without authorities", "type: mtls", "", auth + "type: mtls needs transports.http.tls.client_ca_file: whose certificates are good?"},
		{"mtls of one listener", "type: api-key", "grpc: {enabled: true, authentication: mtls}", "transports.grpc.authentication: mtls needs transports.grpc.tls.client_ca_file: whose certificates are good?"},
		{"mtls of what is off", "type: api-key", "grpc: {authentication: mtls}", ""},
		{"public_url without a scheme", "type: api-key", "http: {public_url: gw.example.com}", `transports.http.public_url: is "gw.example.com", want an address such as "https://gw.example.com"`},
		{"optional without authorities", "type: api-key", "http: {tls: {cert_file: /CERT, key_file: /CERT, client_certificates: optional}}", "transports.http.tls.client_certificates: has no meaning without a client_ca_file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := certificates(t)
			text := "projects: {alpha: {}}\nsecurity: {authentication: {" + tt.security + "}}\n"
			if tt.transports != "" {
				text += "transports: {" + strings.ReplaceAll(tt.transports, "/CERT", filepath.Join(dir, "key")) + "}\n"
			}
			_, _, err := Parse("t.yaml", []byte(text), unset)
			got := ""
			if err != nil {
				_, got, _ = strings.Cut(err.Error(), ": ")
			}
			if got != tt.want {
				t.Errorf("got error\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// What the proxy is told, of the ways that files write it.
func TestAuthenticationPolicy(t *testing.T) {
	t.Parallel()
	load := func(t *testing.T, text string) policy.Authentication {
		t.Helper()
		c, _, err := Parse("t.yaml", []byte(text), unset)
		if err != nil {
			t.Fatal(err)
		}
		return c.Security.Authentication.Policy
	}
	t.Run("default", func(t *testing.T) {
		t.Parallel()
		got := load(t, "version: \"1.0\"")
		for _, name := range []string{"http", "grpc", "websocket", "sse"} {
			if !reflect.DeepEqual(got.Methods[name], []policy.Method{policy.MethodAPIKey}) {
				t.Errorf("%s: got %v, want API keys", name, got.Methods[name])
			}
		}
		if got.Tokens != nil {
			t.Errorf("got tokens %+v, want none", got.Tokens)
		}
	})
	t.Run("the gateway's own", func(t *testing.T) {
		t.Parallel()
		got := load(t, "gateway: {name: g}\nsecurity: {authentication: {type: jwt}}").Tokens
		if !got.Own || got.Issuers[0].Issuer != "g" || got.Rules.Audiences[0] != "g" || got.Leeway != 30*time.Second {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("key and issuers", func(t *testing.T) {
		t.Parallel()
		got := load(t, "security: {authentication: {type: jwt, jwt_key: "+strings.Repeat("k", 32)+", audience: a, issuers: [https://auth.company.com]}}").Tokens
		if got.Own || string(got.Key) != strings.Repeat("k", 32) || got.Issuers[0].Issuer != "https://auth.company.com" || got.Rules.Audiences[0] != "a" {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("listeners", func(t *testing.T) {
		t.Parallel()
		got := load(t, "security: {authentication: {type: [oidc, api-key], issuers: [https://a.example]}}\ntransports: {sse: {authentication: api-key}}")
		want := []policy.Method{policy.MethodOIDC, policy.MethodAPIKey}
		if !reflect.DeepEqual(got.Methods["http"], want) || !reflect.DeepEqual(got.Methods["sse"], want[1:]) {
			t.Errorf("got %v", got.Methods)
		}
		if len(got.Tokens.Rules.Audiences) != 0 {
			t.Errorf("audiences: got %v, want the address that a token is sent to", got.Tokens.Rules.Audiences)
		}
	})
	t.Run("WorkOS", func(t *testing.T) {
		t.Parallel()
		got := load(t, "projects: {alpha: {}}\nsecurity: {authentication: {type: workos, workos: {domain: x.authkit.app}, organizations: {org_1: alpha}}}").Tokens.Issuers[0]
		want := policy.Issuer{Issuer: "https://x.authkit.app", Rules: policy.TokenRules{
			Claims: policy.Claims{
				User: []string{"sub"}, Name: []string{"name", "email", "preferred_username"}, Groups: []string{"groups"},
				Roles: []string{"role", "roles"}, Scopes: []string{"scope", "permissions"}, Projects: []string{"org_id"},
			},
			Organizations: map[string]string{"org_1": "alpha"}, NeedsProjects: true,
		}}
		if a, b := asJSON(t, got), asJSON(t, want); a != b {
			t.Errorf("got  %s\nwant %s", a, b)
		}
	})
	t.Run("an issuer of its own ways", func(t *testing.T) {
		t.Parallel()
		got := load(t, `
projects: {alpha: {}, beta: {}}
security:
  authentication:
    type: oidc
    audience: [one, two]
    claims: {groups: [a.b, c], projects: tenant}
    issuers:
      - https://a.example
      - {issuer: "urn:b", jwks_uri: "https://b.example/keys", audience: three, algorithms: [ES256], claims: {user: email}, organizations: {x: beta}}
`).Tokens
		a, b := got.Issuers[0].Rules, got.Issuers[1]
		if len(a.Audiences) != 2 || a.Claims.Groups[1] != "c" || a.Claims.Projects[0] != "tenant" || !a.NeedsProjects {
			t.Errorf("first: got %+v", a)
		}
		if b.JWKS != "https://b.example/keys" || b.Algorithms[0] != "ES256" || b.Rules.Audiences[0] != "three" || b.Rules.Claims.User[0] != "email" ||
			b.Rules.Claims.Groups[0] != "a.b" || b.Rules.Organizations["x"] != "beta" {
			t.Errorf("second: got %+v", b)
		}
	})
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestSettingsThatSayNothingAreWarnings(t *testing.T) {
	t.Parallel()
	_, warnings, err := Parse("t.yaml", []byte("security: {authentication: {audience: x, required_scopes: [y]}}"), unset)
	if err != nil || len(warnings) != 2 || !strings.Contains(warnings[0].Text, "has no meaning without type jwt") {
		t.Errorf("got %v, %v, want two warnings", warnings, err)
	}
}
