// Package mcp is the envelope of the Model Context Protocol: JSON-RPC messages
// and how they are framed as lines. A message is parsed once and strictly, and
// then kept as the bytes that came: params, results, ids and fields that nobody
// here knows are never decoded and written again, so that big integers, number
// formats and unknown members survive. The package opens nothing and knows no
// transport.
//
// Runs in: proxy.
package mcp

// The published revisions of the protocol.
const (
	Revision2024November = "2024-11-05"
	Revision2025March    = "2025-03-26"
	Revision2025June     = "2025-06-18"
	Revision2025November = "2025-11-25"
	Revision2026July     = "2026-07-28"
)

// Stateless reports whether a revision is of the stateless era: no handshake and
// no session, but version and capabilities in the _meta of each request.
func Stateless(revision string) bool { return revision == Revision2026July }

// Handshake reports whether a revision is of the era that opens with initialize
// and has sessions.
func Handshake(revision string) bool {
	switch revision {
	case Revision2024November, Revision2025March, Revision2025June, Revision2025November:
		return true
	}
	return false
}

// Revisions lists every revision a client may speak, the newest first.
func Revisions() []string {
	return []string{Revision2026July, Revision2025November, Revision2025June, Revision2025March, Revision2024November}
}

// Headers of the Streamable HTTP transport.
const (
	HeaderSession  = "Mcp-Session-Id"
	HeaderRevision = "Mcp-Protocol-Version"
	HeaderMethod   = "Mcp-Method"
	HeaderName     = "Mcp-Name"
)

// Members of _meta that the stateless era gives a meaning (2026-07-28, basic).
const (
	MetaRevision     = "io.modelcontextprotocol/protocolVersion"
	MetaCapabilities = "io.modelcontextprotocol/clientCapabilities"
	MetaServerInfo   = "io.modelcontextprotocol/serverInfo"
	MetaClientInfo   = "io.modelcontextprotocol/clientInfo"
	MetaLogLevel     = "io.modelcontextprotocol/logLevel"
	MetaSubscription = "io.modelcontextprotocol/subscriptionId"
)

// Methods that the gateway itself acts on; all others only pass through.
const (
	MethodInitialize       = "initialize"
	MethodInitialized      = "notifications/initialized"
	MethodCancelled        = "notifications/cancelled"
	MethodProgress         = "notifications/progress"
	MethodPing             = "ping"
	MethodDiscover         = "server/discover"
	MethodToolsCall        = "tools/call"
	MethodResourcesRead    = "resources/read"
	MethodPromptsGet       = "prompts/get"
	MethodToolsList        = "tools/list"
	MethodPromptsList      = "prompts/list"
	MethodResourcesList    = "resources/list"
	MethodTemplatesList    = "resources/templates/list"
	MethodComplete         = "completion/complete"
	MethodListen           = "subscriptions/listen"
	MethodAcknowledged     = "notifications/subscriptions/acknowledged"
	MethodSetLevel         = "logging/setLevel"
	MethodSubscribe        = "resources/subscribe"
	MethodUnsubscribe      = "resources/unsubscribe"
	MethodLogged           = "notifications/message"
	MethodToolsChanged     = "notifications/tools/list_changed"
	MethodPromptsChanged   = "notifications/prompts/list_changed"
	MethodResourcesChanged = "notifications/resources/list_changed"
	MethodResourceUpdated  = "notifications/resources/updated"
	MethodSample           = "sampling/createMessage"
	MethodElicit           = "elicitation/create"
	MethodRoots            = "roots/list"
)

// methods are those above by their text, so that reading one of them makes no string.
var methods = func() map[string]string {
	known := map[string]string{}
	for _, method := range []string{
		MethodInitialize, MethodInitialized, MethodCancelled, MethodProgress, MethodPing, MethodDiscover,
		MethodToolsCall, MethodResourcesRead, MethodPromptsGet, MethodToolsList, MethodPromptsList,
		MethodResourcesList, MethodTemplatesList, MethodComplete, MethodListen, MethodAcknowledged, MethodSetLevel,
		MethodSubscribe, MethodUnsubscribe, MethodLogged, MethodToolsChanged, MethodPromptsChanged,
		MethodResourcesChanged, MethodResourceUpdated, MethodSample, MethodElicit, MethodRoots,
	} {
		known[method] = method
	}
	return known
}()

// Error codes: those of JSON-RPC 2.0, section 5.1, and those of the stateless
// era (2026-07-28, basic, "Error Codes").
const (
	CodeParse              = -32700
	CodeInvalidRequest     = -32600
	CodeMethodNotFound     = -32601
	CodeInvalidParams      = -32602
	CodeInternal           = -32603
	CodeHeaderMismatch     = -32020
	CodeMissingCapability  = -32021
	CodeUnsupportedVersion = -32022
	CodeResourceNotFound   = -32002 // handshake era only; CodeInvalidParams since
)

// HandshakeOnly reports whether a request's method is of the handshake era alone
// (2026-07-28, changelog).
func HandshakeOnly(method string) bool {
	switch method {
	case MethodInitialize, MethodPing, MethodSetLevel, MethodSubscribe, MethodUnsubscribe:
		return true
	}
	return false
}
