package httpfront

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"mcpgateway/proxy/mcp"
)

// era decides by which rules a message is served, and checks what the stateless
// era repeats in headers: others on the way may have believed them.
func era(h http.Header, m mcp.Message) (stateless bool, refused *refusal) {
	inHeader, ok := single(h, mcp.HeaderRevision)
	if !ok {
		return false, mismatch("the header %s was sent more than once", mcp.HeaderRevision)
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
		return false, unsupported(inHeader)
	case m.Kind() == mcp.Response:
		return true, &refusal{status: http.StatusBadRequest, text: "this revision has no responses from clients"}
	case m.Kind() == mcp.Notification:
		return true, nil
	}
	return true, statelessHeaders(h, m)
}

// statelessHeaders checks a request of the stateless era (2026-07-28, streamable
// HTTP, "Request Metadata"; basic, "_meta").
func statelessHeaders(h http.Header, m mcp.Message) *refusal {
	method, ok := single(h, mcp.HeaderMethod)
	if !ok || method != m.Method() {
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
	name, ok := single(h, mcp.HeaderName)
	if !ok || name == "" {
		return mismatch("the header %s is missing, or was sent more than once", mcp.HeaderName)
	}
	decoded, ok := decodeHeader(name)
	inBody, named := m.Text(m.Param(member))
	if !ok || !named || decoded != inBody {
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

// decodeHeader undoes the transport's encoding of values that no header can
// hold: =?base64?…?=.
func decodeHeader(value string) (string, bool) {
	inner, begins := strings.CutPrefix(value, "=?base64?")
	inner, ends := strings.CutSuffix(inner, "?=")
	if !begins || !ends {
		return value, isVisible(value)
	}
	text, err := base64.StdEncoding.Strict().DecodeString(inner)
	return string(text), err == nil
}

func isVisible(value string) bool {
	return strings.IndexFunc(value, func(c rune) bool { return c < ' ' || c > '~' }) < 0
}

// single returns a header's value, "" if it is absent; ok is false if it was sent
// more than once.
func single(h http.Header, name string) (value string, ok bool) {
	values := h.Values(name)
	if len(values) == 0 {
		return "", true
	}
	return values[0], len(values) == 1
}

func mismatch(format string, args ...any) *refusal {
	return &refusal{status: http.StatusBadRequest, code: mcp.CodeHeaderMismatch, text: "header mismatch: " + fmt.Sprintf(format, args...)}
}

func missing(member string) *refusal {
	return &refusal{status: http.StatusBadRequest, code: mcp.CodeInvalidParams, text: fmt.Sprintf("params._meta has no %q", member)}
}

func unsupported(requested string) *refusal {
	data, err := json.Marshal(map[string]any{"supported": mcp.Revisions(), "requested": requested[:min(len(requested), 100)]})
	if err != nil {
		panic("marshal revisions: " + err.Error())
	}
	return &refusal{status: http.StatusBadRequest, code: mcp.CodeUnsupportedVersion, text: "unsupported protocol version", data: data}
}
