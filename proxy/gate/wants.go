package gate

import (
	"fmt"

	"mcpgateway/policy/rbac"
	"mcpgateway/proxy/mcp"
)

// wants is what a request asks for, as rules and records name it.
type wants struct {
	method string
	tool   string
	asked  []rbac.Request // one question for each thing that is named; none: who may use the server may do it

	one [1]rbac.Request // of asked, nearly always
}

// parse finds out what a request asks for. What it does not know needs the
// permission for its method. A name that is missing or no text is the empty one,
// which is judged as any other.
func (w *wants) parse(request mcp.Message) {
	w.method = request.Method()
	asked := &w.one[0]
	asked.Action, asked.Arguments = w.method, request.At(request.Param("arguments"))
	switch w.method {
	case mcp.MethodInitialize, mcp.MethodPing, mcp.MethodDiscover, mcp.MethodSetLevel, mcp.MethodUnsubscribe,
		mcp.MethodToolsList, mcp.MethodPromptsList, mcp.MethodResourcesList, mcp.MethodTemplatesList:
		return // what is listed is judged piece by piece
	case mcp.MethodListen:
		for uri := range mcp.Elements(request.At(request.Param("notifications", "resourceSubscriptions"))) {
			one := rbac.Request{Action: mcp.MethodResourcesRead}
			one.Resource, _ = mcp.TextOf(uri)
			w.asked = append(w.asked, one)
		}
		return
	case mcp.MethodToolsCall:
		w.tool, _ = request.Text(request.Param("name"))
		asked.Tool = w.tool
	case mcp.MethodPromptsGet:
		asked.Prompt, _ = request.Text(request.Param("name"))
	case mcp.MethodResourcesRead, mcp.MethodSubscribe:
		asked.Resource, _ = request.Text(request.Param("uri"))
	case mcp.MethodComplete:
		completion(request, asked)
	}
	w.asked = w.one[:]
}

// arguments are those of the request, raw.
func (w *wants) arguments() []byte { return w.one[0].Arguments }

// completion needs the permission for what is to be completed.
func completion(request mcp.Message, asked *rbac.Request) {
	switch kind, _ := request.Text(request.Param("ref", "type")); kind {
	case "ref/prompt":
		asked.Prompt, _ = request.Text(request.Param("ref", "name"))
	case "ref/resource":
		asked.Template, _ = request.Text(request.Param("ref", "uri"))
	}
}

// name is what a record says that was asked for; of several the first.
func (w *wants) name() string {
	if len(w.asked) == 0 {
		return ""
	}
	a := &w.asked[0]
	return a.Tool + a.Prompt + a.Resource + a.Template // one of them
}

// what puts a question for people.
func what(asked *rbac.Request) string {
	switch {
	case asked.Tool != "":
		return fmt.Sprintf("tool %.100q", asked.Tool)
	case asked.Prompt != "":
		return fmt.Sprintf("prompt %.100q", asked.Prompt)
	case asked.Resource+asked.Template != "":
		return fmt.Sprintf("resource %.200q", asked.Resource+asked.Template)
	}
	return fmt.Sprintf("method %.100q", asked.Action)
}
