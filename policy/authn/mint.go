package authn

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"mcpgateway/policy"
)

// Grant is what a token that the gateway's operator makes says.
type Grant struct {
	Issuer, Audience                string // "": none
	Name                            string // of its holder
	Groups, Roles, Scopes, Projects []string
	Expires                         time.Time
}

// NewToken signs a grant with an HMAC secret. The claims have the names, and projects
// the values, that rules look for.
func NewToken(secret []byte, g Grant, rules policy.TokenRules) (string, error) {
	if !IsSecret(secret) {
		return "", errors.New("make token: jwt_key has public keys: who holds the private one makes tokens")
	}
	if _, err := parseKeys(secret); err != nil {
		return "", fmt.Errorf("make token: jwt_key: %w", err)
	}
	projects, err := valuesOf(g.Projects, rules.Organizations)
	if err != nil {
		return "", err
	}
	now := time.Now()
	claims := jwt.MapClaims{"sub": g.Name, "iat": now.Unix(), "nbf": now.Unix(), "exp": g.Expires.Unix(), "jti": rand.Text()}
	if g.Issuer != "" {
		claims["iss"] = g.Issuer
	}
	if g.Audience != "" {
		claims["aud"] = g.Audience
	}
	put(claims, rules.Claims.User, g.Name)
	if len(g.Scopes) > 0 {
		put(claims, rules.Claims.Scopes, strings.Join(g.Scopes, " "))
	}
	for _, list := range []struct{ names, values []string }{
		{rules.Claims.Groups, g.Groups}, {rules.Claims.Roles, g.Roles}, {rules.Claims.Projects, projects},
	} {
		if len(list.values) > 0 {
			put(claims, list.names, list.values)
		}
	}
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
	if err != nil {
		return "", fmt.Errorf("make token: %w", err)
	}
	return text, nil
}

// put sets the claim of the first name, along its path.
func put(claims map[string]any, names []string, value any) {
	if len(names) == 0 {
		return
	}
	path := strings.Split(names[0], ".")
	if strings.Contains(names[0], "/") { // a name such as https://example.com/roles
		path = names[:1]
	}
	for _, step := range path[:len(path)-1] {
		inner, ok := claims[step].(map[string]any)
		if !ok {
			inner = make(map[string]any)
			claims[step] = inner
		}
		claims = inner
	}
	claims[path[len(path)-1]] = value
}

// valuesOf gives what the claim of projects says of them.
func valuesOf(projects []string, organizations map[string]string) (values []string, err error) {
	if len(organizations) == 0 {
		return projects, nil
	}
	for _, project := range projects {
		found := ""
		for organization, of := range organizations {
			if of == project {
				found = organization
			}
		}
		if found == "" {
			return nil, fmt.Errorf("make token: no organization is mapped to the project %q", project)
		}
		values = append(values, found)
	}
	return values, nil
}
