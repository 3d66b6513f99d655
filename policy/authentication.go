package policy

import "time"

// Authentication is how callers prove who they are, on each listener.
type Authentication struct {
	// Methods are those of each transport, the preferred one first. One that is not in
	// it lets nobody in.
	Methods map[string][]Method `json:"methods"`
	// Clients are the authorities of client certificates, by transport: "http", which
	// WebSocket and HTTP+SSE share, and "grpc".
	Clients map[string]Clients `json:"clients,omitempty"`
	// CertificateName is the name of a certificate that says who its holder is:
	// "spiffe", "uri", "email", "dns" or "cn"; "": the first of spiffe, email, dns and cn
	// that there is.
	CertificateName string  `json:"certificate_name,omitempty"`
	Tokens          *Tokens `json:"tokens,omitempty"` // nil: no transport takes any
}

// Clients says whose certificates are good. Both parts are documents of certificates
// and of revocation lists; no Revoked means that no list is asked for.
type Clients struct {
	CA      []byte `json:"ca"`                // PEM
	Revoked []byte `json:"revoked,omitempty"` // PEM or DER
}

// Tokens says which bearer tokens are good.
type Tokens struct {
	Method  Method `json:"method"`  // jwt, oidc or workos: one for all transports
	Gateway string `json:"gateway"` // the gateway's own name
	// Key verifies tokens: an HMAC secret, or PEM public keys or certificates. Without
	// it the keys are those that the issuers publish.
	Key []byte `json:"key,omitempty"`
	// Own says that the key is the gateway's own. As long as it has none, no token is
	// good.
	Own            bool          `json:"own,omitempty"`
	Rules          TokenRules    `json:"rules"`             // of tokens that Key verifies
	Issuers        []Issuer      `json:"issuers,omitempty"` // with Key: who else must have issued a token, if there are any
	Leeway         time.Duration `json:"leeway"`            // for clocks that differ
	RequiredScopes []string      `json:"required_scopes,omitempty"`
	CA             []byte        `json:"ca,omitempty"` // PEM: whom to trust when keys are fetched; empty: the host's authorities
}

// Issuer is who issues tokens and publishes the keys that they are signed with.
type Issuer struct {
	Issuer     string     `json:"issuer"`               // as tokens name it
	JWKS       string     `json:"jwks,omitempty"`       // where the keys are; "": where its metadata says
	Algorithms []string   `json:"algorithms,omitempty"` // of signatures; none: all but HMAC
	Rules      TokenRules `json:"rules"`
}

// TokenRules says how the claims of a token are read.
type TokenRules struct {
	// Audiences are for whom tokens may be; none: for the address that they are sent to
	// (RFC 8707).
	Audiences []string `json:"audiences,omitempty"`
	Claims    Claims   `json:"claims"`
	// Organizations are the projects of the values of Claims.Projects. With them, a
	// token with another value is refused, and one without.
	Organizations map[string]string `json:"organizations,omitempty"`
	// NeedsProjects refuses tokens without any of Claims.Projects: else they are good
	// for all projects.
	NeedsProjects bool `json:"needs_projects,omitempty"`
}

// Claims says which claims of a token say what. A name may be a path, with dots; of
// several, the first that is there counts for User and Name, and all for the rest.
type Claims struct {
	User     []string `json:"user"`
	Name     []string `json:"name"`
	Groups   []string `json:"groups"`
	Roles    []string `json:"roles"`
	Scopes   []string `json:"scopes"`
	Projects []string `json:"projects"`
}

// TakesTokens reports whether the method is one of bearer tokens other than API keys.
func (m Method) TakesTokens() bool {
	return m == MethodJWT || m == MethodOIDC || m == MethodWorkOS
}
