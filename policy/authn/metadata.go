package authn

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// metadata is what clients are told of a resource (RFC 9728, section 2).
type metadata struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers"`
	Scopes               []string `json:"scopes_supported,omitempty"`
	BearerMethods        []string `json:"bearer_methods_supported"`
	Name                 string   `json:"resource_name,omitempty"`
}

// Metadata is the document of a resource, an address of this gateway, for clients
// that look for a token; nil if no issuer gives them one. extra are scopes that the
// resource needs beside those that all do.
func (a *Authenticator) Metadata(resource string, extra ...string) []byte {
	if a.tokens == nil || !a.tokens.published() {
		return nil
	}
	document, err := json.Marshal(metadata{
		Resource:             resource,
		AuthorizationServers: slices.Sorted(maps.Keys(a.tokens.issuers)),
		Scopes:               join(a.tokens.policy.RequiredScopes, extra),
		BearerMethods:        []string{"header"},
		Name:                 a.tokens.policy.Gateway,
	})
	if err != nil { // texts can always be marshalled
		panic(err)
	}
	return document
}

// Challenge is the WWW-Authenticate header of the answer to a request that was not let
// in because of err (RFC 6750, section 3; RFC 9728, section 5.1): "" for none.
// metadataURL is where clients find Metadata, "" if there is none. A Scope error says
// which scopes are needed, another that all need.
func (a *Authenticator) Challenge(err error, metadataURL string) string {
	var e *Error
	if !errors.As(err, &e) || e.Kind == Throttled || e.Kind == Unavailable || !a.takesBearers() {
		return ""
	}
	var parameters []string
	add := func(name, value string) {
		if value != "" {
			parameters = append(parameters, fmt.Sprintf(`%s="%s"`, name, quotable(value)))
		}
	}
	scopes := e.Scopes
	if a.tokens != nil {
		scopes = join(a.tokens.policy.RequiredScopes, scopes)
	}
	switch e.Kind {
	case Invalid, Expired:
		add("error", "invalid_token")
		add("error_description", e.Text)
	case Scope:
		add("error", "insufficient_scope")
		add("error_description", e.Text)
	}
	add("scope", strings.Join(scopes, " "))
	if a.tokens != nil && a.tokens.published() {
		add("resource_metadata", metadataURL)
	}
	return strings.TrimSuffix("Bearer "+strings.Join(parameters, ", "), " ")
}

// takesBearers reports whether any transport takes anything in Authorization.
func (a *Authenticator) takesBearers() bool {
	for _, methods := range a.policy.Methods {
		for _, method := range methods {
			if method.TakesTokens() || method == "api-key" {
				return true
			}
		}
	}
	return false
}

// quotable keeps what may stand in the parameters of RFC 6750: printable ASCII without
// quotes and backslashes.
func quotable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"' || r == '\\':
			return '\''
		case r < ' ' || r > '~':
			return '?'
		}
		return r
	}, text)
}

func join(lists ...[]string) (all []string) {
	for _, list := range lists {
		for _, one := range list {
			if !slices.Contains(all, one) {
				all = append(all, one)
			}
		}
	}
	return all
}
