package headers

import (
	"bytes"
	"net/http"
	"slices"
	"strings"

	"mcpgateway/proxy/mcp"
)

// prefix begins the headers that repeat a tool's parameters.
const prefix = "Mcp-Param-"

// IsParameter reports whether a header is one that repeats a tool's parameter.
func IsParameter(name string) bool {
	return len(name) > len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) && isToken(name)
}

// HaveParameters reports whether any header repeats a parameter, or says so.
func HaveParameters(h http.Header) bool {
	for name := range h {
		if IsParameter(name) {
			return true
		}
	}
	return false
}

// Bounds of what is read of a tool's definition, which its server wrote.
const (
	maxDepth      = 32 // properties within properties
	maxParameters = 256
)

// Parameters are the parameters of a tool that its calls repeat in headers.
type Parameters []parameter

type parameter struct {
	header string   // the whole name
	path   []string // of the value, in the call's arguments
}

// ParametersOf reads the annotations of a tool's definition, a part of a checked
// message: x-mcp-header of the properties that the root of inputSchema reaches by
// nothing but properties (2026-07-28, server/tools). A definition that breaks the
// rules for them has none: clients must not offer such a tool at all.
func ParametersOf(tool []byte) Parameters {
	// Most tools have none, and calls are many.
	if !bytes.Contains(tool, []byte("x-mcp-header")) && !bytes.Contains(tool, []byte(`\u`)) {
		return nil
	}
	var found Parameters
	if !found.add(mcp.Member(tool, "inputSchema"), nil) {
		return nil
	}
	return found
}

// add adds the annotated properties of a schema; ok is false if one is against the
// rules.
func (p *Parameters) add(schema []byte, path []string) (ok bool) {
	for name, property := range mcp.Members(mcp.Member(schema, "properties")) {
		below := append(slices.Clip(path), name)
		if annotation := mcp.Member(property, "x-mcp-header"); annotation != nil {
			header, isText := mcp.TextOf(annotation)
			if !isText || !isToken(header) || !isPrimitive(mcp.Member(property, "type")) || p.has(prefix+header) {
				return false
			}
			*p = append(*p, parameter{prefix + header, below})
		}
		if len(*p) > maxParameters || len(below) < maxDepth && !p.add(property, below) {
			return false
		}
	}
	return true
}

func (p *Parameters) has(header string) bool {
	return slices.ContainsFunc(*p, func(q parameter) bool { return strings.EqualFold(q.header, header) })
}

// Check compares the headers with the arguments of a call.
func (p Parameters) Check(h http.Header, m mcp.Message) *Problem {
	for _, q := range p {
		inHeader := h.Values(q.header)
		inBody := m.At(m.Param(append([]string{"arguments"}, q.path...)...))
		if absent(inBody) && len(inHeader) == 0 {
			continue
		}
		if len(inHeader) != 1 || absent(inBody) || !same(inHeader[0], inBody) {
			return mismatch("the header %.100s is %.100q, but params.arguments.%.100s is %.100s",
				q.header, strings.Join(inHeader, ", "), strings.Join(q.path, "."), shown(inBody))
		}
	}
	return nil
}

func absent(value []byte) bool { return value == nil || string(value) == "null" }

func shown(value []byte) []byte {
	if value == nil {
		return []byte("absent")
	}
	return value
}

// same compares a header's value with one of a body, of any type: what the schema
// says of the type is the server's to enforce.
func same(inHeader string, inBody []byte) bool {
	decoded, ok := decode(inHeader)
	if !ok {
		return false
	}
	if quoted, isText := mcp.TextOf(inBody); isText {
		return decoded == quoted
	}
	switch inBody[0] {
	case '{', '[':
		return false
	case 't', 'f':
		return decoded == string(inBody)
	}
	return sameNumber(decoded, inBody)
}

func isPrimitive(schemaType []byte) bool {
	switch string(schemaType) {
	case `"string"`, `"integer"`, `"boolean"`:
		return true
	}
	return false
}

// isToken reports whether a text can be in a header's name (RFC 9110, section
// 5.6.2).
func isToken(name string) bool {
	return name != "" && strings.IndexFunc(name, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && !strings.ContainsRune("!#$%&'*+-.^_`|~", c)
	}) < 0
}
