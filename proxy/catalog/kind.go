package catalog

import "mcpgateway/proxy/mcp"

// kind is one of the things that a server lists.
type kind int

const (
	tools kind = iota
	prompts
	resources
	templates
	about // the server itself: one item, which is the result of server/discover
	kinds // how many there are
)

// shape is how a kind looks in messages.
type shape struct {
	what   string // in sentences
	method string // that lists it
	array  string // in the result; "" if the result is the one item
	key    string // in each item, by which a server knows it
}

func (k kind) shape() shape {
	return [kinds]shape{
		tools:     {"tool", mcp.MethodToolsList, "tools", "name"},
		prompts:   {"prompt", mcp.MethodPromptsList, "prompts", "name"},
		resources: {"resource", mcp.MethodResourcesList, "resources", "uri"},
		templates: {"resource template", mcp.MethodTemplatesList, "resourceTemplates", "uriTemplate"},
		about:     {"server", mcp.MethodDiscover, "", ""},
	}[k]
}

// renamed reports whether clients see another key than the server's own.
func (k kind) renamed() bool { return k == tools || k == prompts }
