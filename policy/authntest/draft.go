package authntest

import (
	"crypto/rand"
	"encoding/json"
	"maps"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// draft is a token before it is signed. Raw texts take the place of the maps.
type draft struct {
	header, claims       map[string]any
	rawHeader, rawClaims string
	method               jwt.SigningMethod // nil: no signature
	key                  any
	signature            func([]byte) []byte // changes it
}

// issued is a good token of the issuer, with what change does to it.
func (w *World) issued(change func(*draft)) string {
	d := &draft{
		header: map[string]any{"alg": "RS256", "typ": "at+jwt", "kid": "rsa-1"},
		claims: w.claims(w.Issuer.URL), method: jwt.SigningMethodRS256, key: w.rsa,
	}
	if change != nil {
		change(d)
	}
	return d.text()
}

func (w *World) claims(issuer string) map[string]any {
	now := time.Now().Unix()
	return map[string]any{
		"iss": issuer, "sub": "alice", "aud": Audience, "iat": now, "nbf": now, "exp": now + 600,
		"scope": "openid " + Scope, "org_id": Organization, "groups": []string{"staff"}, "roles": []string{"reader"},
	}
}

// secretly is a good token of whoever has the secret.
func (w *World) secretly(change func(*draft)) string {
	return w.issued(func(d *draft) {
		d.header = map[string]any{"alg": "HS256", "typ": "JWT"}
		d.method, d.key = jwt.SigningMethodHS256, w.secret
		if change != nil {
			change(d)
		}
	})
}

func (d *draft) set(name string, value any)  { d.claims[name] = value }
func (d *draft) head(name string, value any) { d.header[name] = value }

// sign takes another method and key, and says so.
func (d *draft) sign(method jwt.SigningMethod, id string, key any) {
	d.method, d.key = method, key
	d.head("alg", method.Alg())
	d.head("kid", id)
}

func (d *draft) text() string {
	part := func(raw string, members map[string]any) string {
		if raw == "" {
			raw = string(must(json.Marshal(members)))
		}
		return b64([]byte(raw))
	}
	signed := part(d.rawHeader, d.header) + "." + part(d.rawClaims, d.claims)
	if d.method == nil {
		return signed + "."
	}
	signature := must(d.method.Sign(signed, d.key))
	if d.signature != nil {
		signature = d.signature(signature)
	}
	return signed + "." + b64(signature)
}

// merged writes members and then more text into the object.
func merged(members map[string]any, more string) string {
	text := string(must(json.Marshal(maps.Clone(members))))
	return text[:len(text)-1] + "," + more + "}"
}

func bearer(text string) http.Header { return http.Header{"Authorization": {"Bearer " + text}} }
func key(text string) http.Header    { return http.Header{"X-Api-Key": {text}} }

// Token is a good token of the issuer, with these claims in the place of its own; nil
// takes one away.
func (w *World) Token(claims map[string]any) string {
	return w.issued(func(d *draft) {
		for name, value := range claims {
			d.set(name, value)
			if value == nil {
				delete(d.claims, name)
			}
		}
	})
}

// NextToken is a token by the key that Rotate publishes.
func (w *World) NextToken(id string) string {
	return w.issued(func(d *draft) { d.head("kid", id); d.key = w.other })
}

// Forged is a token by a key that is nobody's, different each time.
func (w *World) Forged() string {
	return w.issued(func(d *draft) { d.key = w.other; d.set("jti", must(rand.Int(rand.Reader, w.other.N)).String()) })
}

// Key is the text of a good API key.
func (w *World) Key() string { return w.good }

// WrongKey is the text of an API key with another's secret.
func (w *World) WrongKey() string { return w.wrong }
