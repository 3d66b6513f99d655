package gate

import (
	"mcpgateway/policy/rbac"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/screen"
)

// screen takes out of what a server lists what its caller may not use, what nobody
// has approved, and what is hidden from people's eyes.
func (p *passage) screen(m mcp.Message) mcp.Message {
	if m.Err() != nil || !screen.Methods(p.wants.method) {
		return m
	}
	if array, asked := lists(p.wants.method); array != "" {
		m = p.filter(m, m.InResult(array), asked)
	}
	cleaned, findings := screen.List(p.wants.method, m.Result(), p.policy.HiddenText)
	if len(findings) == 0 {
		return m
	}
	p.sessions.notes.Tell(p.server, p.wants.method, findings)
	return m.Replace(m.InResult(), cleaned)
}

// hides reports whether a message tells of a resource that the caller may not know of:
// who subscribes to a folder is told of what is in it.
func (p *passage) hides(m mcp.Message) bool {
	if m.Kind() != mcp.Notification || m.Method() != mcp.MethodResourceUpdated {
		return false
	}
	uri, _ := m.Text(m.Param("uri"))
	return !p.listed(rbac.Request{Action: mcp.MethodResourcesRead, Resource: uri})
}

// lists is where a method's result has its list, and what is asked for each item.
func lists(method string) (array string, asked func(item []byte) rbac.Request) {
	text := func(item []byte, member string) string {
		value, _ := mcp.TextOf(mcp.Member(item, member))
		return value
	}
	switch method {
	case mcp.MethodToolsList:
		return "tools", func(item []byte) rbac.Request {
			return rbac.Request{Action: mcp.MethodToolsCall, Tool: text(item, "name")}
		}
	case mcp.MethodPromptsList:
		return "prompts", func(item []byte) rbac.Request {
			return rbac.Request{Action: mcp.MethodPromptsGet, Prompt: text(item, "name")}
		}
	case mcp.MethodResourcesList:
		return "resources", func(item []byte) rbac.Request {
			return rbac.Request{Action: mcp.MethodResourcesRead, Resource: text(item, "uri")}
		}
	case mcp.MethodTemplatesList:
		return "resourceTemplates", func(item []byte) rbac.Request {
			return rbac.Request{Action: mcp.MethodResourcesRead, Template: text(item, "uriTemplate")}
		}
	}
	return "", nil
}

// filter leaves out of a list what the caller may not use.
func (p *passage) filter(m mcp.Message, list mcp.Span, asked func([]byte) rbac.Request) mcp.Message {
	tools := p.wants.method == mcp.MethodToolsList
	if list.Empty() || p.rules.RBAC == nil && !tools {
		return m
	}
	left := 0
	kept := mcp.EditElements(m.At(list), func(item []byte) ([]byte, bool) {
		approved := true
		if tools { // each is taken note of, whoever may use it
			p.sessions.hints.note(p.server, item)
			approved = p.rules.Pins == nil || p.rules.Pins.Filter(p.server, item)
		}
		keep := approved && p.listed(asked(item))
		if !keep {
			left++
		}
		return item, keep
	})
	if left == 0 {
		return m
	}
	return m.Replace(list, kept)
}
