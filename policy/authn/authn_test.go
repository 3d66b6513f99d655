package authn_test

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/authn"
	"mcpgateway/policy/authntest"
)

// offset is a clock that tests turn, and that stands still otherwise: what is forgiven with
// time must not be while a test is busy.
type offset struct {
	began time.Time
	by    atomic.Int64
}

func (o *offset) now() time.Time          { return o.began.Add(time.Duration(o.by.Load())) }
func (o *offset) advance(d time.Duration) { o.by.Add(int64(d)) }

func newState(t testing.TB) (*authn.State, *offset) {
	t.Helper()
	state, clock := authn.NewState(), &offset{began: time.Now()}
	state.SetClock(clock.now)
	t.Cleanup(state.Close)
	return state, clock
}

func newAuthenticator(t testing.TB, p policy.Authentication, keys []policy.Key, state *authn.State) *authn.Authenticator {
	t.Helper()
	a, err := authn.New(p, keys, state)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func bearer(text string) http.Header { return http.Header{"Authorization": {"Bearer " + text}} }

func ask(t testing.TB, a *authn.Authenticator, r authn.Request) (*policy.Identity, authn.Kind) {
	t.Helper()
	r.Transport = "http"
	id, err := a.Authenticate(t.Context(), r)
	var e *authn.Error
	if err != nil && !errors.As(err, &e) {
		t.Fatalf("got error %T %v, want *authn.Error", err, err)
	}
	if err != nil {
		return &policy.Identity{}, e.Kind
	}
	return id, good
}

const good = authn.Kind(-1)

func TestTokenBecomesAnIdentity(t *testing.T) {
	t.Parallel()
	w := authntest.New(t)
	state, _ := newState(t)
	a := newAuthenticator(t, w.Authentication(authntest.Issued), nil, state)
	id, kind := ask(t, a, authn.Request{Header: bearer(w.Token(map[string]any{"name": "Alice A.", "n": json.Number("9007199254740993")}))})
	if kind != good {
		t.Fatalf("got kind %d", kind)
	}
	if id.Subject != "jwt:"+w.Issuer.URL+"|alice" || id.User != "alice" || id.Name != "Alice A." || id.Method != policy.MethodOIDC ||
		!slices.Equal(id.Groups, []string{"staff"}) || !slices.Equal(id.Roles, []string{"reader"}) || !slices.Equal(id.Scopes, []string{"openid", "mcp"}) ||
		!slices.Equal(id.Projects, []string{authntest.Project}) || time.Until(id.Expires) < 9*time.Minute || id.Claims["n"] != json.Number("9007199254740993") {
		t.Errorf("got %+v", id)
	}
}

// What is remembered of a token ends with the token, with its key, and with the rules
// that it was verified by.
func TestVerifiedTokensAreForgotten(t *testing.T) {
	t.Parallel()
	w := authntest.New(t)
	state, clock := newState(t)
	p := w.Authentication(authntest.Issued)
	a := newAuthenticator(t, p, nil, state)
	request := authn.Request{Header: bearer(w.Token(nil))}
	for range 3 {
		if _, kind := ask(t, a, request); kind != good || state.Cached() != 1 {
			t.Fatalf("got kind %d and %d remembered", kind, state.Cached())
		}
	}

	again := newAuthenticator(t, p, nil, state)
	if _, kind := ask(t, again, request); kind != good || state.Cached() != 1 {
		t.Errorf("the same rules: got kind %d and %d remembered, want the one", kind, state.Cached())
	}
	tokens := *p.Tokens
	tokens.RequiredScopes = []string{"admin"}
	p.Tokens = &tokens
	stricter := newAuthenticator(t, p, nil, state)
	if state.Cached() != 0 {
		t.Errorf("other rules: got %d remembered, want none", state.Cached())
	}
	if _, kind := ask(t, stricter, request); kind != authn.Scope {
		t.Errorf("other rules: got kind %d, want Scope", kind)
	}

	w.Rotate("rsa-2")
	clock.advance(11 * time.Minute) // so old that the next one waits for new keys
	long := authn.Request{Header: bearer(w.Token(map[string]any{"exp": time.Now().Add(time.Hour).Unix()}))}
	if _, kind := ask(t, a, long); kind != authn.Invalid {
		t.Errorf("a key that is gone: got kind %d, want Invalid", kind)
	}
	if _, kind := ask(t, a, authn.Request{Header: bearer(w.Token(nil))}); kind != authn.Invalid {
		t.Errorf("a remembered token of a key that is gone: got kind %d, want Invalid", kind)
	}
}

func TestExpiredTokenIsNotRemembered(t *testing.T) {
	t.Parallel()
	w := authntest.New(t)
	state, clock := newState(t)
	a := newAuthenticator(t, w.Authentication(authntest.Secret), nil, state)
	request := authn.Request{Header: w.Good()[slices.IndexFunc(w.Good(), func(c authntest.Case) bool { return c.Name == "HS256" })].Header}
	if _, kind := ask(t, a, request); kind != good {
		t.Fatalf("got kind %d", kind)
	}
	clock.advance(10*time.Minute + 20*time.Second)
	if _, kind := ask(t, a, request); kind != good {
		t.Errorf("within the leeway: got kind %d", kind)
	}
	clock.advance(15 * time.Second)
	if _, kind := ask(t, a, request); kind != authn.Expired || state.Cached() != 0 {
		t.Errorf("behind it: got kind %d and %d remembered, want Expired and none", kind, state.Cached())
	}
}

// A new key of the issuer is found by the first token that it has signed.
func TestRotation(t *testing.T) {
	t.Parallel()
	w := authntest.New(t)
	state, clock := newState(t)
	a := newAuthenticator(t, w.Authentication(authntest.Issued), nil, state)
	if _, kind := ask(t, a, authn.Request{Header: bearer(w.Token(nil))}); kind != good {
		t.Fatalf("got kind %d", kind)
	}
	w.Rotate("rsa-2")
	next := authn.Request{Header: bearer(w.NextToken("rsa-2"))}
	if _, kind := ask(t, a, next); kind != authn.Invalid {
		t.Errorf("at once: got kind %d, want Invalid: it was asked a moment ago", kind)
	}
	clock.advance(11 * time.Second)
	if _, kind := ask(t, a, next); kind != good {
		t.Errorf("a little later: got kind %d", kind)
	}
}

func TestPrepare(t *testing.T) {
	t.Parallel()
	w := authntest.New(t)
	state, _ := newState(t)
	a := newAuthenticator(t, w.Authentication(authntest.Issued), nil, state)
	if w.Issuer.Fetches.Load() != 0 {
		t.Error("New has fetched keys")
	}
	a.Prepare()
	a.Prepare()
	if _, kind := ask(t, a, authn.Request{Header: bearer(w.Token(nil))}); kind != good || w.Issuer.Fetches.Load() != 1 {
		t.Errorf("got kind %d after %d fetches, want one", kind, w.Issuer.Fetches.Load())
	}
	if problems := a.Problems(); problems != nil {
		t.Errorf("got %v", problems)
	}
}

func TestIssuerThatIsDown(t *testing.T) {
	t.Parallel()
	w := authntest.New(t)
	state, clock := newState(t)
	a := newAuthenticator(t, w.Authentication(authntest.Issued), w.Stored(), state)
	w.Issuer.Down(true)
	if _, kind := ask(t, a, authn.Request{Header: bearer(w.Token(nil))}); kind != authn.Unavailable {
		t.Errorf("got kind %d, want Unavailable", kind)
	}
	if problems := a.Problems(); len(problems) != 1 || !strings.Contains(problems[0].Error(), "answers 502") {
		t.Errorf("got %v, want why", problems)
	}
	if _, kind := ask(t, a, authn.Request{Header: bearer(w.Key())}); kind != good {
		t.Errorf("API key: got kind %d: it needs no issuer", kind)
	}
	w.Issuer.Down(false)
	clock.advance(2 * time.Second)
	if _, kind := ask(t, a, authn.Request{Header: bearer(w.Token(nil))}); kind != good {
		t.Errorf("up again: got kind %d", kind)
	}
}

// While an issuer is down nobody can say whether a key that is not known is a new one.
func TestUnknownKeyOfAnIssuerThatIsDown(t *testing.T) {
	t.Parallel()
	w := authntest.New(t)
	state, clock := newState(t)
	a := newAuthenticator(t, w.Authentication(authntest.Issued), w.Stored(), state)
	unknown, known := authn.Request{Header: bearer(w.NextToken("new"))}, authn.Request{Header: bearer(w.Token(nil))}
	if _, kind := ask(t, a, unknown); kind != authn.Invalid {
		t.Errorf("while it answers: got kind %d, want Invalid", kind)
	}
	w.Issuer.Down(true)
	clock.advance(time.Minute)
	for range 2 { // the second time it is not asked
		if _, kind := ask(t, a, unknown); kind != authn.Unavailable {
			t.Errorf("while it is down: got kind %d, want Unavailable", kind)
		}
		if _, kind := ask(t, a, known); kind != good {
			t.Errorf("a known key: got kind %d", kind)
		}
	}
}

// By default a token is for the address that it is sent to.
func TestAudienceIsTheAddress(t *testing.T) {
	t.Parallel()
	w := authntest.New(t)
	state, _ := newState(t)
	p := w.Authentication(authntest.Issued)
	tokens := *p.Tokens
	tokens.Issuers = slices.Clone(tokens.Issuers)
	tokens.Issuers[0].Rules.Audiences = nil
	p.Tokens = &tokens
	a := newAuthenticator(t, p, nil, state)
	header := bearer(w.Token(map[string]any{"aud": []string{"https://gw.example.com/servers/files/mcp"}}))
	for resource, want := range map[string]authn.Kind{
		"https://gw.example.com/servers/files/mcp":      good,
		"https://GW.example.com:443/servers/files/mcp/": good,
		"https://gw.example.com/servers/mail/mcp":       authn.Invalid,
		"https://other.example.com/servers/files/mcp":   authn.Invalid,
		"http://gw.example.com/servers/files/mcp":       authn.Invalid,
		"": authn.Invalid,
	} {
		if _, kind := ask(t, a, authn.Request{Header: header, Resource: resource}); kind != want {
			t.Errorf("%q: got kind %d, want %d", resource, kind, want)
		}
	}
	for _, audience := range []string{"", "mcp-gateway"} { // neither is an address
		if _, kind := ask(t, a, authn.Request{Header: bearer(w.Token(map[string]any{"aud": audience}))}); kind != authn.Invalid {
			t.Errorf("audience %q and no address: got kind %d, want Invalid", audience, kind)
		}
	}
}

func TestTokenBoundToACertificate(t *testing.T) {
	t.Parallel()
	w := authntest.New(t)
	state, _ := newState(t)
	a := newAuthenticator(t, w.Authentication(authntest.Issued), nil, state)
	client, other := w.CA.Sign(authntest.Subject{CN: "client"}), w.CA.Sign(authntest.Subject{CN: "other"})
	sum := sha256.Sum256(client.Leaf.Raw)
	header := bearer(w.Token(map[string]any{"cnf": map[string]string{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}}))
	shown := func(c *tls.Certificate) *tls.ConnectionState {
		return &tls.ConnectionState{HandshakeComplete: true, PeerCertificates: []*certificate{c.Leaf}}
	}
	for _, tt := range []struct {
		name  string
		state *tls.ConnectionState
		want  authn.Kind
	}{{"its own", shown(client), good}, {"another's", shown(other), authn.Invalid}, {"none", nil, authn.Invalid}, {"its own again", shown(client), good}} {
		if _, kind := ask(t, a, authn.Request{Header: header, TLS: tt.state}); kind != tt.want {
			t.Errorf("%s: got kind %d, want %d", tt.name, kind, tt.want)
		}
	}
}

// Who fails often is told to wait; others are not held up, be they behind the same
// address: an attacker behind the proxy that all come by must not keep them out.
func TestThrottling(t *testing.T) {
	t.Parallel()
	w := authntest.New(t)
	state, clock := newState(t)
	a := newAuthenticator(t, w.Authentication(authntest.Issued), w.Stored(), state)
	source := netip.MustParseAddr("192.0.2.1")
	known := authn.Request{Header: bearer(w.Token(nil)), Source: source}
	if _, kind := ask(t, a, known); kind != good {
		t.Fatalf("got kind %d", kind)
	}
	for i := range 20 {
		if _, kind := ask(t, a, authn.Request{Header: bearer(w.Forged()), Source: source}); kind != authn.Invalid {
			t.Fatalf("failure %d: got kind %d, want Invalid", i+1, kind)
		}
	}
	fresh := bearer(w.Token(map[string]any{"jti": "fresh"}))
	for _, tt := range []struct {
		name    string
		request authn.Request
		want    authn.Kind
	}{
		{"a forged one", authn.Request{Header: bearer(w.Forged()), Source: source}, authn.Throttled},
		{"a good one that is not known", authn.Request{Header: fresh, Source: source}, good},
		{"a good one that is known", known, good},
		{"an API key", authn.Request{Header: bearer(w.Key()), Source: source}, good},
		{"a wrong API key", authn.Request{Header: bearer(w.WrongKey()), Source: source}, authn.Throttled},
		{"from elsewhere", authn.Request{Header: fresh, Source: netip.MustParseAddr("192.0.2.2")}, good},
		{"no credential", authn.Request{Source: source}, authn.NoCredential},
	} {
		if _, kind := ask(t, a, tt.request); kind != tt.want {
			t.Errorf("%s: got kind %d, want %d", tt.name, kind, tt.want)
		}
	}
	_, err := a.Authenticate(t.Context(), authn.Request{Transport: "http", Header: bearer(w.Forged()), Source: source})
	var e *authn.Error
	if !errors.As(err, &e) || e.RetryAfter <= 0 || e.RetryAfter > time.Second {
		t.Errorf("got %+v, want a wait of at most a second", e)
	}
	clock.advance(5 * time.Second)
	if _, kind := ask(t, a, authn.Request{Header: bearer(w.Token(map[string]any{"jti": "later"})), Source: source}); kind != good {
		t.Errorf("later: got kind %d", kind)
	}
}

func TestGatewaysOwnTokens(t *testing.T) {
	t.Parallel()
	state, _ := newState(t)
	rules := policy.TokenRules{Audiences: []string{"gw"}, Claims: policy.Claims{
		User: []string{"sub"}, Name: []string{"name"}, Groups: []string{"https://gw.example/groups"}, Roles: []string{"realm.roles"}, Scopes: []string{"scope"}, Projects: []string{"projects"},
	}}
	p := policy.Authentication{
		Methods: map[string][]policy.Method{"http": {policy.MethodJWT}},
		Tokens:  &policy.Tokens{Method: policy.MethodJWT, Gateway: "gw", Own: true, Rules: rules, Issuers: []policy.Issuer{{Issuer: "gw", Rules: rules}}},
	}
	secret := []byte(strings.Repeat("s", 32))
	grant := authn.Grant{
		Issuer: "gw", Audience: "gw", Name: "ci", Groups: []string{"g"}, Roles: []string{"r"}, Scopes: []string{"a", "b"}, Projects: []string{"alpha"},
		Expires: time.Now().Add(time.Hour),
	}
	text, err := authn.NewToken(secret, grant, rules)
	if err != nil {
		t.Fatal(err)
	}
	if _, kind := ask(t, newAuthenticator(t, p, nil, state), authn.Request{Header: bearer(text)}); kind != authn.Invalid {
		t.Errorf("without a key: got kind %d, want Invalid", kind)
	}
	with := *p.Tokens
	with.Key = secret
	p.Tokens = &with
	a := newAuthenticator(t, p, nil, state)
	id, kind := ask(t, a, authn.Request{Header: bearer(text)})
	if kind != good || id.Subject != "jwt:gw|ci" || !slices.Equal(id.Groups, []string{"g"}) || !slices.Equal(id.Roles, []string{"r"}) ||
		!slices.Equal(id.Scopes, []string{"a", "b"}) || !slices.Equal(id.Projects, []string{"alpha"}) {
		t.Errorf("got kind %d and %+v", kind, id)
	}
	if a.Metadata("https://gw.example/mcp") != nil {
		t.Error("got metadata where no issuer gives tokens")
	}
	mapped := rules
	mapped.Organizations = map[string]string{"org_1": "beta"}
	if _, err := authn.NewToken(secret, grant, mapped); err == nil || !strings.Contains(err.Error(), `"alpha"`) {
		t.Errorf("got error %v, want one of the project", err)
	}
	if _, err := authn.NewToken([]byte("short"), grant, rules); err == nil {
		t.Error("made a token with a short secret")
	}
}

func TestMetadataAndChallenge(t *testing.T) {
	t.Parallel()
	w := authntest.New(t)
	state, _ := newState(t)
	a := newAuthenticator(t, w.Authentication(authntest.Issued), w.Stored(), state)
	want := `{"resource":"https://gw.example.com/mcp","authorization_servers":["` + w.Issuer.URL + `"],"scopes_supported":["mcp","files"],"bearer_methods_supported":["header"],"resource_name":"mcp-gateway"}`
	if got := string(a.Metadata("https://gw.example.com/mcp", "files", "mcp")); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	const at = "https://gw.example.com/.well-known/oauth-protected-resource/mcp"
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"nothing sent", &authn.Error{Kind: authn.NoCredential, Text: "x"}, `Bearer scope="mcp", resource_metadata="` + at + `"`},
		{"invalid", &authn.Error{Kind: authn.Invalid, Text: "it \"is\"\nbad\\é"}, `Bearer error="invalid_token", error_description="it 'is'?bad'?", scope="mcp", resource_metadata="` + at + `"`},
		{"expired", &authn.Error{Kind: authn.Expired, Text: "old"}, `Bearer error="invalid_token", error_description="old", scope="mcp", resource_metadata="` + at + `"`},
		{"scope", &authn.Error{Kind: authn.Scope, Text: "lacks", Scopes: []string{"mcp", "files"}}, `Bearer error="insufficient_scope", error_description="lacks", scope="mcp files", resource_metadata="` + at + `"`},
		{"throttled", &authn.Error{Kind: authn.Throttled}, ""},
		{"unavailable", &authn.Error{Kind: authn.Unavailable}, ""},
		{"another error", errors.New("x"), ""},
	} {
		if got := a.Challenge(tt.err, at); got != tt.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.name, got, tt.want)
		}
	}
	keys := newAuthenticator(t, w.Authentication(authntest.Keys), w.Stored(), state)
	if got := keys.Challenge(&authn.Error{Kind: authn.NoCredential}, at); got != "Bearer" || keys.Metadata(at) != nil {
		t.Errorf("API keys: got %q and metadata %s", got, keys.Metadata(at))
	}
	certificates := newAuthenticator(t, w.Authentication(authntest.Certificates), nil, state)
	if got := certificates.Challenge(&authn.Error{Kind: authn.NoCredential}, at); got != "" {
		t.Errorf("certificates: got %q, want no challenge", got)
	}
}

