package restfront

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"mcpgateway/policy"
	"mcpgateway/proxy/mcp"
)

// target is what a request names.
type target struct {
	scope policy.Scope
	name  string // of a tool or prompt
	query string // the value of the operation's query parameter
}

// operation is what can be done at a path.
type operation struct {
	method  string
	query   string // the one query parameter that it takes; "": none
	streams bool   // it can answer with a stream of events
	serve   func(*exchange) *Problem
}

// allow is the value of the header Allow.
func (o operation) allow() string {
	if o.method == http.MethodGet {
		return "GET, HEAD"
	}
	return o.method
}

// operations lists what there is below a scope. "*" stands for a name.
func operations() map[string]operation {
	return map[string]operation{
		"":                   {method: http.MethodGet, serve: (*exchange).describeScope},
		"tools":              {method: http.MethodGet, serve: lists(mcp.MethodToolsList, "tools")},
		"tools/*":            {method: http.MethodPost, streams: true, serve: (*exchange).callTool},
		"resources":          {method: http.MethodGet, serve: lists(mcp.MethodResourcesList, "resources")},
		"resources/read":     {method: http.MethodGet, query: "uri", serve: (*exchange).readResource},
		"resource-templates": {method: http.MethodGet, serve: lists(mcp.MethodTemplatesList, "resourceTemplates")},
		"prompts":            {method: http.MethodGet, serve: lists(mcp.MethodPromptsList, "prompts")},
		"prompts/*":          {method: http.MethodPost, serve: (*exchange).getPrompt},
	}
}

// parsePath finds the operation at a path, which must be as it was sent: an
// escaped slash is part of a name.
func parsePath(escaped string) (target, operation, *Problem) {
	rest, ok := strings.CutPrefix(escaped, Prefix)
	var segments []string
	for segment := range strings.SplitSeq(rest, "/") {
		name, err := url.PathUnescape(segment)
		if err != nil || !utf8.ValidString(name) {
			return target{}, operation{}, &Problem{Status: http.StatusBadRequest, Detail: "the path is not well-formed"}
		}
		ok = ok && name != ""
		segments = append(segments, name)
	}
	var t target
	switch {
	case !ok:
		return target{}, operation{}, nothing()
	case len(segments) == 1 && segments[0] == "openapi.json":
		return t, operation{method: http.MethodGet, query: "server", serve: (*exchange).document}, nil
	case len(segments) == 1 && segments[0] == "servers":
		return t, operation{method: http.MethodGet, serve: (*exchange).listServers}, nil
	case len(segments) > 1 && segments[0] == "servers":
		t.scope.Server, segments = segments[1], segments[2:]
	case len(segments) > 1 && segments[0] == "projects":
		t.scope.Project, segments = segments[1], segments[2:]
	}
	if len(segments) == 2 && (segments[0] == "tools" || segments[0] == "prompts") {
		t.name, segments[1] = segments[1], "*"
	}
	pattern := strings.Join(segments, "/")
	found, ok := operations()[pattern]
	if !ok || strings.Count(pattern, "/") >= max(len(segments), 1) { // or one of them had a slash
		return target{}, operation{}, nothing()
	}
	return t, found, nil
}

func nothing() *Problem {
	return &Problem{Status: http.StatusNotFound, Detail: "nothing is here: " + Prefix + "openapi.json describes what there is"}
}

// address is the path of a scope, with a slash at its end.
func address(s policy.Scope) string {
	switch {
	case s.Server != "":
		return Prefix + "servers/" + url.PathEscape(s.Server) + "/"
	case s.Project != "":
		return Prefix + "projects/" + url.PathEscape(s.Project) + "/"
	}
	return Prefix
}
