package mcp

import "strings"

// ListChange is a list of a server that subscriptions/listen can tell of.
type ListChange struct {
	Member     string // of the filter
	Capability string // of the server, whose listChanged says that it tells
	Method     string // of the notification
}

// ListChanges are all there are (2026-07-28, basic/patterns/subscriptions).
func ListChanges() [3]ListChange {
	return [3]ListChange{
		{"toolsListChanged", "tools", MethodToolsChanged},
		{"promptsListChanged", "prompts", MethodPromptsChanged},
		{"resourcesListChanged", "resources", MethodResourcesChanged},
	}
}

// Covers reports whether who subscribed to a resource shall hear of an update of
// another: it may be a part of that, or below it (2026-07-28, server/resources).
func Covers(subscribed, updated string) bool {
	rest, found := strings.CutPrefix(updated, subscribed)
	return found && subscribed != "" && (rest == "" || strings.HasSuffix(subscribed, "/") || strings.ContainsAny(rest[:1], "/#?"))
}
