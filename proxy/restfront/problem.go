package restfront

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/httpio"
	"mcpgateway/proxy/mcp"
)

// Problem is an answer that is not what was asked for (RFC 9457).
type Problem struct {
	Status     int
	Kind       kind // "": the status says it all
	Detail     string
	Allow      string        // methods, with status 405
	RetryAfter time.Duration // 0: nothing is said
	Challenge  string        // WWW-Authenticate
	members    []byte        // further ones, raw, such as `,"code":1`
}

// kind is the last part of a problem's type.
type kind string

// The kinds of problems; docs/rest.md explains them.
const (
	unknownScope    kind = "unknown-scope"
	unknownTool     kind = "unknown-tool"
	unknownPrompt   kind = "unknown-prompt"
	unknownResource kind = "unknown-resource"
	notOffered      kind = "not-offered"
	badArguments    kind = "invalid-arguments"
	inputRequired   kind = "input-required"
	toolError       kind = "tool-error"
	serverError     kind = "server-error"
	serverFailed    kind = "server-failed"
	timeout         kind = "timeout"
	busy            kind = "busy"
	tooMany         kind = "too-many-requests"
	forbidden       kind = "forbidden"
)

func (k kind) title() string {
	switch k {
	case unknownScope:
		return "No such server or project"
	case unknownTool:
		return "No such tool"
	case unknownPrompt:
		return "No such prompt"
	case unknownResource:
		return "No such resource"
	case notOffered:
		return "The server does not offer this"
	case badArguments:
		return "The server does not accept the arguments"
	case inputRequired:
		return "The server asks for input that only an MCP client can give"
	case toolError:
		return "The tool reports an error"
	case serverError:
		return "The server answered with an error"
	case serverFailed:
		return "The server failed"
	case timeout:
		return "The server did not answer in time"
	case busy:
		return "Too much is under way"
	case tooMany:
		return "More requests than a limit allows"
	case forbidden:
		return "The policy does not allow this"
	}
	return ""
}

// maxDetail bounds what a problem quotes of a server's text.
const maxDetail = 4 << 10

const typeProblem = "application/problem+json"

// Write writes the problem as the answer, unless one has begun.
func (p *Problem) Write(w *httpio.Writer, r *http.Request) {
	if w.Begun() {
		return
	}
	h := w.Header()
	if p.Challenge != "" {
		h.Set("WWW-Authenticate", p.Challenge)
	}
	if p.Allow != "" {
		h.Set("Allow", p.Allow)
	}
	httpio.RetryAfter(h, p.RetryAfter)
	write(w, p.Status, typeProblem, p.json(r))
}

func (p *Problem) json(r *http.Request) []byte {
	name, title := "about:blank", http.StatusText(p.Status)
	if p.Kind != "" {
		name, title = "urn:mcpgateway:problem:"+string(p.Kind), p.Kind.title()
	}
	out := append([]byte(`{"type":`), mcp.Quote(name)...)
	out = append(append(out, `,"title":`...), mcp.Quote(title)...)
	out = append(append(out, `,"status":`...), strconv.Itoa(p.Status)...)
	out = append(append(out, `,"detail":`...), mcp.Quote(p.Detail[:min(len(p.Detail), maxDetail)])...)
	out = append(append(out, `,"instance":`...), mcp.Quote(r.URL.EscapedPath())...)
	return append(append(out, p.members...), '}')
}

// with adds a member; a value that is not there adds none.
func (p *Problem) with(name string, value []byte) *Problem {
	if value != nil {
		p.members = append(append(append(append(p.members, ',', '"'), name...), '"', ':'), value...)
	}
	return p
}

func badRequest(format string, args ...any) *Problem {
	return &Problem{Status: http.StatusBadRequest, Detail: fmt.Sprintf(format, args...)}
}

// write writes a whole answer. A client that has gone is told nothing, and nobody
// else needs to know.
func write(w *httpio.Writer, status int, mediaType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// problemOf puts an error of the gate for a client.
func problemOf(err error) *Problem {
	r := gate.RefusalOf(err)
	p := &Problem{Status: http.StatusBadGateway, Kind: serverFailed, Detail: r.Text}
	switch r.Reason {
	case gate.Unknown:
		p.Status, p.Kind = http.StatusNotFound, unknownScope
	case gate.NoMethod:
		p.Status, p.Kind = http.StatusNotFound, notOffered
	case gate.Busy, gate.Away:
		p.Status, p.Kind, p.RetryAfter = http.StatusServiceUnavailable, busy, cmp.Or(r.RetryAfter, 5*time.Second)
	case gate.Limited:
		p.Status, p.Kind, p.RetryAfter = http.StatusTooManyRequests, tooMany, cmp.Or(r.RetryAfter, time.Second)
	case gate.Forbidden:
		p.Status, p.Kind = http.StatusForbidden, forbidden
	case gate.Stranger:
		p.Status, p.Kind = http.StatusUnauthorized, ""
	case gate.Failed, gate.GivenUp, gate.Gone, gate.Unopened, gate.Conflict: // the last three are of sessions
	}
	return p
}

// problemIn puts the error that a response is for a client; nil if it is none.
func problemIn(m mcp.Message) *Problem {
	if m.Err() == nil {
		return nil
	}
	text, _ := m.Text(m.InError("message"))
	code := m.At(m.InError("code"))
	p := (&Problem{Status: http.StatusBadGateway, Kind: serverError, Detail: text}).with("code", code).with("data", m.At(m.InError("data")))
	switch m.Failure() {
	case mcp.FailureLate:
		p.Status, p.Kind = http.StatusGatewayTimeout, timeout
	case mcp.FailureEnded:
		p.Kind = serverFailed
	}
	switch string(code) {
	case strconv.Itoa(mcp.CodeMethodNotFound):
		p.Status, p.Kind = http.StatusNotFound, notOffered
	case strconv.Itoa(mcp.CodeInvalidParams):
		p.Status, p.Kind = http.StatusUnprocessableEntity, badArguments
	case strconv.Itoa(mcp.CodeMissingCapability):
		p.Status, p.Kind = http.StatusUnprocessableEntity, inputRequired
	}
	return p
}
