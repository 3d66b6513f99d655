package bridge

import (
	"fmt"

	"mcpgateway/proxy/mcp"
)

// question makes a request to the client of one of the server's, if the client can
// take it.
func (c *client) question(id, request []byte) (mcp.Message, error) {
	method, _ := mcp.TextOf(mcp.Member(request, "method"))
	params := mcp.Member(request, "params")
	if !c.can(method, params) {
		return mcp.Message{}, fmt.Errorf("the server asked for %.100q, or a kind of it, which the client has not offered", method)
	}
	if !mcp.IsObject(params) {
		return mcp.NewRequest(id, method, nil), nil
	}
	question := mcp.NewRequest(id, method, mcp.Edit(params, func(name string, value []byte) ([]byte, bool) {
		return c.asked(name, value), name != "elicitationId"
	}))
	if method == mcp.MethodElicit && elicitationMode(params) == "url" {
		// The client may be told by it that all is done, and the stateless era has no
		// such message: it has to be there and unique.
		question = question.Insert(question.Param(), fmt.Appendf(nil, `"elicitationId":"%s"`, id))
	}
	return question, nil
}

// asked is a param of a question as the client's revision knows it.
func (c *client) asked(name string, value []byte) []byte {
	if c.revision >= mcp.Revision2025November { // there is nothing newer
		return value
	}
	switch name {
	case "messages":
		return mcp.EditElements(c.messages(value), single)
	case "requestedSchema":
		return mcp.Edit(value, func(name string, value []byte) ([]byte, bool) {
			if name != "properties" {
				return value, true
			}
			return mcp.Edit(value, func(_ string, property []byte) ([]byte, bool) { return choice(property), true }), true
		})
	}
	return value
}

// single makes of a message with several contents as many with one.
func single(message []byte) ([]byte, bool) {
	contents := mcp.Member(message, "content")
	if len(contents) == 0 || contents[0] != '[' {
		return message, true
	}
	var messages []byte
	for content := range mcp.Elements(contents) {
		if messages != nil {
			messages = append(messages, ',')
		}
		messages = append(messages, mcp.Edit(message, func(name string, value []byte) ([]byte, bool) {
			if name == "content" {
				return content, true
			}
			return value, true
		})...)
	}
	return messages, messages != nil
}

// choice makes of a choice among titled values one among values, with their titles
// beside them.
func choice(property []byte) []byte {
	var values, titles []byte
	for option := range mcp.Elements(mcp.Member(property, "oneOf")) {
		value, title := mcp.Member(option, "const"), mcp.Member(option, "title")
		if value == nil || title == nil {
			return property
		}
		values = append(append(values, ','), value...)
		titles = append(append(titles, ','), title...)
	}
	if values == nil {
		return property
	}
	rest := mcp.Without(property, "oneOf", "enum", "enumNames")
	if len(rest) > len("{}") {
		rest[0] = ','
	} else {
		rest = rest[1:]
	}
	return fmt.Appendf(nil, `{"enum":[%s],"enumNames":[%s]%s`, values[1:], titles[1:], rest)
}

// can reports whether the client has offered what a request asks of it.
func (c *client) can(method string, params []byte) bool {
	switch method {
	case mcp.MethodRoots:
		return c.roots
	case mcp.MethodSample:
		return c.sampling && (c.samplingTools || mcp.Member(params, "tools") == nil)
	case mcp.MethodElicit:
		if elicitationMode(params) == "url" {
			return c.urls
		}
		return c.forms
	}
	return false
}

func elicitationMode(params []byte) string {
	mode, _ := mcp.TextOf(mcp.Member(params, "mode"))
	return mode
}
