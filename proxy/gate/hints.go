package gate

import (
	"sync"

	"mcpgateway/proxy/mcp"
)

// maxHints bounds the tools of one server that are remembered.
const maxHints = 10_000

// maxHintedName bounds the names of tools that are remembered, in bytes.
const maxHintedName = 1000

// hints are the tools that servers have listed, and whether they say that one may be
// called twice: it changes nothing, or nothing more the second time (2025-11-25,
// ToolAnnotations). It is a server's word about itself, and so the last that it said to
// anybody.
type hints struct {
	mu       sync.RWMutex
	byServer map[string]map[string]bool
}

// note takes in a definition that a server has listed.
func (h *hints) note(server string, definition []byte) {
	name, ok := mcp.TextOf(mcp.Member(definition, "name"))
	if !ok || len(name) > maxHintedName {
		return
	}
	annotations := mcp.Member(definition, "annotations")
	says := string(mcp.Member(annotations, "idempotentHint")) == "true" || string(mcp.Member(annotations, "readOnlyHint")) == "true"
	h.mu.Lock()
	defer h.mu.Unlock()
	tools := h.byServer[server]
	if tools == nil {
		tools = map[string]bool{}
		h.byServer[server] = tools
	}
	if _, known := tools[name]; known || len(tools) < maxHints {
		tools[name] = says
	}
}

// listed reports whether a server has listed a tool.
func (h *hints) listed(server, tool string) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	_, known := h.byServer[server][tool]
	return known
}

// idempotent reports whether a server has said so of a tool.
func (h *hints) idempotent(server, tool string) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.byServer[server][tool]
}

// keep forgets servers that are gone.
func (h *hints) keep(there func(server string) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for server := range h.byServer {
		if !there(server) {
			delete(h.byServer, server)
		}
	}
}
