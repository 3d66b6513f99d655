package config

import "mcpgateway/runtime/secret"

// Authentication is how callers prove who they are.
type Authentication struct {
	Type     string       `config:"type" want:"api-key|jwt|mtls|oidc|workos" enforced:"api-key"` // "api-key" (default), "jwt", "mtls", "oidc", "workos"
	JWTKey   secret.Value `config:"jwt_key"`
	Audience string       `config:"audience"`
	Issuers  []string     `config:"issuers"`
}
