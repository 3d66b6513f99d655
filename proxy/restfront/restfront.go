// Package restfront offers MCP servers to programs that speak no MCP: tools,
// resources and prompts as plain HTTP and JSON below /api/v1/, and a document that
// describes them. Each request becomes requests of the stateless era, which pass
// through the gate; results are handed on as the bytes that came. It admits nobody:
// host, origin and credential have been checked before.
//
// Runs in: proxy.
package restfront

import (
	"net/http"
	"net/url"
	"time"
	"unicode/utf8"

	"mcpgateway/policy"
	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/httpio"
)

// Prefix is where every path of this front begins.
const Prefix = "/api/v1/"

// Request is an admitted request.
type Request struct {
	Origin gate.Origin
	Caller *policy.Identity
	Policy *policy.Policy
	Gate   *gate.Gate
	// Challenge says how to come in, for an error of the gate.
	Challenge func(error) string
	// Body reads the request's body within the front's limits. It is called once at
	// most.
	Body func() ([]byte, *Problem)
	// Allowed says whether the caller may still have a long answer of a scope.
	Allowed func(policy.Scope) bool
	waits   waits // tests have others
}

type waits struct {
	list  time.Duration // for the tools of each server, while the document is made
	quiet time.Duration // before a comment keeps a stream alive
}

func standard() waits { return waits{list: 10 * time.Second, quiet: 15 * time.Second} }

// exchange is one request on its way.
type exchange struct {
	Request
	target
	w *httpio.Writer
	r *http.Request
}

// Serve serves a request whose path begins with Prefix. Panics are the caller's.
func Serve(w *httpio.Writer, r *http.Request, request Request) {
	x := &exchange{Request: request, w: w, r: r}
	if x.waits == (waits{}) {
		x.waits = standard()
	}
	if problem := x.serve(); problem != nil {
		problem.Write(w, r)
	}
}

func (x *exchange) serve() *Problem {
	target, found, problem := parsePath(x.r.URL.EscapedPath())
	if problem != nil {
		return problem
	}
	x.target = target
	if (x.r.Method != http.MethodHead || found.method != http.MethodGet) && x.r.Method != found.method {
		return &Problem{Status: http.StatusMethodNotAllowed, Detail: "this path takes " + found.allow(), Allow: found.allow()}
	}
	if x.query, problem = parseQuery(x.r.URL.RawQuery, found.query); problem != nil {
		return problem
	}
	if err := x.Gate.Enter(x.r.Context(), x.Origin, x.Caller, x.scope); err != nil {
		problem := problemOf(err)
		if problem.Status == http.StatusForbidden && x.Challenge != nil {
			problem.Challenge = x.Challenge(err)
		}
		return problem
	}
	if !x.acceptable(found) {
		return &Problem{Status: http.StatusNotAcceptable, Detail: "Accept must list application/json"}
	}
	return found.serve(x)
}

// acceptable reports whether the client takes what the operation gives. Programs
// that name no media type take JSON.
func (x *exchange) acceptable(o operation) bool {
	h := x.r.Header
	return len(h.Values("Accept")) == 0 || httpio.Accepts(h, httpio.TypeJSON) || o.streams && x.wantsStream()
}

// wantsStream reports whether the client names the type of streams: wildcards are
// sent by programs that expect one document.
func (x *exchange) wantsStream() bool { return httpio.Names(x.r.Header, httpio.TypeEvents) }

// parseQuery takes the one parameter that an operation may have; "" if it is not
// there. What is misspelt is refused rather than without effect.
func parseQuery(raw, name string) (value string, problem *Problem) {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return "", &Problem{Status: http.StatusBadRequest, Detail: "the query is not well-formed"}
	}
	for key, values := range query {
		switch {
		case key != name:
			return "", badRequest("there is no query parameter %.100q here", key)
		case len(values) > 1:
			return "", badRequest("the query parameter %q was sent more than once", key)
		case !utf8.ValidString(values[0]):
			return "", badRequest("the query parameter %q is not UTF-8", key)
		}
		value = values[0]
	}
	return value, nil
}
