// Package headers checks what HTTP headers repeat of a message: others on the way
// may have believed them (2026-07-28, streamable HTTP, "Request Metadata"). It
// decides by which era's rules a message is served. It judges data and answers
// nothing itself.
//
// Runs in: proxy.
package headers

import (
	"fmt"
	"net/http"

	"mcpgateway/proxy/mcp"
)

// Problem says what is wrong with the headers of a request. Its status is 400.
type Problem struct {
	Code int // of JSON-RPC
	Text string
	Data []byte // raw; nil for none
}

// Era decides by which rules a message is served, and checks the headers that the
// stateless era demands. What a tool's definition adds is checked by Parameters.
func Era(h http.Header, m mcp.Message) (stateless bool, problem *Problem) {
	inHeader, problem := Revision(h)
	if problem != nil {
		return false, problem
	}
	inBody, claimed := m.Text(m.Param("_meta", mcp.MetaRevision))
	switch {
	case claimed && inHeader == "":
		return false, mismatch("the header %s is missing", mcp.HeaderRevision)
	case claimed && inHeader != inBody:
		return false, mismatch("the header %s is %.100q, but _meta says %.100q", mcp.HeaderRevision, inHeader, inBody)
	case inHeader == "" || mcp.Handshake(inHeader):
		return false, nil
	case !mcp.Stateless(inHeader):
		return false, Unsupported(inHeader)
	case m.Kind() == mcp.Response:
		return true, &Problem{Code: mcp.CodeInvalidRequest, Text: "this revision has no responses from clients"}
	case m.Kind() == mcp.Notification:
		return true, nil
	}
	return true, request(h, m)
}

// Revision is the revision that the headers name, "" for none.
func Revision(h http.Header) (string, *Problem) { return single(h, mcp.HeaderRevision) }

// Session is the id of the session that the headers name, "" for none.
func Session(h http.Header) (string, *Problem) { return single(h, mcp.HeaderSession) }

// request checks a request of the stateless era (2026-07-28, streamable HTTP,
// "Request Metadata"; basic, "_meta").
func request(h http.Header, m mcp.Message) *Problem {
	method, problem := single(h, mcp.HeaderMethod)
	switch {
	case problem != nil:
		return problem
	case method != m.Method():
		return mismatch("the header %s is %.100q, but the method is %.100q", mcp.HeaderMethod, method, m.Method())
	}
	if _, ok := m.Text(m.Param("_meta", mcp.MetaRevision)); !ok {
		return missing(mcp.MetaRevision)
	}
	if capabilities := m.At(m.Param("_meta", mcp.MetaCapabilities)); len(capabilities) == 0 || capabilities[0] != '{' {
		return missing(mcp.MetaCapabilities)
	}
	member := named(m.Method())
	if member == "" {
		return nil
	}
	name, problem := single(h, mcp.HeaderName)
	if problem != nil {
		return problem
	}
	decoded, ok := decode(name)
	inBody, named := m.Text(m.Param(member))
	if name == "" || !ok || !named || decoded != inBody {
		return mismatch("the header %s is %.100q, but params.%s is %.100q", mcp.HeaderName, name, member, inBody)
	}
	return nil
}

// named says which member of params the header Mcp-Name repeats, if any.
func named(method string) string {
	switch method {
	case mcp.MethodToolsCall, mcp.MethodPromptsGet:
		return "name"
	case mcp.MethodResourcesRead:
		return "uri"
	}
	return ""
}

// single returns a header's value, "" if it is absent. The name is in its canonical form.
func single(h http.Header, name string) (string, *Problem) {
	values := h[name]
	switch len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	}
	return "", mismatch("the header %s was sent more than once", name)
}

func mismatch(format string, args ...any) *Problem {
	return &Problem{Code: mcp.CodeHeaderMismatch, Text: "header mismatch: " + fmt.Sprintf(format, args...)}
}

func missing(member string) *Problem {
	return &Problem{Code: mcp.CodeInvalidParams, Text: fmt.Sprintf("params._meta has no %q", member)}
}

// Unsupported is the problem of a revision that nobody here speaks.
func Unsupported(requested string) *Problem {
	m := mcp.NewUnsupported(nil, requested)
	text, _ := m.Text(m.InError("message"))
	return &Problem{Code: mcp.CodeUnsupportedVersion, Text: text, Data: m.At(m.InError("data"))}
}
