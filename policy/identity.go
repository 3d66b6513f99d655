package policy

import "time"

// Method is how a caller proved who it is.
type Method string

// The methods.
const (
	MethodAPIKey Method = "api-key"
	MethodJWT    Method = "jwt"
	MethodMTLS   Method = "mtls"
	MethodOIDC   Method = "oidc"
	MethodWorkOS Method = "workos"
)

// Identity is an authenticated caller. The zero Identity is nobody and may do
// nothing. It is never changed after it was made.
type Identity struct {
	Subject  string // unique among all callers of all methods: "key:ID", "jwt:ISSUER|SUB", "mtls:spiffe://…"
	Name     string // for people
	Method   Method
	Servers  []string // the servers that its credential is good for; empty: all
	Projects []string // and the projects; empty: all
	User     string   // what the policy file calls users: a token's subject, as its claims say
	Groups   []string // of a token's claims
	Roles    []string // of the policy file, that the credential itself names
	Scopes   []string // of a token (RFC 6749, section 3.3)
	// Certificate is the name that a client certificate was known by: a SPIFFE id, or
	// another SAN, or the CN; "" without one.
	Certificate string
	// Key is the name of the API key; "" without one.
	Key string
	// Claims are those of a token, as encoding/json decodes them with UseNumber; nil
	// without a token.
	Claims  map[string]any
	Expires time.Time // of the credential; zero: never
}
