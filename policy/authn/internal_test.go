package authn

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mcpgateway/policy"
)

// clock is what tests turn.
type clock struct{ now atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.now.Store(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) Now() time.Time          { return time.Unix(0, c.now.Load()) }
func (c *clock) advance(d time.Duration) { c.now.Add(int64(d)) }

func TestThrottle(t *testing.T) {
	t.Parallel()
	clock, throttle := newClock(), new(throttle)
	one := netip.MustParseAddr("192.0.2.1")
	for i := range failureBurst {
		if wait := throttle.failed(one, clock.Now()); wait != 0 {
			t.Fatalf("failure %d: got a wait of %s, want none", i+1, wait)
		}
	}
	if wait := throttle.wait(one, clock.Now()); wait != time.Second {
		t.Errorf("after the burst: got a wait of %s, want a second", wait)
	}
	if wait := throttle.failed(one, clock.Now()); wait != time.Second {
		t.Errorf("the next failure: got a wait of %s, want a second", wait)
	}
	clock.advance(time.Second)
	if wait := throttle.failed(one, clock.Now()); wait != 0 {
		t.Errorf("a second later: got a wait of %s, want none", wait)
	}
	if wait := throttle.failed(one, clock.Now()); wait != time.Second {
		t.Errorf("the one after it: got a wait of %s, want a second", wait)
	}
	clock.advance(time.Hour)
	if wait := throttle.wait(one, clock.Now()); wait != 0 {
		t.Errorf("an hour later: got a wait of %s, want none", wait)
	}
	if wait := throttle.failed(netip.Addr{}, clock.Now()); wait != 0 {
		t.Errorf("no source: got a wait of %s", wait)
	}
}

// Of the tokens from sources that fail too often one is looked at, at a time.
func TestThrottledTokensAreLookedAtOneAtATime(t *testing.T) {
	t.Parallel()
	clock, source := newClock(), netip.MustParseAddr("192.0.2.1")
	a := &Authenticator{throttle: new(throttle), tokens: &tokens{policy: &policy.Tokens{Own: true}}, now: clock.Now}
	verify := func() error {
		_, err := a.verify(t.Context(), "x", Request{Source: source})
		return err
	}
	for range failureBurst {
		a.throttle.failed(source, clock.Now())
	}
	if err := verify(); !errors.Is(err, &Error{Kind: Invalid}) {
		t.Errorf("got %v, want it looked at", err)
	}
	a.throttle.looking.Lock()
	if err := verify(); !errors.Is(err, &Error{Kind: Throttled}) {
		t.Errorf("got %v while another is looked at", err)
	}
	a.throttle.looking.Unlock()
}

func TestThrottleSources(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"2001:db8::1", "2001:db8::ffff:0:0:1", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"fe80::1%eth0", "fe80::1%eth1", true},
	} {
		if got := source(netip.MustParseAddr(tt.a)) == source(netip.MustParseAddr(tt.b)); got != tt.same {
			t.Errorf("%s and %s: got the same %v", tt.a, tt.b, got)
		}
	}
}

func TestThrottleIsBounded(t *testing.T) {
	t.Parallel()
	clock, throttle := newClock(), new(throttle)
	for i := range uint32(3 * maxSources) {
		address := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		throttle.failed(address, clock.Now())
		if len(throttle.sources) > maxSources {
			t.Fatalf("got %d sources, want at most %d", len(throttle.sources), maxSources)
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	c := newCache([32]byte{})
	put := func(n, size int) {
		c.put([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}, &verified{size: size})
	}
	for n := range 3 * maxCached {
		put(n, 100)
	}
	if len(c.tokens) > maxCached {
		t.Errorf("got %d tokens, want at most %d", len(c.tokens), maxCached)
	}
	for n := range 3 * maxCached {
		put(n, maxToken)
		put(n, maxToken) // the same again counts once
	}
	sum := 0
	for _, v := range c.tokens {
		sum += v.size
	}
	if sum != c.bytes || sum > maxCachedBytes {
		t.Errorf("got %d bytes, counted %d, want at most %d", sum, c.bytes, maxCachedBytes)
	}
}

func TestParseKeys(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, document, want string }{
		{"secret", strings.Repeat("s", 32), ""},
		{"short secret", strings.Repeat("s", 31), "a secret of 31 bytes, want at least 32"},
		{"empty", "", "a secret of 0 bytes"},
		{"private key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", `it holds a "PRIVATE KEY"`},
		{"broken PEM", "-----BEGIN PUBLIC KEY-----\nAAAA", "no PEM that can be read"},
		{"PEM of nothing", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "asn1"},
		{"SSH", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExampleExampleExample user@host", "looks like a public key"},
		{"JWK", `{"kty":"RSA","n":"0123456789012345678901234567890123456789"}`, "looks like a public key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := parseKeys([]byte(tt.document))
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want %q", err, tt.want)
			}
		})
	}
}

