package config

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"mcpgateway/policy"
	"mcpgateway/runtime/document"
	"mcpgateway/runtime/secret"
)

// Authentication is how callers prove who they are.
type Authentication struct {
	Type           Texts             `config:"type"`     // methods, the preferred one first; default "api-key"
	JWTKey         secret.Value      `config:"jwt_key"`  // an HMAC secret, or PEM public keys
	Audience       Texts             `config:"audience"` // default: the gateway's name for jwt, else the address that a token is sent to
	Issuers        []Issuer          `config:"issuers"`
	WorkOS         WorkOS            `config:"workos"`
	CAFile         string            `config:"ca_file" want:"/"`     // whom to trust when issuers' keys are fetched; default: the host's authorities
	Leeway         time.Duration     `config:"leeway" want:"0s..5m"` // default 30s
	RequiredScopes []string          `config:"required_scopes"`      // every token must have them
	Claims         Claims            `config:"claims"`
	Organizations  map[string]string `config:"organizations"` // values of the claim of projects → projects
	Certificates   Certificates      `config:"certificates"`

	// Policy is all of it, checked, for all transports. Not a key.
	Policy policy.Authentication
}

// Texts is a list that may be written as a single text.
type Texts []string

// UnmarshalText takes the single text.
func (t *Texts) UnmarshalText(text []byte) error {
	*t = Texts{string(text)}
	return nil
}

// Issuer is who issues tokens: a mapping, or one text. What it does not say is as for
// all of them.
type Issuer struct {
	Issuer        string            `config:"issuer"`
	JWKSURI       string            `config:"jwks_uri"` // default: as its metadata says
	Audience      Texts             `config:"audience"`
	Algorithms    []string          `config:"algorithms"` // default: all but HMAC
	Claims        Claims            `config:"claims"`
	Organizations map[string]string `config:"organizations"`
}

// UnmarshalText takes the single text.
func (i *Issuer) UnmarshalText(text []byte) error {
	i.Issuer = string(text)
	return nil
}

// WorkOS is an environment of WorkOS AuthKit.
type WorkOS struct {
	Domain string `config:"domain"` // "https://example.authkit.app"
}

// Claims says which claims of a token say what. A name may be a path, with dots.
type Claims struct {
	User     Texts `config:"user"`
	Name     Texts `config:"name"`
	Groups   Texts `config:"groups"`
	Roles    Texts `config:"roles"`
	Scopes   Texts `config:"scopes"`
	Projects Texts `config:"projects"`
}

// Certificates says which name of a client certificate says who its holder is.
type Certificates struct {
	Identity string `config:"identity" want:"spiffe|uri|email|dns|cn"` // default: the first of spiffe, email, dns and cn that there is
}

// minSecret is the length of an HMAC secret in bytes that can't be guessed.
const minSecret = 32

// signatures are the algorithms of issuers' keys.
var signatures = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// authentication checks how callers prove who they are, and makes the proxy's part.
func (c *checker) authentication() {
	a, p := &c.config.Security.Authentication, document.At("security", "authentication")
	a.Policy = policy.Authentication{
		Methods: make(map[string][]policy.Method), Clients: make(map[string]policy.Clients), CertificateName: a.Certificates.Identity,
	}
	t := &c.config.Transports
	for name, tls := range map[string]*TLS{"http": &t.HTTP.TLS, "grpc": &t.GRPC.TLS} {
		if tls.PEM != nil && len(tls.PEM.ClientCA) > 0 {
			a.Policy.Clients[name] = policy.Clients{CA: tls.PEM.ClientCA, Revoked: tls.PEM.Revoked}
		}
	}
	shared := c.methods(p.Key("type"), a.Type, nil)
	own := map[string]Texts{
		"http": t.HTTP.Authentication, "grpc": t.GRPC.Authentication, "websocket": t.WebSocket.Authentication, "sse": t.SSE.Authentication,
	}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		at := document.At("transports", name, "authentication")
		a.Policy.Methods[name] = c.methods(at, own[name], shared)
		if !c.Given(at) {
			at = p.Key("type")
		}
		c.canUse(at, name, a.Policy.Methods[name])
	}
	c.tokens(p, a)
}

