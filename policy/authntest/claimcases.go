package authntest

import (
	"encoding/base64"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

//nolint:funlen // a table
func (w *World) claimCases() []Case {
	with := func(name string, value any) string {
		return w.issued(func(d *draft) { d.set(name, value) })
	}
	without := func(name string) string {
		return w.issued(func(d *draft) { delete(d.claims, name) })
	}
	raw := func(more string) string {
		return w.issued(func(d *draft) { d.rawClaims = merged(d.claims, more) })
	}
	now, address := time.Now().Unix(), w.Issuer.URL
	host := strings.TrimPrefix(address, "http://")
	cases := tokens(map[string]string{
		"expired":                            with("exp", now-3600),
		"no end":                             without("exp"),
		"end is a text":                      with("exp", "9999999999"),
		"end is null":                        with("exp", nil),
		"end is beyond all time":             with("exp", 1e300),
		"end is beyond any calendar":         with("exp", int64(1)<<60),
		"end before all time":                with("exp", -1),
		"not valid yet":                      with("nbf", now+3600),
		"begin is a text":                    with("nbf", "0"),
		"begin beyond all time":              with("nbf", 1e300),
		"issued in the future":               with("iat", now+3600),
		"issued is a list":                   with("iat", []int64{now}),
		"another audience":                   with("aud", "another"),
		"list of other audiences":            with("aud", []string{"a", "b"}),
		"empty list of audiences":            with("aud", []string{}),
		"no audience":                        without("aud"),
		"audience is a number":               with("aud", 1),
		"audience is a mapping":              with("aud", map[string]bool{Audience: true}),
		"audience that begins like ours":     with("aud", Audience+".evil.example"),
		"audience in another case":           with("aud", strings.ToUpper(Audience)),
		"audience in a text of many":         with("aud", "other "+Audience),
		"list with something else":           with("aud", []any{Audience, 1}),
		"another issuer":                     with("iss", "https://evil.example"),
		"issuer with a slash":                with("iss", address+"/"),
		"issuer in another case":             with("iss", strings.ToUpper(address)),
		"issuer of the user's part":          with("iss", address+"@evil.example"),
		"issuer behind a user's part":        with("iss", "http://evil.example@"+host),
		"issuer with a query":                with("iss", address+"?x"),
		"issuer with a fragment":             with("iss", address+"#x"),
		"issuer with a dot":                  with("iss", address+"/."),
		"issuer with a blank":                with("iss", address+" "),
		"issuer by another name of the host": with("iss", strings.Replace(address, "127.0.0.1", "localhost", 1)),
		"issuer is a list":                   with("iss", []string{address}),
		"no issuer":                          without("iss"),
		"issuer is null":                     with("iss", nil),
		"nobody's":                           without("sub"),
		"of the empty name":                  with("sub", ""),
		"of a number":                        with("sub", 1),
		"of a name with a line end":          with("sub", "alice\nroot"),
		"of a name with a direction":         with("sub", "alice\u202e"),
		"of a name without end":              with("sub", strings.Repeat("a", 2000)),
		"subject twice":                      raw(`"sub":"root"`),
		"subject twice, escaped":             raw(`"s\u0075b":"root"`),
		"issuer twice":                       raw(`"iss":"` + address + `"`),
		"a member of a member twice":         raw(`"x":{"a":1,"a":2}`),
		"claims are not UTF-8":               raw("\"x\":\"\xff\""),
		"half of a surrogate pair":           raw(`"x":"\ud800"`),
		"claims with more behind":            w.issued(func(d *draft) { d.rawClaims = merged(d.claims, `"x":1`) + "{}" }),
		"claims are a list":                  w.issued(func(d *draft) { d.rawClaims = `[]` }),
		"claims are empty":                   w.issued(func(d *draft) { d.rawClaims = `{}` }),
		"claims are no JSON":                 w.issued(func(d *draft) { d.rawClaims = `alice` }),
		"ID token":                           w.issued(func(d *draft) { d.head("typ", "JWT"); d.set("nonce", "n") }),
		"ID token by its hash":               w.issued(func(d *draft) { d.head("typ", "JWT"); d.set("at_hash", "h") }),
		"bound to a key (DPoP)":              with("cnf", map[string]string{"jkt": "x"}),
		"bound to another certificate":       with("cnf", map[string]string{"x5t#S256": b64(make([]byte, 32))}),
		"bound to nothing":                   with("cnf", map[string]string{}),
		"bound, not an object":               with("cnf", "x"),
		"of no organisation":                 without("org_id"),
		"of an unknown organisation":         with("org_id", "org_01HOTHER"),
		"of the project's name":              with("org_id", Project),
		"of an empty organisation":           with("org_id", ""),
		"of an empty list of organisations":  with("org_id", []string{}),
		"organisation is null":               with("org_id", nil),
		"organisation is a mapping":          with("org_id", map[string]bool{Organization: true}),
		"groups are a mapping":               with("groups", map[string]bool{"admins": true}),
		"roles with a number":                with("roles", []any{"reader", 0}),
	})
	for name, token := range map[string]string{
		"without the scope":           with("scope", "openid"),
		"without any scope":           without("scope"),
		"scope that begins like ours": with("scope", Scope+":read"),
		"scope in another case":       with("scope", strings.ToUpper(Scope)),
		"scopes with commas":          with("scope", "openid,"+Scope),
	} {
		cases = append(cases, Case{Name: name, Setup: Issued, Header: bearer(token), Status: http.StatusForbidden})
	}
	return cases
}

// shapeCases are about the text of tokens, and how they are sent.
func (w *World) shapeCases() []Case {
	good := w.issued(nil)
	parts := strings.Split(good, ".")
	last := good[len(good)-1:]
	// 256 bytes end in two bits that count and four that do not.
	same := map[string]string{"A": "B", "Q": "R", "g": "h", "w": "x"}[last]
	cases := tokens(map[string]string{
		"empty bearer":            "",
		"no token":                "token",
		"two parts":               parts[0] + "." + parts[1],
		"four parts":              good + "." + parts[2],
		"encrypted":               good + "." + parts[2] + "." + parts[2],
		"dots alone":              "..",
		"no header":               "." + parts[1] + "." + parts[2],
		"with padding":            good + "==",
		"of the other alphabet":   strings.NewReplacer("-", "+", "_", "/").Replace(w.until("-_")),
		"blank in the middle":     parts[0] + "." + parts[1] + ". " + parts[2],
		"tab behind":              good + "\t.",
		"another way to write it": good[:len(good)-1] + same,
		"huge":                    w.issued(func(d *draft) { d.set("x", strings.Repeat("x", 20<<10)) }),
		"just too long":           w.issued(func(d *draft) { d.set("x", strings.Repeat("x", 12<<10)) }),
		"deep":                    w.issued(func(d *draft) { d.rawClaims = strings.Repeat("[", 10000) }),
		"bytes that are no text":  "\xff\xfe",
		"as JSON":                 `{"payload":"` + parts[1] + `"}`,
		"bearer twice":            "Bearer " + good,
		"two tokens":              good + ", Bearer " + good,
	})
	sent := func(name string, header http.Header) {
		cases = append(cases, Case{Name: name, Setup: Issued, Header: header, Status: http.StatusUnauthorized})
	}
	sent("nothing", http.Header{})
	sent("two headers", http.Header{"Authorization": {"Bearer " + good, "Bearer " + good}})
	sent("a good one before a bad one", http.Header{"Authorization": {"Bearer " + good, "Bearer x"}})
	sent("token and API key", http.Header{"Authorization": {"Bearer " + good}, "X-Api-Key": {w.good}})
	sent("token as API key", key(good))
	sent("scheme Basic", http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("alice:"+good))}})
	sent("scheme DPoP", http.Header{"Authorization": {"DPoP " + good}})
	sent("scheme alone", http.Header{"Authorization": {"Bearer"}})
	sent("no scheme", http.Header{"Authorization": {good}})
	sent("tab behind the scheme", http.Header{"Authorization": {"Bearer\t" + good}})
	sent("in a cookie", http.Header{"Cookie": {"Authorization=Bearer " + good}})
	sent("in another header", http.Header{"Proxy-Authorization": {"Bearer " + good}, "X-Forwarded-User": {"root"}})
	return cases
}

