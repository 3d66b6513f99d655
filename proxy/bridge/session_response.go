package bridge

import (
	"fmt"

	"mcpgateway/proxy/mcp"
)

// response turns the server's response to a request into one of the client's
// revision. The id is the client's already.
func (c *client) response(request, response mcp.Message) mcp.Message {
	if response.Err() != nil {
		return problem(request, response)
	}
	if !mcp.IsObject(response.Result()) {
		return mcp.NewError(request.ID(), mcp.CodeInternal, "the server answered with a result that is no object", nil)
	}
	if kind, complete := resultType(response); !complete {
		text := fmt.Sprintf("the server answered with a result of type %.100q, which %.100q can't have here", kind, request.Method())
		return mcp.NewError(request.ID(), mcp.CodeInternal, text, nil)
	}
	return response.EditAt(response.InResult(), c.result(request.Method(), response))
}

// resultType is the type of a result that is an object. Without one it is complete.
func resultType(response mcp.Message) (kind string, complete bool) {
	raw := response.At(response.InResult("resultType"))
	if raw == nil || string(raw) == `"complete"` {
		return "complete", true
	}
	kind, _ = mcp.TextOf(raw)
	return kind, kind == "complete"
}

// problem gives an error the code that the handshake era has for it. That era had
// none for a capability that the client lacks, but one for requests that are not
// what the receiver demands.
func problem(request, response mcp.Message) mcp.Message {
	span := response.InError("code")
	_, named := request.Text(request.Param("uri"))
	switch code := string(response.At(span)); {
	case code == "-32602" && named && request.Method() == mcp.MethodResourcesRead: // CodeInvalidParams
		return response.Replace(span, []byte("-32002")) // CodeResourceNotFound
	case code == "-32022": // CodeUnsupportedVersion
		return response.Replace(span, []byte("-32602"))
	case code == "-32020" || code == "-32021": // CodeHeaderMismatch, CodeMissingCapability
		return response.Replace(span, []byte("-32600")) // CodeInvalidRequest
	}
	return response
}

// result edits a result into one without what only the stateless era knows, and without
// what makes strict clients of the older one refuse the whole of it.
func (c *client) result(method string, response mcp.Message) func(name string, value []byte) ([]byte, bool) {
	return func(name string, value []byte) ([]byte, bool) {
		switch {
		case name == "tools" && method == mcp.MethodToolsList:
			return mcp.EditElements(value, tool), true
		case name == "structuredContent" && method == mcp.MethodToolsCall:
			return value, mcp.IsObject(value)
		case name == "content" && method == mcp.MethodToolsCall:
			return c.contents(unstructured(response, value)), true
		case name == "messages" && method == mcp.MethodPromptsGet:
			return c.messages(value), true
		}
		return c.common(name, value)
	}
}

// common is what results of every method lose.
func (c *client) common(name string, value []byte) ([]byte, bool) {
	switch name {
	case "resultType", "ttlMs", "cacheScope":
		return nil, false
	case "_meta":
		value = mcp.Without(value, mcp.MetaServerInfo)
		return value, len(value) > len("{}")
	}
	return value, true
}

// tool is a tool of which the older era expects that it gives objects, if it says
// what it gives.
func tool(tool []byte) ([]byte, bool) {
	schema := mcp.Member(tool, "outputSchema")
	if kind, _ := mcp.TextOf(mcp.Member(schema, "type")); schema == nil || kind == "object" {
		return tool, true
	}
	return mcp.Without(tool, "outputSchema"), true
}

// unstructured is the content of a tool's result. If all there is to it is a value
// that the older era can't have as such, it is that as text.
func unstructured(response mcp.Message, content []byte) []byte {
	value := response.At(response.InResult("structuredContent"))
	if value == nil || mcp.IsObject(value) {
		return content
	}
	for range mcp.Elements(content) {
		return content
	}
	return append(append([]byte("["), text(string(value), nil)...), ']')
}

// messages are those of a prompt, or for a model.
func (c *client) messages(messages []byte) []byte {
	if c.revision >= mcp.Revision2025June { // there is nothing newer
		return messages
	}
	return mcp.EditElements(messages, func(message []byte) ([]byte, bool) {
		if !mcp.IsObject(message) {
			return message, true
		}
		return mcp.Edit(message, func(name string, value []byte) ([]byte, bool) {
			if name != "content" {
				return value, true
			}
			if mcp.IsObject(value) {
				return c.content(value), true
			}
			return c.contents(value), true
		}), true
	})
}

func (c *client) contents(contents []byte) []byte {
	if c.revision >= mcp.Revision2025June {
		return contents
	}
	return mcp.EditElements(contents, func(content []byte) ([]byte, bool) { return c.content(content), true })
}

// content is content of a kind that the client's revision knows: of another it
// gets text that says what there is.
func (c *client) content(content []byte) []byte {
	word := func(name string) string {
		word, _ := mcp.TextOf(mcp.Member(content, name))
		return word
	}
	switch kind := word("type"); {
	case kind == "audio" && c.revision < mcp.Revision2025March:
		note := fmt.Sprintf("[audio of type %s, which clients of revision %s can't get]", word("mimeType"), c.revision)
		return text(note, mcp.Member(content, "annotations"))
	case kind == "resource_link" && c.revision < mcp.Revision2025June:
		note := fmt.Sprintf("[resource %s: %s]", word("name"), word("uri"))
		return text(note, mcp.Member(content, "annotations"))
	}
	return content
}

// text makes a content of text; annotations are raw, nil for none.
func text(text string, annotations []byte) []byte {
	content := append([]byte(`{"type":"text","text":`), mcp.Quote(text)...)
	if annotations != nil {
		content = append(append(content, `,"annotations":`...), annotations...)
	}
	return append(content, '}')
}