// methods reads a list of methods.
func (c *checker) methods(p document.Path, names Texts, otherwise []policy.Method) (methods []policy.Method) {
	if names == nil {
		return otherwise
	}
	if len(names) == 0 {
		c.Fail(p, "names no method: nobody could come in")
	}
	for i, name := range names {
		at := p
		if c.Given(p.Index(i)) {
			at = p.Index(i)
		}
		method := policy.Method(name)
		c.OneOf(at, name, []string{"api-key", "jwt", "mtls", "oidc", "workos"})
		if slices.Contains(methods, method) {
			c.Fail(at, "is %q, which is there already", name)
		}
		methods = append(methods, method)
	}
	return methods
}

// canUse refuses methods that a transport has not what it takes for.
func (c *checker) canUse(p document.Path, transport string, methods []policy.Method) {
	listener := "http"
	if transport == "grpc" {
		listener = transport
	}
	_, hasCA := c.config.Security.Authentication.Policy.Clients[listener]
	enabled := c.config.Transports.All()[transport].Enabled
	if enabled && slices.Contains(methods, policy.MethodMTLS) && !hasCA && !c.HasFailed(document.At("transports", listener, "tls")) {
		c.Fail(p, "mtls needs transports.%s.tls.client_ca_file: whose certificates are good?", listener)
	}
	if !hasCA && !enabled { // the proxy would refuse what it can't enforce
		methods = slices.DeleteFunc(slices.Clone(methods), func(m policy.Method) bool { return m == policy.MethodMTLS })
		c.config.Security.Authentication.Policy.Methods[transport] = methods
	}
}

// tokens checks what says which tokens are good. One method of tokens is for all
// transports: another would be another meaning of the same keys and issuers.
func (c *checker) tokens(p document.Path, a *Authentication) {
	var method policy.Method
	for _, name := range slices.Sorted(maps.Keys(a.Policy.Methods)) {
		for _, m := range a.Policy.Methods[name] {
			if m.TakesTokens() && method != "" && m != method {
				c.Fail(p.Key("type"), "%s and %s both take bearer tokens: name one of them, for all transports", method, m)
			}
			if m.TakesTokens() {
				method = m
			}
		}
	}
	if method == "" {
		c.unused(p)
		return
	}
	t := &policy.Tokens{
		Method: method, Gateway: c.config.Gateway.Name, Key: []byte(a.JWTKey.Reveal()), Leeway: a.Leeway, RequiredScopes: a.RequiredScopes,
		Rules: c.rules(method, a, Issuer{}), CA: c.pem(p.Key("ca_file"), a.CAFile, c.ReadFile),
	}
	if secret := !strings.Contains(a.JWTKey.Reveal(), "-----BEGIN "); secret && len(t.Key) > 0 && len(t.Key) < minSecret {
		c.Fail(p.Key("jwt_key"), "is a secret of %d bytes, want at least %d: make one with openssl rand -base64 48", len(t.Key), minSecret)
	}
	if method != policy.MethodJWT && !a.JWTKey.Empty() {
		c.Fail(p.Key("jwt_key"), "is for type jwt: %s fetches the keys of its issuers", method)
	}
	c.issuers(p, a, t)
	if method == policy.MethodJWT && len(t.Key) == 0 && len(t.Issuers) == 0 {
		t.Own = true
		t.Issuers = []policy.Issuer{{Issuer: t.Gateway, Rules: t.Rules}}
	}
	c.organizations(p.Key("organizations"), a.Organizations)
	a.Policy.Tokens = t
}

// unused warns of settings that say how tokens are judged, where none are taken.
func (c *checker) unused(p document.Path) {
	for _, key := range []string{"jwt_key", "audience", "issuers", "workos", "required_scopes", "claims", "organizations"} {
		if c.Given(p.Key(key)) {
			c.Warn(p.Key(key), "has no meaning without type jwt, oidc or workos")
		}
	}
}