// until makes good tokens until one has one of those characters.
func (w *World) until(characters string) string {
	for {
		if token := w.issued(nil); strings.ContainsAny(token, characters) {
			return token
		}
	}
}

// configuredKeyCases are about tokens that the configuration has the key of.
func (w *World) configuredKeyCases() (cases []Case) {
	public := w.publicPEM()
	add := func(setup Setup, name, token string) {
		cases = append(cases, Case{Name: name, Setup: setup, Header: bearer(token), Status: http.StatusUnauthorized})
	}
	add(PublicKey, "HS256 with the configured PEM", w.secretly(func(d *draft) { d.key = public }))
	add(PublicKey, "HS256 with the configured PEM, no line end", w.secretly(func(d *draft) { d.key = public[:len(public)-1] }))
	add(PublicKey, "HS512 with the configured PEM", w.secretly(func(d *draft) { d.sign(jwt.SigningMethodHS512, "", public) }))
	add(PublicKey, "none, configured PEM", w.issued(func(d *draft) { d.head("alg", "none"); d.method = nil }))
	add(PublicKey, "another key, configured PEM", w.issued(func(d *draft) { d.key = w.other }))
	add(PublicKey, "another issuer, configured PEM", w.issued(func(d *draft) { d.set("iss", "https://evil.example") }))
	add(PublicKey, "API key where only tokens are taken", w.good)
	add(Secret, "another secret", w.secretly(func(d *draft) { d.key = []byte(strings.Repeat("x", 32)) }))
	add(Secret, "the secret, shorter", w.secretly(func(d *draft) { d.key = w.secret[:32] }))
	add(Secret, "the empty secret", w.secretly(func(d *draft) { d.key = []byte{} }))
	add(Secret, "none, configured secret", w.secretly(func(d *draft) { d.head("alg", "none"); d.method = nil }))
	add(Secret, "RS256, configured secret", w.issued(nil))
	add(Secret, "RS256 by a key in the token, configured secret", w.issued(func(d *draft) {
		d.key = w.other
		d.head("jwk", rsaJWK("x", &w.other.PublicKey))
	}))
	add(Secret, "HS256 said to be HS384", w.secretly(func(d *draft) { d.head("alg", "HS384") }))
	add(Secret, "expired, configured secret", w.secretly(func(d *draft) { d.set("exp", time.Now().Unix()-3600) }))
	add(Secret, "another audience, configured secret", w.secretly(func(d *draft) { d.set("aud", "x") }))
	add(Secret, "no issuer, configured secret", w.secretly(func(d *draft) { delete(d.claims, "iss") }))
	return cases
}

