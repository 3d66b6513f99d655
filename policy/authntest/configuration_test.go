package authntest_test

import (
	"encoding/json"
	"testing"

	"mcpgateway/policy/authntest"
	"mcpgateway/runtime/config"
)

// What tests tell a whole gateway is what they tell authn alone.
func TestConfigurationIsTheSame(t *testing.T) {
	t.Parallel()
	w := authntest.New(t)
	for _, setup := range authntest.Setups() {
		security, tls := w.Configuration(setup, t.TempDir())
		text := "projects: {alpha: {}}\nsecurity: " + security + "\n"
		if tls != "" {
			text += "transports: {http: {tls: " + tls + "}, grpc: {tls: " + tls + "}}\n"
		}
		c, _, err := config.Parse("t.yaml", []byte(text), func(string) (string, bool) { return "", false })
		if err != nil {
			t.Errorf("%s: %v", setup, err)
			continue
		}
		got, want := c.Security.Authentication.Policy, w.Authentication(setup)
		for name, clients := range want.Clients { // a list is never signed alike twice
			clients.Revoked = got.Clients[name].Revoked
			want.Clients[name] = clients
		}
		if want.Tokens != nil { // which names of people there are plays no part in the cases
			want.Tokens.Rules.Claims.Name = got.Tokens.Rules.Claims.Name
			for i := range want.Tokens.Issuers {
				want.Tokens.Issuers[i].Rules.Claims.Name = got.Tokens.Rules.Claims.Name
			}
		}
		if a, b := asJSON(t, got), asJSON(t, want); a != b {
			t.Errorf("%s:\ngot  %s\nwant %s", setup, a, b)
		}
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