func TestScopesOfAServer(t *testing.T) {
	t.Parallel()
	state, _ := newState(t)
	a := newAuthenticator(t, policy.Authentication{}, nil, state)
	token := &policy.Identity{Subject: "jwt:i|s", Method: policy.MethodOIDC, Scopes: []string{"mcp", "files"}}
	for _, tt := range []struct {
		name  string
		id    *policy.Identity
		needs []string
		want  bool
	}{
		{"has them", token, []string{"files", "mcp"}, true},
		{"needs none", token, nil, true},
		{"lacks one", token, []string{"files", "mail"}, false},
		{"has none", &policy.Identity{Method: policy.MethodJWT}, []string{"files"}, false},
		{"API key", &policy.Identity{Method: policy.MethodAPIKey}, []string{"files"}, true},
		{"certificate", &policy.Identity{Method: policy.MethodMTLS}, []string{"files"}, true},
	} {
		err := a.Scopes(tt.id, tt.needs)
		var e *authn.Error
		if (err == nil) != tt.want || err != nil && (!errors.As(err, &e) || e.Kind != authn.Scope || !slices.Equal(e.Scopes, tt.needs)) {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
}

// What can't be enforced is refused before it is in force.
func TestNewRefuses(t *testing.T) {
	t.Parallel()
	w := authntest.New(t)
	state, _ := newState(t)
	on := func(methods ...policy.Method) map[string][]policy.Method {
		return map[string][]policy.Method{"http": methods}
	}
	for _, tt := range []struct {
		name string
		p    policy.Authentication
		want string
	}{
		{"unknown method", policy.Authentication{Methods: on("basic")}, `no method "basic"`},
		{"tokens without rules", policy.Authentication{Methods: on(policy.MethodJWT)}, "no such tokens"},
		{"rules of another method", policy.Authentication{Methods: on(policy.MethodJWT), Tokens: &policy.Tokens{Method: policy.MethodOIDC}}, "no such tokens"},
		{"no issuer", policy.Authentication{Methods: on(policy.MethodOIDC), Tokens: &policy.Tokens{Method: policy.MethodOIDC}}, "needs issuers"},
		{"a plain issuer", policy.Authentication{Methods: on(policy.MethodOIDC), Tokens: &policy.Tokens{
			Method: policy.MethodOIDC, Issuers: []policy.Issuer{{Issuer: "http://auth.example.com"}}}}, "is not https"},
		{"a private key", policy.Authentication{Methods: on(policy.MethodJWT), Tokens: &policy.Tokens{
			Method: policy.MethodJWT, Key: []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")}}, "jwt_key"},
		{"no authorities", policy.Authentication{Methods: on(policy.MethodMTLS)}, "needs the authorities"},
		{"bad authorities", policy.Authentication{Methods: on(policy.MethodMTLS), Clients: map[string]policy.Clients{"http": {CA: []byte("x")}}}, "no PEM certificate"},
		{"bad lists", policy.Authentication{Methods: on(policy.MethodMTLS), Clients: map[string]policy.Clients{"http": {CA: w.CA.PEM, Revoked: []byte("x")}}}, "revocation lists"},
	} {
		if _, err := authn.New(tt.p, nil, state); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}