func (w *World) keyCases() (cases []Case) {
	add := func(name string, header http.Header) {
		cases = append(cases, Case{Name: name, Setup: Keys, Header: header, Status: http.StatusUnauthorized})
	}
	id, secret := w.good[:len(w.good)-43], w.good[len(w.good)-43:]
	add("revoked API key", key(w.unknown))
	add("expired API key", key(w.old))
	add("API key with another's secret", key(w.wrong))
	add("API key without a secret", key(id))
	add("API key, secret cut", key(w.good[:len(w.good)-1]))
	add("API key, secret longer", key(w.good+"A"))
	add("API key in upper case", key(strings.ToUpper(w.good)))
	add("API key with a blank behind its id", key(strings.TrimSuffix(id, "_")+" _"+secret))
	add("API key, another prefix", key("x"+w.good))
	add("API key, its hash as the secret", key(id+base64.RawURLEncoding.EncodeToString(w.stored[0].Hash[:])))
	add("API key, wildcard for its id", key("mcpgw_************_"+secret))
	add("API key, SQL for its id", key("mcpgw_' OR ''='___"+secret))
	add("API key, not base64url", key(id+"+"+secret[1:]))
	add("empty API key", key(""))
	add("two API keys", http.Header{"X-Api-Key": {w.good, w.good}})
	add("API key in both headers", http.Header{"X-Api-Key": {w.good}, "Authorization": {"Bearer " + w.good}})
	add("API key as Basic", http.Header{"Authorization": {"Basic " + w.good}})
	add("huge API key", key(id+strings.Repeat("A", 12<<10)))
	add("token where only API keys are taken", bearer(w.issued(nil)))
	return cases
}