// No document makes it panic, and no key that comes of one is weak or a secret.
func FuzzJWKS(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"oct","k":"AAAA"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		set, err := parseJWKS(document)
		if err != nil {
			return
		}
		for _, key := range set.keys {
			if _, secret := key.material.([]byte); secret || len(set.keys) > maxKeys {
				t.Errorf("got %d keys, the last of them %T", len(set.keys), key.material)
			}
		}
	})
}

func TestCanonical(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{"https://gw.example.com/mcp", "https://GW.example.com:443/mcp/", true},
		{"http://gw.example.com", "http://gw.example.com:80/", true},
		{"https://gw.example.com/mcp", "http://gw.example.com/mcp", false},
		{"https://gw.example.com/mcp", "https://gw.example.com/MCP", false},
		{"https://gw.example.com/mcp", "https://gw.example.com/mcp/x", false},
		{"https://gw.example.com/mcp", "https://gw.example.com/mcp?x", false},
		{"https://gw.example.com/mcp", "https://u@gw.example.com/mcp", false},
		{"https://gw.example.com/a%2Fb", "https://gw.example.com/a/b", false},
		{"", "", false},
		{"mcp-gateway", "mcp-gateway", false},
	} {
		a, b := canonical(tt.a), canonical(tt.b)
		if got := a != "" && a == b; got != tt.same {
			t.Errorf("%q and %q: got %q and %q", tt.a, tt.b, a, b)
		}
	}
}

// The library refuses keys of another kind, too; nothing here relies on that.
func TestKeysFitTheirFamily(t *testing.T) {
	t.Parallel()
	keys := map[string]any{
		"HS": []byte("secret"), "RS": &rsa.PublicKey{}, "ES256": &ecdsa.PublicKey{Curve: elliptic.P256()}, "ES384": &ecdsa.PublicKey{Curve: elliptic.P384()},
		"ES512": &ecdsa.PublicKey{Curve: elliptic.P521()}, "EdDSA": ed25519.PublicKey{},
	}
	for _, algorithm := range []string{"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "none", ""} {
		for family, material := range keys {
			want := strings.HasPrefix(strings.Replace(algorithm, "PS", "RS", 1), family)
			if got := (&verifyKey{material: material}).fits(algorithm); got != want {
				t.Errorf("%s with a key of %s: got %v", algorithm, family, got)
			}
		}
		if got := methodOf(algorithm) != nil; got != (algorithm != "none" && algorithm != "") {
			t.Errorf("%q: got a method %v", algorithm, got)
		}
	}
}

func TestKeyIDIsBounded(t *testing.T) {
	t.Parallel()
	for length, want := range map[int]bool{maxKeyID: true, maxKeyID + 1: false} {
		err := parseHeader([]byte(`{"alg":"RS256","kid":"`+strings.Repeat("k", length)+`"}`), new(header))
		if (err == nil) != want {
			t.Errorf("%d bytes: got %v", length, err)
		}
	}
}

func TestErrorsAreTheirKind(t *testing.T) {
	t.Parallel()
	err := error(throttled(time.Second))
	if !errors.Is(err, &Error{Kind: Throttled}) || errors.Is(err, &Error{Kind: Invalid}) {
		t.Error("an error is not of its kind alone")
	}
}

func rulesOf(claims policy.Claims) *policy.TokenRules { return &policy.TokenRules{Claims: claims} }

func TestClaims(t *testing.T) {
	t.Parallel()
	claims, err := parseClaims([]byte(`{"iss":"i","sub":"s","a.b":"literal","a":{"b":"path","c":{"d":["x","y"]}},"role":"one","roles":["two"],"scope":"r w","permissions":["p:q"]}`))
	if err != nil {
		t.Fatal(err)
	}
	id, err := identityOf(claims, rulesOf(policy.Claims{
		User: []string{"none", "a.b"}, Name: []string{"none"}, Groups: []string{"a.c.d"}, Roles: []string{"role", "roles"}, Scopes: []string{"scope", "permissions"},
	}), policy.MethodWorkOS)
	if err != nil {
		t.Fatal(err)
	}
	if id.Subject != "jwt:i|s" || id.User != "literal" || id.Name != "literal" || strings.Join(id.Groups, " ") != "x y" ||
		strings.Join(id.Roles, " ") != "one two" || strings.Join(id.Scopes, " ") != "r w p:q" || id.Projects != nil {
		t.Errorf("got %+v", id)
	}
}
