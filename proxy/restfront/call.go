package restfront

import (
	"context"
	"net/http"

	"mcpgateway/policy"
	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/httpio"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// send passes a request on. members are those of its params, raw, such as
// `"name":"a"`; none is nil.
func (x *exchange) send(ctx context.Context, scope policy.Scope, method string, members []byte, streamed bool) (link.Call, *Problem) {
	params := []byte(`{"_meta":{"` + mcp.MetaRevision + `":"` + mcp.Revision2026July + `","` + mcp.MetaCapabilities + `":{}`)
	if streamed {
		params = append(params, `,"progressToken":0,"`+mcp.MetaLogLevel+`":"info"`...)
	}
	params = append(params, '}')
	if members != nil {
		params = append(append(params, ','), members...)
	}
	message := mcp.NewRequest([]byte("0"), method, append(params, '}'))
	reply, err := x.Gate.Do(ctx, gate.Request{Origin: x.Origin, Caller: x.Caller, Scope: scope, Stateless: true, Message: message})
	if err != nil {
		return nil, problemOf(err)
	}
	return reply.Call, nil
}

// ask sends a request and waits for its result.
func (x *exchange) ask(ctx context.Context, scope policy.Scope, method string, members []byte) (mcp.Message, *Problem) {
	call, problem := x.send(ctx, scope, method, members, false)
	if problem != nil {
		return mcp.Message{}, problem
	}
	m, err := link.Await(ctx, call)
	if err != nil {
		return m, problemOf(err)
	}
	if problem := problemIn(m); problem != nil {
		return m, problem
	}
	return m, unfinished(m)
}

// unfinished is the problem with a result that asks for input; nil if it does not.
func unfinished(m mcp.Message) *Problem {
	if kind, _ := m.Text(m.InResult("resultType")); kind != "input_required" {
		return nil
	}
	p := &Problem{Status: http.StatusUnprocessableEntity, Kind: inputRequired, Detail: "the server asks its client for"}
	requests := m.At(m.InResult("inputRequests"))
	for name, request := range mcp.Members(requests) {
		if len(p.Detail) > maxDetail {
			break
		}
		method, _ := mcp.TextOf(mcp.Member(request, "method"))
		p.Detail += " " + method + " (" + name + ")"
	}
	p.Detail += ", which a REST client can't give: use an MCP client"
	return p.with("inputRequests", requests)
}

// callTool calls a tool with the body as its arguments.
func (x *exchange) callTool() *Problem {
	members, problem := x.named()
	if problem != nil {
		return problem
	}
	streamed := x.wantsStream()
	call, problem := x.send(x.r.Context(), x.scope, mcp.MethodToolsCall, members, streamed)
	if problem != nil {
		return problem
	}
	if streamed {
		return x.stream(call)
	}
	m, err := link.Await(x.r.Context(), call)
	if err != nil {
		return problemOf(err)
	}
	return x.result(m)
}

// result writes the result of a tool, or says what is wrong with it.
func (x *exchange) result(m mcp.Message) *Problem {
	problem := x.failure(m)
	if problem == nil {
		write(x.w, http.StatusOK, httpio.TypeJSON, m.Result())
	}
	return problem
}

// failure is why a tool's response is no success; nil if it is one.
func (x *exchange) failure(m mcp.Message) *Problem {
	problem := problemIn(m)
	if problem == nil {
		problem = unfinished(m)
	}
	if problem == nil && string(m.At(m.InResult("isError"))) == "true" {
		problem = (&Problem{Status: http.StatusUnprocessableEntity, Kind: toolError, Detail: firstText(m)}).with("result", m.Result())
	}
	// Servers have several ways to say that there is no such tool, and none is to be
	// told from wrong arguments.
	if problem != nil && (problem.Kind == toolError || problem.Kind == badArguments) {
		tool, err := x.Gate.Tool(gate.Because(x.r.Context(), x.Origin, mcp.Message{}), x.Caller, x.scope, x.name, false)
		if err == nil && tool == nil {
			problem.Status, problem.Kind = http.StatusNotFound, unknownTool
		}
	}
	return problem
}

// firstText is the text that a tool's result begins with.
func firstText(m mcp.Message) string {
	for content := range mcp.Elements(m.At(m.InResult("content"))) {
		if text := mcp.Member(content, "text"); text != nil {
			said, _ := mcp.TextOf(text)
			return said
		}
	}
	return "the tool says no more"
}

// getPrompt fills in a prompt with the body as its arguments.
func (x *exchange) getPrompt() *Problem {
	members, problem := x.named()
	if problem != nil {
		return problem
	}
	m, problem := x.ask(x.r.Context(), x.scope, mcp.MethodPromptsGet, members)
	if problem == nil {
		write(x.w, http.StatusOK, httpio.TypeJSON, m.Result())
		return nil
	}
	if problem.Kind == badArguments && !x.hasPrompt() {
		problem.Status, problem.Kind = http.StatusNotFound, unknownPrompt
	}
	return problem
}

// hasPrompt reports whether the prompt is listed, or that can't be known.
func (x *exchange) hasPrompt() bool {
	prompts, _, problem := x.list(x.r.Context(), x.scope, mcp.MethodPromptsList, "prompts")
	for _, prompt := range prompts {
		if nameOf(prompt) == x.name {
			return true
		}
	}
	return problem != nil
}

// nameOf is the name of a tool or prompt in a list.
func nameOf(listed []byte) string {
	name, _ := mcp.TextOf(mcp.Member(listed, "name"))
	return name
}

// readResource reads the resource that the query names.
func (x *exchange) readResource() *Problem {
	if x.query == "" {
		return badRequest("the query parameter uri is missing: it names the resource")
	}
	m, problem := x.ask(x.r.Context(), x.scope, mcp.MethodResourcesRead, append([]byte(`"uri":`), mcp.Quote(x.query)...))
	if problem == nil {
		write(x.w, http.StatusOK, httpio.TypeJSON, m.Result())
		return nil
	}
	if problem.Kind == badArguments { // the stateless era's answer for one that is not there
		problem.Status, problem.Kind = http.StatusNotFound, unknownResource
	}
	return problem
}

// named is the name in the path and the arguments in the body, as members of
// params. No body is no arguments.
func (x *exchange) named() ([]byte, *Problem) {
	if !httpio.IsJSON(x.r.Header) && (x.r.ContentLength != 0 || x.r.Header.Get("Content-Type") != "") {
		return nil, &Problem{Status: http.StatusUnsupportedMediaType, Detail: "Content-Type is not application/json"}
	}
	body, problem := x.Body()
	if problem != nil {
		return nil, problem
	}
	arguments := []byte("{}")
	if len(body) > 0 {
		var err error
		if arguments, err = mcp.ParseObject(body); err != nil {
			return nil, badRequest("the body must be one JSON object, the arguments: %v", err)
		}
	}
	members := append([]byte(`"name":`), mcp.Quote(x.name)...)
	return append(append(members, `,"arguments":`...), arguments...), nil
}
