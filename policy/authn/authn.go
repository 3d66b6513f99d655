// Package authn turns the credentials of a request into a policy.Identity. It
// decides who a caller is, never what the caller may do, and it refuses whatever
// it does not know. It passes no credential on.
//
// Of the methods of a listener, in their order, the first whose credential was sent
// decides, and its failure is final. A credential that no method of the listener
// takes is refused, and so are two of a kind.
//
// Runs in: proxy; CLI (makes keys and tokens).
package authn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/trust"
)

// Request is what is known of who asks.
type Request struct {
	Transport string               // "http", "grpc", "websocket" or "sse"
	Header    http.Header          // Authorization and X-Api-Key are looked at
	TLS       *tls.ConnectionState // nil without TLS
	Source    netip.Addr           // the zero Addr: nobody is throttled
	Resource  string               // the address that it was sent to, as clients know it: "https://gw.example.com/mcp"
}

// Authenticator knows the credentials of one policy generation. It is safe for use
// by many, and immutable but for what its State remembers.
type Authenticator struct {
	policy   policy.Authentication
	keys     *APIKeys
	anchors  map[string]*trust.Anchors // by transport
	tokens   *tokens                   // nil: none are taken
	throttle *throttle
	now      func() time.Time
}

// New returns what checks credentials by a policy. An error says what of the policy
// can't be enforced. Issuers' keys are fetched when they are needed, not here.
func New(p policy.Authentication, keys []policy.Key, state *State) (*Authenticator, error) {
	a := &Authenticator{
		policy: p, keys: NewAPIKeys(keys), anchors: make(map[string]*trust.Anchors),
		throttle: &state.throttle, now: state.now,
	}
	a.keys.now = state.now
	takesTokens := false
	for transport, methods := range p.Methods {
		for _, method := range methods {
			switch {
			case method.TakesTokens():
				takesTokens = true
				if p.Tokens == nil || p.Tokens.Method != method {
					return nil, fmt.Errorf("authentication of %s: %q, but there are no such tokens", transport, method)
				}
			case method == policy.MethodMTLS:
				if err := a.addAnchors(transport); err != nil {
					return nil, err
				}
			case method != policy.MethodAPIKey:
				return nil, fmt.Errorf("authentication of %s: there is no method %.50q", transport, method)
			}
		}
	}
	if !takesTokens {
		return a, nil
	}
	var err error
	if a.tokens, err = newTokens(p.Tokens, state); err != nil {
		return nil, fmt.Errorf("security.authentication: %w", err)
	}
	return a, nil
}

// Prepare begins to fetch the keys of the issuers, so that nobody waits for them. It
// does not wait itself.
func (a *Authenticator) Prepare() {
	if a.tokens == nil {
		return
	}
	for _, issuer := range a.tokens.issuers {
		if issuer.source != nil {
			issuer.source.prepare()
		}
	}
}

// Problems says which issuers' keys could not be fetched the last time, and why.
func (a *Authenticator) Problems() (problems []error) {
	if a.tokens == nil {
		return nil
	}
	for _, issuer := range a.tokens.issuers {
		if issuer.source == nil {
			continue
		}
		if err := issuer.source.problem(); err != nil {
			problems = append(problems, err)
		}
	}
	return problems
}

func (a *Authenticator) addAnchors(transport string) error {
	clients, ok := a.policy.Clients[listenerOf(transport)]
	if !ok {
		return fmt.Errorf("authentication of %s: mtls needs the authorities of client certificates", transport)
	}
	anchors, err := trust.New(clients.CA, clients.Revoked)
	if err != nil {
		return fmt.Errorf("authentication of %s: client CA: %w", transport, err)
	}
	a.anchors[transport] = anchors
	return nil
}

// listenerOf gives the transport whose certificates a transport has.
func listenerOf(transport string) string {
	if transport == "grpc" {
		return transport
	}
	return "http"
}

// Authenticate returns who sent a request: nobody may change that, for it may be the same
// for many. Its errors are *Error.
func (a *Authenticator) Authenticate(ctx context.Context, r Request) (*policy.Identity, error) {
	identity, err := a.authenticate(ctx, r)
	if err == nil {
		return identity, nil
	}
	e := as(err)
	if e.Kind == Invalid || e.Kind == Expired {
		if wait := a.throttle.failed(r.Source, a.now()); wait > 0 {
			e = throttled(wait)
		}
	}
	return nil, e
}

func (a *Authenticator) authenticate(ctx context.Context, r Request) (*policy.Identity, error) {
	sent, err := credentialOf(r.Header)
	if err != nil {
		return nil, err
	}
	methods := a.policy.Methods[r.Transport]
	if err := sent.takenBy(methods); err != nil {
		return nil, err
	}
	for _, method := range methods {
		switch {
		case method == policy.MethodMTLS && hasCertificate(r.TLS):
			return a.certificate(r)
		case method == policy.MethodAPIKey && sent.isKey():
			return a.keys.identify(sent.text)
		case method.TakesTokens() && sent.isToken():
			return a.token(ctx, sent.text, r)
		}
	}
	return nil, &Error{Kind: NoCredential, Text: wanted(methods)}
}

// Shown reports whether a request brought a credential, be it good or not: one without
// any asks for no more than anybody may have.
func (a *Authenticator) Shown(r Request) bool {
	if len(r.Header["Authorization"])+len(r.Header["X-Api-Key"]) > 0 {
		return true
	}
	return hasCertificate(r.TLS) && slices.Contains(a.policy.Methods[r.Transport], policy.MethodMTLS)
}

// wanted says what a request should have brought.
func wanted(methods []policy.Method) string {
	text := "no credential was sent: send "
	for i, method := range methods {
		if i > 0 {
			text += ", or "
		}
		switch method {
		case policy.MethodMTLS:
			text += "a client certificate"
		case policy.MethodAPIKey:
			text += `an API key as "Authorization: Bearer KEY" or "X-API-Key: KEY"`
		default:
			text += `a token as "Authorization: Bearer TOKEN"`
		}
	}
	if len(methods) == 0 {
		return "nobody may come in by this transport"
	}
	return text
}

// Scopes returns nil if an identity has the scopes that something asks for, or has no
// use for any: API keys and certificates have no scopes, their servers and projects
// bound them. Else it returns an *Error that says which are needed.
func (a *Authenticator) Scopes(identity *policy.Identity, extra []string) error {
	if !identity.Method.TakesTokens() || len(extra) == 0 {
		return nil
	}
	return haveScopes(identity.Scopes, extra)
}

var errStopped = errors.New("the gateway is stopping")
