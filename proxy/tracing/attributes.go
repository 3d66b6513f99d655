package tracing

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"

	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/telemetry"
)

// The longest texts of spans, in bytes. Much of them is what clients and servers wrote.
const (
	maxName = 128
	maxText = 512
)

// The gateway's own attributes.
const (
	own = "mcp_gateway."

	keyProject     = attribute.Key(own + "project")
	keyServer      = attribute.Key(own + "server")
	keyInstance    = attribute.Key(own + "instance")
	keyCorrelation = attribute.Key(own + "correlation_id")
	keyTransport   = attribute.Key(own + "transport")
	keyStatus      = attribute.Key(own + "status")
)

// name is that of the spans of a call, as the conventions for MCP have it.
func name(c *telemetry.Call) string {
	method := clean(c.Method, maxName)
	switch c.Method {
	case mcp.MethodToolsCall, mcp.MethodPromptsGet:
		if c.Name != "" {
			return method + " " + clean(c.Name, maxName)
		}
	}
	return method
}

// common are the attributes of both spans of a call.
func common(c *telemetry.Call) []attribute.KeyValue {
	set := []attribute.KeyValue{
		semconv.McpMethodNameKey.String(clean(c.Method, maxName)),
		keyServer.String(c.Server), keyProject.String(c.Project), keyInstance.String(c.Instance),
	}
	switch c.Method {
	case mcp.MethodToolsCall:
		set = append(set, semconv.GenAIOperationNameExecuteTool, semconv.GenAIToolName(clean(c.Tool, maxName)))
	case mcp.MethodPromptsGet:
		set = append(set, semconv.GenAIPromptName(clean(c.Name, maxName)))
	case mcp.MethodResourcesRead, mcp.MethodSubscribe, mcp.MethodUnsubscribe:
		uri, _ := c.Request.Text(c.Request.Param("uri"))
		set = append(set, semconv.McpResourceURI(clean(withoutSecrets(uri), maxText)))
	}
	if code, found := strings.CutPrefix(c.Status, "error "); found {
		set = append(set, semconv.RPCResponseStatusCode(clean(code, maxName)))
	}
	if failure := errorType(c); failure != "" {
		set = append(set, semconv.ErrorTypeKey.String(failure))
	}
	return set
}

// toServer are the attributes of the span of the gateway as a client. Servers are
// reached by their standard input and output.
func toServer(c *telemetry.Call) []attribute.KeyValue {
	return append(common(c), semconv.NetworkTransportPipe)
}

// fromClient are the attributes of the span of the gateway as a server. Who calls is
// not in it, and neither is the session, whose id is as good as a key.
func fromClient(c *telemetry.Call) []attribute.KeyValue {
	correlation := c.Correlation
	if c.For != nil {
		correlation = c.For.Correlation
	}
	set := append(common(c), keyCorrelation.String(correlation), keyStatus.String(clean(c.Status, maxName)))
	if c.Transport != "" {
		set = append(set, keyTransport.String(c.Transport), semconv.NetworkTransportTCP, semconv.NetworkProtocolName(protocol(c.Transport)))
	}
	if id := c.Request.ID(); id != nil {
		text, isText := mcp.TextOf(id)
		if !isText {
			text = string(id)
		}
		set = append(set, semconv.JSONRPCRequestID(clean(text, maxName)))
	}
	if c.Revision != "" {
		set = append(set, semconv.McpProtocolVersion(clean(c.Revision, maxName)))
	}
	return set
}

// protocol is the one of the network that a transport uses.
func protocol(transport string) string {
	switch transport {
	case "websocket", "grpc":
		return transport
	}
	return "http"
}

// errorType says in which way a call failed; "" if it did not, or if its client gave it
// up, which is no failure.
func errorType(c *telemetry.Call) string {
	switch c.Status {
	case "ok", "cancelled", "unread":
		return ""
	case "tool-error":
		return "tool_error"
	}
	return clean(strings.TrimPrefix(c.Status, "error "), maxName)
}

// description is what the server's error says, or why there is no answer of it. What
// the gateway refuses is told to the client alone: it names the caller.
func description(c *telemetry.Call) string {
	if strings.HasPrefix(c.Status, "error ") || c.Fault() {
		return clean(c.Reason, maxText)
	}
	return ""
}

// withoutSecrets leaves out of a URI what may hold some: user and password, and the
// query.
func withoutSecrets(uri string) string {
	uri, _, _ = strings.Cut(uri, "#")
	uri, _, _ = strings.Cut(uri, "?")
	if u, err := url.Parse(uri); err == nil && u.User != nil {
		u.User = nil
		return u.String()
	}
	if scheme, rest, found := strings.Cut(uri, "://"); found {
		if authority, path, _ := strings.Cut(rest, "/"); strings.Contains(authority, "@") {
			return scheme + "://" + authority[strings.LastIndexByte(authority, '@')+1:] + "/" + path
		}
	}
	return uri
}

// clean makes a text fit to be shown and to be sent: valid, bounded, and without
// characters that do something.
func clean(text string, longest int) string {
	if len(text) > longest {
		cut := longest
		for cut > 0 && !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut]
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, text)
}
