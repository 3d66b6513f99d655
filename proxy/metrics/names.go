package metrics

import (
	"strings"
	"unicode/utf8"

	"mcpgateway/proxy/mcp"
)

// other is the value of a label in the place of those that are not told apart.
const other = "other"

// maxLabel bounds the value of a label, in bytes.
const maxLabel = 100

// clean makes the value of a label of any text.
func clean(text string) string {
	if len(text) <= maxLabel && utf8.ValidString(text) {
		return text
	}
	text = strings.ToValidUTF8(text[:min(len(text), maxLabel)], "?")
	return text
}

// methodOf is a method of the protocol; clients can make up others.
func methodOf(method string) string {
	switch method {
	case mcp.MethodInitialize, mcp.MethodPing, mcp.MethodDiscover, mcp.MethodToolsCall, mcp.MethodResourcesRead, mcp.MethodPromptsGet,
		mcp.MethodToolsList, mcp.MethodPromptsList, mcp.MethodResourcesList, mcp.MethodTemplatesList, mcp.MethodComplete,
		mcp.MethodListen, mcp.MethodSetLevel, mcp.MethodSubscribe, mcp.MethodUnsubscribe,
		"tasks/get", "tasks/list", "tasks/result", "tasks/cancel", "tasks/update":
		return method
	}
	return other
}

// status is what became of a call, as a label says it.
type status int

// The statuses. Clients and servers can make no others.
const (
	statusOK status = iota
	statusToolError
	statusError // that the server answered with
	statusTimeout
	statusEnded
	statusCancelled
	statusForbidden
	statusLimited
	statusBusy
	statusFailed
	statusUnknown
	statusStranger
	statuses // how many there are
)

func (s status) String() string {
	return [statuses]string{
		"ok", "tool_error", "error", "timeout", "ended", "cancelled", "forbidden", "limited", "busy", "failed", "unknown", "unauthenticated",
	}[s]
}

// statusOf is the status of a telemetry.Call or a telemetry.Refusal.
func statusOf(text string) status {
	switch text {
	case "ok":
		return statusOK
	case "tool-error":
		return statusToolError
	case "timeout":
		return statusTimeout
	case "ended":
		return statusEnded
	case "cancelled", "unread":
		return statusCancelled
	case "forbidden":
		return statusForbidden
	case "limited":
		return statusLimited
	case "busy":
		return statusBusy
	case "unknown":
		return statusUnknown
	case "unauthenticated":
		return statusStranger
	}
	if strings.HasPrefix(text, "error ") {
		return statusError
	}
	return statusFailed
}

// transport is what clients come by, as a label says it.
type transport int

// The transports, and whatever else.
const (
	transportHTTP transport = iota
	transportREST
	transportWebSocket
	transportSSE
	transportGRPC
	transportOther
	transports // how many there are
)

func (t transport) String() string {
	return [transports]string{"http", "rest", "websocket", "sse", "grpc", other}[t]
}

func transportOf(text string) transport {
	for t := range transportOther {
		if t.String() == text {
			return t
		}
	}
	return transportOther
}
