package authn

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"mcpgateway/policy"
)

// tokens verifies the tokens of one policy.
type tokens struct {
	policy  *policy.Tokens
	keys    []*verifyKey       // configured; none: the issuers' are used
	issuers map[string]*issuer // by what tokens call them
	cache   *cache
	now     func() time.Time
}

type issuer struct {
	policy.Issuer
	source *keySource // nil: the configured keys verify its tokens
}

func newTokens(p *policy.Tokens, state *State) (t *tokens, err error) {
	rules, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	t = &tokens{policy: p, issuers: make(map[string]*issuer), cache: state.tokensOf(sha256.Sum256(rules)), now: state.now}
	if len(p.Key) > 0 {
		if t.keys, err = parseKeys(p.Key); err != nil {
			return nil, fmt.Errorf("jwt_key: %w", err)
		}
	}
	for _, one := range p.Issuers {
		added := &issuer{Issuer: one}
		if t.published() {
			if added.source, err = state.source(sourceKey{one.Issuer, one.JWKS, string(p.CA)}); err != nil {
				return nil, fmt.Errorf("issuers: %w", err)
			}
		}
		t.issuers[one.Issuer] = added
	}
	if t.published() && len(t.issuers) == 0 {
		return nil, fmt.Errorf("type %q needs issuers", p.Method)
	}
	return t, nil
}

// published reports whether the keys are those that issuers publish.
func (t *tokens) published() bool { return len(t.keys) == 0 && !t.policy.Own }

// token returns who a token is of. What was verified before is not verified again,
// as long as its key is still one.
func (a *Authenticator) token(ctx context.Context, text string, r Request) (*policy.Identity, error) {
	t := a.tokens
	var onStack [1 << 10]byte // enough for most
	digest := sha256.Sum256(append(onStack[:0], text...))
	v := t.cache.get(digest)
	if v != nil && v.source != nil {
		set, err := v.source.current(ctx)
		if err != nil {
			return nil, err
		}
		if !set.digests[v.digest] {
			t.cache.drop(digest)
			v = nil
		}
	}
	if v == nil {
		var err error
		if v, err = a.verify(ctx, text, r); err != nil {
			return nil, err
		}
		t.cache.put(digest, v)
	}
	if err := t.judge(v, r); err != nil {
		if e := as(err); e.Kind == Expired {
			t.cache.drop(digest)
		}
		return nil, err
	}
	return &v.identity, nil
}

// verify verifies a token that was not seen before. Those from sources that fail too
// often are verified one at a time, and no key is waited for: who shares an address
// with an attacker comes in, and the attacker costs little.
func (a *Authenticator) verify(ctx context.Context, text string, r Request) (*verified, error) {
	wait := a.throttle.wait(r.Source, a.now())
	if wait == 0 {
		return a.tokens.verify(ctx, text)
	}
	if !a.throttle.looking.TryLock() {
		return nil, throttled(wait)
	}
	defer a.throttle.looking.Unlock()
	now, cancel := context.WithCancel(ctx)
	cancel()
	v, err := a.tokens.verify(now, text)
	if err != nil && as(err).Kind == Unavailable {
		return nil, throttled(wait)
	}
	return v, err
}

// verify takes a token apart, finds its key, and then believes it.
func (t *tokens) verify(ctx context.Context, text string) (*verified, error) {
	if t.policy.Own && len(t.keys) == 0 {
		return nil, invalid("this gateway has made no tokens yet: see mcp-gateway token create")
	}
	token, err := parseJWS(text)
	if err != nil {
		return nil, invalid("%v", err)
	}
	from, err := t.issuerOf(token)
	if err != nil {
		return nil, err
	}
	key, err := t.keyOf(ctx, token, from)
	if err != nil {
		return nil, err
	}
	v := &verified{rules: &t.policy.Rules, size: len(text), digest: key.digest}
	if from != nil && from.source != nil {
		v.rules, v.source = &from.Rules, from.source
		if isIDToken(token) {
			return nil, invalid("the token is an ID token, which says to a client who its user is: send the access token")
		}
	}
	if err := t.read(token.claims, v); err != nil {
		return nil, err
	}
	return v, nil
}

// issuerOf gives the configured issuer of a token, nil where none are configured.
func (t *tokens) issuerOf(token *jws) (*issuer, error) {
	name, isText := token.claims["iss"].(string)
	if _, given := token.claims["iss"]; given && !isText {
		return nil, invalid("the token's issuer (iss) is not a text")
	}
	if len(t.issuers) == 0 {
		return nil, nil
	}
	found, ok := t.issuers[name] // as it is written, and not in another way to write it
	if !ok {
		return nil, invalid("the token's issuer (iss) is none that is trusted here")
	}
	return found, nil
}