func (c *checker) issuers(p document.Path, a *Authentication, t *policy.Tokens) {
	if a.WorkOS.Domain != "" {
		domain := a.WorkOS.Domain
		if !strings.Contains(domain, "://") {
			domain = "https://" + domain
		}
		one := Issuer{Issuer: strings.TrimSuffix(domain, "/")}
		c.address(p.Key("workos").Key("domain"), one.Issuer)
		t.Issuers = append(t.Issuers, policy.Issuer{Issuer: one.Issuer, Rules: c.rules(t.Method, a, one)})
	}
	for i, one := range a.Issuers {
		at := p.Key("issuers").Index(i)
		if one.Issuer == "" {
			c.Fail(at, "is missing: write the issuer as its tokens name it (iss)")
		} else if len(t.Key) == 0 && one.JWKSURI == "" {
			c.address(at, one.Issuer)
		}
		if one.JWKSURI != "" {
			c.address(at.Key("jwks_uri"), one.JWKSURI)
		}
		for j, algorithm := range one.Algorithms {
			c.OneOf(at.Key("algorithms").Index(j), algorithm, signatures)
		}
		if slices.ContainsFunc(t.Issuers, func(other policy.Issuer) bool { return other.Issuer == one.Issuer }) {
			c.Fail(at, "is %q, which is there already", one.Issuer)
		}
		c.organizations(at.Key("organizations"), one.Organizations)
		t.Issuers = append(t.Issuers, policy.Issuer{
			Issuer: one.Issuer, JWKS: one.JWKSURI, Algorithms: one.Algorithms, Rules: c.rules(t.Method, a, one),
		})
	}
	if t.Method != policy.MethodJWT && len(t.Issuers) == 0 {
		c.Fail(p.Key("type"), "%s needs issuers: name the address of the one who issues tokens", t.Method)
	}
}

// rules are those of an issuer's tokens, over those of all, over the method's.
func (c *checker) rules(method policy.Method, a *Authentication, one Issuer) policy.TokenRules {
	r := policy.TokenRules{Audiences: a.Audience, Organizations: a.Organizations}
	if len(one.Audience) > 0 {
		r.Audiences = one.Audience
	}
	if len(one.Organizations) > 0 {
		r.Organizations = one.Organizations
	}
	if len(r.Audiences) == 0 && method == policy.MethodJWT {
		r.Audiences = []string{c.config.Gateway.Name}
	}
	pick := func(lists ...Texts) []string {
		for _, list := range lists {
			if len(list) > 0 {
				return list
			}
		}
		return nil
	}
	roles, scopes, projects := Texts{"roles"}, Texts{"scope", "scp"}, Texts{"projects"}
	if method == policy.MethodWorkOS {
		roles, scopes = Texts{"role", "roles"}, Texts{"scope", "permissions"}
	}
	if len(r.Organizations) > 0 {
		projects = Texts{"org_id"}
	}
	r.Claims = policy.Claims{
		User:     pick(one.Claims.User, a.Claims.User, Texts{"sub"}),
		Name:     pick(one.Claims.Name, a.Claims.Name, Texts{"name", "email", "preferred_username"}),
		Groups:   pick(one.Claims.Groups, a.Claims.Groups, Texts{"groups"}),
		Roles:    pick(one.Claims.Roles, a.Claims.Roles, roles),
		Scopes:   pick(one.Claims.Scopes, a.Claims.Scopes, scopes),
		Projects: pick(one.Claims.Projects, a.Claims.Projects, projects),
	}
	r.NeedsProjects = len(r.Organizations) > 0 || len(one.Claims.Projects)+len(a.Claims.Projects) > 0
	return r
}

func (c *checker) organizations(p document.Path, mapped map[string]string) {
	for _, organization := range slices.Sorted(maps.Keys(mapped)) {
		c.OneOf(p.Key(organization), mapped[organization], slices.Sorted(maps.Keys(c.config.Projects)))
	}
}

// address refuses what no key can be fetched from without others answering for it.
func (c *checker) address(p document.Path, text string) {
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Host == "", u.User != nil, u.RawQuery != "", u.Fragment != "":
		c.Fail(p, `is %q, want an address such as "https://auth.example.com"`, text)
	case u.Scheme != "https" && (u.Scheme != "http" || !slices.Contains([]string{"localhost", "127.0.0.1", "::1"}, u.Hostname())):
		c.Fail(p, "is %q, want https: whoever is on the way could let anybody in", text)
	}
}

// publicURL checks the address that clients know the gateway by.
func (c *checker) publicURL(p document.Path, text *string) {
	if *text == "" {
		return
	}
	*text = strings.TrimSuffix(*text, "/")
	u, err := url.Parse(*text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		c.Fail(p, `is %q, want an address such as "https://gw.example.com"`, *text)
	}
}
