package authn

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"mcpgateway/policy"
)

// read makes an identity of the claims of a token whose signature is good.
func (t *tokens) read(claims map[string]any, v *verified) error {
	if err := t.validate(claims); err != nil {
		if errors.Is(err, jwt.ErrTokenExpired) {
			return &Error{Kind: Expired, Text: "the token has expired"}
		}
		return invalid("the token's times are wrong: %v", err)
	}
	var err error
	if v.notBefore, v.expires, err = times(claims); err != nil {
		return err
	}
	if v.audiences, err = textsOf(claims, "aud"); err != nil {
		return err
	}
	if v.thumbprint, err = bindingOf(claims); err != nil {
		return err
	}
	v.identity, err = identityOf(claims, v.rules, t.policy.Method)
	v.identity.Expires = v.expires
	return err
}

// times gives when a token begins and ends. Nobody means times outside of these
// centuries, and sums with them could overflow.
func times(claims jwt.MapClaims) (begin, end time.Time, err error) {
	expires, err := claims.GetExpirationTime()
	if err != nil || expires == nil || expires.Unix() < 0 || expires.Year() > 9999 {
		return begin, end, invalid("the token's end (exp) is no time")
	}
	notBefore, err := claims.GetNotBefore()
	if err != nil || notBefore != nil && (notBefore.Unix() < 0 || notBefore.Year() > 9999) {
		return begin, end, invalid("the token's begin (nbf) is no time")
	}
	if notBefore != nil {
		begin = notBefore.Time
	}
	return begin, expires.Time, nil
}

// bindingOf gives the client certificate that a token is bound to (RFC 8705). A token
// that is bound to anything else is not for who merely has it.
func bindingOf(claims map[string]any) (thumbprint string, err error) {
	confirmation, bound := claims["cnf"]
	if !bound {
		return "", nil
	}
	members, _ := confirmation.(map[string]any)
	thumbprint, _ = members["x5t#S256"].(string)
	if thumbprint == "" || len(members) != 1 {
		return "", invalid("the token is bound (cnf) to something that is not understood")
	}
	return thumbprint, nil
}

func identityOf(claims map[string]any, rules *policy.TokenRules, method policy.Method) (id policy.Identity, err error) {
	names := &rules.Claims
	id = policy.Identity{Method: method, Claims: claims, User: first(claims, names.User)}
	issuer, _ := claims["iss"].(string)
	subject, isText := claims["sub"].(string)
	if _, given := claims["sub"]; !given {
		subject, isText = id.User, true
	}
	switch {
	case !isText || !printable(subject) || !printable(id.User):
		return id, invalid("the token does not say who it is of (%s)", strings.Join(names.User, ", "))
	case strings.Contains(issuer, "|") || issuer != "" && !printable(issuer):
		return id, invalid("the token's issuer (iss) has characters that it can't have")
	}
	id.Subject = "jwt:" + issuer + "|" + subject
	if id.Name = first(claims, names.Name); !printable(id.Name) {
		id.Name = id.User
	}
	if id.Groups, err = all(claims, names.Groups); err != nil {
		return id, err
	}
	if id.Roles, err = all(claims, names.Roles); err != nil {
		return id, err
	}
	if id.Scopes, err = scopesOf(claims, names.Scopes); err != nil {
		return id, err
	}
	id.Projects, err = projectsOf(claims, rules)
	return id, err
}

// projectsOf gives the projects that a token is good for; none if it says nothing of
// any, and need not. One that says so in a way that is not understood, or names none,
// is refused: to whom no project means all, it would be good for everything.
func projectsOf(claims map[string]any, rules *policy.TokenRules) (projects []string, err error) {
	said := false
	for _, name := range rules.Claims.Projects {
		_, found := lookup(claims, name)
		said = said || found
	}
	if !said {
		if rules.NeedsProjects || len(rules.Organizations) > 0 {
			return nil, invalid("the token does not say for which project it is (%s)", strings.Join(rules.Claims.Projects, ", "))
		}
		return nil, nil
	}
	values, err := all(claims, rules.Claims.Projects)
	if err != nil {
		return nil, err
	}
	for _, value := range values {
		if len(rules.Organizations) > 0 {
			value = rules.Organizations[value]
		}
		if value != "" && !slices.Contains(projects, value) {
			projects = append(projects, value)
		}
	}
	if len(projects) == 0 {
		return nil, invalid("the token is for no project of this gateway (%s)", strings.Join(rules.Claims.Projects, ", "))
	}
	return projects, nil
}

// lookup finds a claim by its name, or by a path of names with dots.
func lookup(claims map[string]any, name string) (any, bool) {
	if value, ok := claims[name]; ok {
		return value, true
	}
	head, rest, nested := strings.Cut(name, ".")
	inner, ok := claims[head].(map[string]any)
	if !nested || !ok {
		return nil, false
	}
	return lookup(inner, rest)
}

// first gives the first claim that is a text and not empty.
func first(claims map[string]any, names []string) string {
	for _, name := range names {
		if value, _ := lookup(claims, name); value != nil {
			if text, _ := value.(string); text != "" {
				return text
			}
		}
	}
	return ""
}

// all gives what is in all claims of those names.
func all(claims map[string]any, names []string) (values []string, err error) {
	for _, name := range names {
		texts, err := textsOf(claims, name)
		if err != nil {
			return nil, err
		}
		values = append(values, texts...)
	}
	return values, nil
}

// textsOf gives a claim that is a text or a list of texts.
func textsOf(claims map[string]any, name string) (texts []string, err error) {
	value, ok := lookup(claims, name)
	if !ok {
		return nil, nil
	}
	list, isList := value.([]any)
	if !isList {
		list = []any{value}
	}
	for _, one := range list {
		text, isText := one.(string)
		if !isText {
			return nil, invalid("the token's claim %.100s is neither a text nor a list of texts", name)
		}
		if text != "" {
			texts = append(texts, text)
		}
	}
	return texts, nil
}

// scopesOf splits texts (RFC 6749, section 3.3).
func scopesOf(claims map[string]any, names []string) (scopes []string, err error) {
	values, err := all(claims, names)
	for _, value := range values {
		scopes = append(scopes, strings.Fields(value)...)
	}
	return scopes, err
}

// canonical gives an address as it is compared: scheme and host in lower case, no
// default port, and no slash at its end. It is "" for what is none.
func canonical(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.Fragment != "" {
		return ""
	}
	host := strings.ToLower(u.Host)
	host = strings.TrimSuffix(host, map[string]string{"https": ":443", "http": ":80"}[u.Scheme])
	text := u.Scheme + "://" + host + strings.TrimSuffix(u.EscapedPath(), "/")
	if u.RawQuery != "" {
		text += "?" + u.RawQuery
	}
	return text
}