// keyOf returns the key that has signed a token.
func (t *tokens) keyOf(ctx context.Context, token *jws, from *issuer) (*verifyKey, error) {
	method := methodOf(token.header.Algorithm)
	if method == nil || from != nil && len(from.Algorithms) > 0 && !slices.Contains(from.Algorithms, method.Alg()) {
		return nil, invalid("the token's algorithm is none that is taken here")
	}
	var candidates []*verifyKey
	var err error
	if from != nil && from.source != nil {
		candidates, err = from.candidates(ctx, token.header)
	} else {
		candidates = (&keySet{keys: t.keys}).configured(method.Alg())
	}
	if err != nil {
		return nil, err
	}
	if len(candidates) == 0 {
		return nil, invalid("the token is signed with a key that is not known, or with an algorithm that its key is not for")
	}
	for _, key := range candidates {
		if method.Verify(token.signed, token.signature, key.material) == nil {
			return key, nil
		}
	}
	return nil, invalid("the token's signature is wrong")
}

// configured are the keys of the configuration that fit: they have no ids.
func (s *keySet) configured(algorithm string) (found []*verifyKey) {
	for _, key := range s.keys {
		if key.fits(algorithm) {
			found = append(found, key)
		}
	}
	return found
}

// candidates asks the issuer again if it has no key of that name: it may be new.
func (i *issuer) candidates(ctx context.Context, h header) ([]*verifyKey, error) {
	set, err := i.source.current(ctx)
	if err != nil {
		return nil, err
	}
	if found := set.candidates(h.Algorithm, h.KeyID); len(found) > 0 || h.KeyID == "" {
		return found, nil
	}
	if set, err = i.source.refetch(ctx); err != nil {
		return nil, err
	}
	found := set.candidates(h.Algorithm, h.KeyID)
	if len(found) == 0 {
		err = i.source.outage()
	}
	return found, err
}

// isIDToken tells ID tokens by the claims that only they have (OpenID Connect Core
// 1.0, section 2), unless a token says that it is none.
func isIDToken(token *jws) bool {
	for _, claim := range []string{"nonce", "at_hash", "c_hash", "s_hash"} {
		if _, has := token.claims[claim]; has && !token.header.isAccessToken() {
			return true
		}
	}
	return false
}

// judge decides what depends on the time and the request.
func (t *tokens) judge(v *verified, r Request) error {
	now := t.now()
	switch {
	case !now.Before(v.expires.Add(t.policy.Leeway)):
		return &Error{Kind: Expired, Text: "the token has expired"}
	case now.Before(v.notBefore.Add(-t.policy.Leeway)):
		return invalid("the token is not valid yet")
	case !forUs(v, r.Resource):
		return invalid("the token is for another audience (aud)")
	case v.thumbprint != "" && !boundTo(v.thumbprint, r):
		return invalid("the token is bound to a client certificate that was not shown")
	}
	return haveScopes(v.identity.Scopes, t.policy.RequiredScopes)
}

// forUs reports whether a token is for this gateway, or for the address that it was
// sent to.
func forUs(v *verified, resource string) bool {
	if len(v.rules.Audiences) > 0 {
		return slices.ContainsFunc(v.rules.Audiences, func(ours string) bool { return slices.Contains(v.audiences, ours) })
	}
	wanted := canonical(resource)
	return wanted != "" && slices.ContainsFunc(v.audiences, func(a string) bool { return canonical(a) == wanted })
}

// boundTo compares a certificate's thumbprint (RFC 8705, section 3.1).
func boundTo(thumbprint string, r Request) bool {
	if !hasCertificate(r.TLS) {
		return false
	}
	sum := sha256.Sum256(r.TLS.PeerCertificates[0].Raw)
	own := base64.RawURLEncoding.EncodeToString(sum[:])
	return subtle.ConstantTimeCompare([]byte(own), []byte(thumbprint)) == 1
}

// haveScopes returns a Scope error unless all that are needed are there.
func haveScopes(have, needed []string) error {
	for _, scope := range needed {
		if !slices.Contains(have, scope) {
			return &Error{Kind: Scope, Text: fmt.Sprintf("the token lacks the scope %.100q", scope), Scopes: needed}
		}
	}
	return nil
}

// validator checks the types of the claims of time, and that there is an end.
func (t *tokens) validate(claims map[string]any) error {
	validator := jwt.NewValidator(jwt.WithLeeway(t.policy.Leeway), jwt.WithTimeFunc(t.now), jwt.WithExpirationRequired(), jwt.WithIssuedAt())
	return validator.Validate(jwt.MapClaims(claims))
}
