package authn_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"mcpgateway/policy"
	"mcpgateway/policy/authn"
)

const fuzzSecret = "0123456789abcdef0123456789abcdef"

func fuzzed(t testing.TB) *authn.Authenticator {
	t.Helper()
	state := authn.NewState()
	t.Cleanup(state.Close)
	rules := policy.TokenRules{Audiences: []string{"gw"}, Claims: policy.Claims{
		User: []string{"sub"}, Name: []string{"a.b"}, Groups: []string{"groups"}, Roles: []string{"roles"}, Scopes: []string{"scope"}, Projects: []string{"p"},
	}}
	return newAuthenticator(t, policy.Authentication{
		Methods: map[string][]policy.Method{"http": {policy.MethodJWT}},
		Tokens:  &policy.Tokens{Method: policy.MethodJWT, Key: []byte(fuzzSecret), Rules: rules},
	}, nil, state)
}

func encode(text []byte) string { return base64.RawURLEncoding.EncodeToString(text) }

func signed(t testing.TB, header, claims []byte) string {
	t.Helper()
	text := encode(header) + "." + encode(claims)
	signature, err := jwt.SigningMethodHS256.Sign(text, []byte(fuzzSecret))
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + encode(signature)
}

// Whatever a header says, a token is only good if another reader of JSON finds the
// same algorithm in it.
func FuzzJWTHeader(f *testing.F) {
	a := fuzzed(f)
	claims := []byte(`{"sub":"s","aud":"gw","exp":4102444800}`)
	for _, header := range []string{
		`{"alg":"HS256"}`, `{"alg":"none"}`, `{"alg":"HS256","alg":"none"}`, `{"alg":"HS256","crit":["x"]}`, `{"alg":"HS256","b64":false}`,
		`{"alg":"HS256","kid":"../x","typ":"at+jwt"}`, `{"alg":"HS256","\u0061lg":"x"}`, `{"alg":"RS256"}`, `[]`, ``, `{"alg":"HS256"}{}`,
	} {
		f.Add([]byte(header))
	}
	f.Fuzz(func(t *testing.T, header []byte) {
		_, err := a.Authenticate(t.Context(), authn.Request{Transport: "http", Header: bearer(signed(t, header, claims))})
		if err != nil {
			return
		}
		var other map[string]any
		if wrong := json.Unmarshal(header, &other); wrong != nil || other["alg"] != "HS256" || other["crit"] != nil {
			t.Errorf("let in with %q", header)
		}
	})
}

// Whatever claims say, who is let in has a name, an end in the future, and no project
// that the claims do not name.
func FuzzJWTClaims(f *testing.F) {
	a := fuzzed(f)
	header := []byte(`{"alg":"HS256"}`)
	for _, claims := range []string{
		`{"sub":"s","aud":"gw","exp":4102444800}`, `{"sub":"s","aud":["x","gw"],"exp":4102444800.5,"p":["a"],"groups":["g"]}`,
		`{"sub":"s","aud":"gw","exp":1e300}`, `{"sub":"s","aud":"gw","exp":-1}`, `{"sub":"","aud":"gw","exp":4102444800}`, `{"sub":"s","sub":"t","aud":"gw","exp":4102444800}`,
		`{"sub":"s","aud":"gw","exp":4102444800,"p":[]}`, `{"sub":"s","aud":"gw","exp":4102444800,"a":{"b":"n"},"cnf":{}}`, `null`, `{}`,
	} {
		f.Add([]byte(claims))
	}
	f.Fuzz(func(t *testing.T, claims []byte) {
		id, err := a.Authenticate(t.Context(), authn.Request{Transport: "http", Header: bearer(signed(t, header, claims))})
		if err != nil {
			if id != nil {
				t.Errorf("an identity beside an error: %+v", id)
			}
			return
		}
		if id.Subject == "" || id.Name == "" || !id.Expires.After(time.Now().Add(-time.Minute)) {
			t.Errorf("let in as %+v with %q", id, claims)
		}
		if _, said := id.Claims["p"]; said != (len(id.Projects) > 0) {
			t.Errorf("projects %q of %q", id.Projects, claims)
		}
	})
}

// No text makes it panic, and what is taken apart has one way to be written.
func FuzzToken(f *testing.F) {
	f.Add("a.b.c")
	f.Add(signed(f, []byte(`{"alg":"HS256"}`), []byte(`{}`)))
	f.Fuzz(func(t *testing.T, text string) {
		if authn.ParseToken(text) != nil {
			return
		}
		for part := range strings.SplitSeq(text, ".") {
			decoded, err := base64.RawURLEncoding.DecodeString(part)
			if err != nil || encode(decoded) != part {
				t.Errorf("took %q apart", text)
			}
		}
	})
}
