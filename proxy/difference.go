package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"mcpgateway/policy/audit"
	"mcpgateway/proxy/pins"
)

// eventTool is a tool that is not as it was approved.
const eventTool = "tool-changed"

// differs tells of a tool that is not as it was approved: the log, and the audit log.
func differs(records *audit.Log, log *slog.Logger) func(pins.Event) {
	return func(e pins.Event) {
		log.Warn("a tool is not what was approved: see mcp-gateway tools list", "server", e.Server, "tool", fmt.Sprintf("%.200q", e.Tool),
			"kind", e.Kind, "approved", digest(e.Approved), "seen", digest(e.Seen), "blocked", e.Blocked)
		// Waits for nothing: the calls that it is about are refused in any case.
		now, cancel := context.WithCancel(context.Background())
		cancel()
		slot, err := records.Reserve(now)
		if err != nil {
			return
		}
		decision := audit.Allow
		if e.Blocked {
			decision = audit.Deny
		}
		slot.Write(&audit.Record{
			Time: time.Now(), Event: eventTool, Server: e.Server, Name: e.Tool, Decision: decision, Status: string(e.Kind),
			Reason: fmt.Sprintf("approved: %s, seen: %s", digest(e.Approved), digest(e.Seen)),
		})
	}
}

func digest(d pins.Digest) string {
	if d == (pins.Digest{}) {
		return "none"
	}
	return d.String()
}
