package restfront

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"

	"mcpgateway/policy"
	"mcpgateway/proxy/httpio"
	"mcpgateway/proxy/mcp"
)

// listed is what a server lists, or why it lists nothing.
type listed struct {
	tools   [][]byte
	problem *Problem
}

// tools asks all servers at once for their tools, in the order of the servers. One
// that does not answer in time is left out.
func (x *exchange) tools(servers []string) []listed {
	late := fmt.Errorf("it did not list its tools within %s", listWait)
	ctx, cancel := context.WithTimeoutCause(x.r.Context(), listWait, late)
	defer cancel()
	all := make([]listed, len(servers))
	var running sync.WaitGroup
	for i, server := range servers {
		running.Go(func() {
			tools, _, problem := x.list(ctx, policy.Scope{Server: server}, mcp.MethodToolsList, "tools")
			slices.SortStableFunc(tools, func(a, b []byte) int { return cmp.Compare(nameOf(a), nameOf(b)) })
			all[i] = listed{tools, problem}
		})
	}
	running.Wait()
	return all
}

// add describes a server's tools.
func (d *openAPI) add(server string, l listed) {
	d.Tags = append(d.Tags, tag{server, "the tools of the server " + server})
	if l.problem != nil {
		if l.problem.Kind != notOffered { // else the server has none
			d.fault(server, "", l.problem.Detail)
			d.Info.Description += fmt.Sprintf(" Not described: the tools of %s (%s).", server, cut(l.problem.Detail))
		}
		return
	}
	for _, tool := range l.tools {
		d.addTool(server, tool)
	}
}

// Bounds of what is said of faults.
const (
	maxFaultsTold  = 200
	maxFaultDetail = 200
)

func (d *openAPI) fault(server, tool, detail string) {
	if len(d.Faults) < maxFaultsTold {
		d.Faults = append(d.Faults, fault{server, cut(tool), cut(detail)})
	}
}

func cut(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxFaultDetail)], "\uFFFD")
}

// addTool describes one tool, if there is a path that leads to it.
func (d *openAPI) addTool(server string, tool []byte) {
	var name, title, description string
	var input, output []byte
	for member, value := range mcp.Members(tool) {
		text, _ := mcp.TextOf(value)
		switch member {
		case "name":
			name = text
		case "title":
			title = text
		case "description":
			description = text
		case "inputSchema":
			input = value
		case "outputSchema":
			output = value
		}
	}
	id := identifier(server, name)
	_, twice := d.Components.Schemas[id+".input"]
	switch {
	case name == "" || name == "." || name == ".." || len(name) > maxName:
		d.fault(server, name, fmt.Sprintf("no path can lead to a tool of the name %.20q", name))
		return
	case twice:
		d.fault(server, name, "the tool is listed twice")
		return
	}
	summary := title
	if summary == "" {
		summary = name
	}
	result := `{"$ref":"#/components/schemas/result"}`
	if output != nil {
		result = `{"allOf":[` + result + `,{"type":"object","properties":{"structuredContent":` + d.schema(server, name, id+".output", output) + `},"required":["structuredContent"]}]}`
	}
	path := "/servers/" + url.PathEscape(server) + "/tools/" + url.PathEscape(name)
	d.Paths[path] = pathItem{Post: &verb{
		OperationID: id, Tags: []string{server}, Summary: summary, Description: description,
		RequestBody: &body{Required: true, Content: map[string]media{
			httpio.TypeJSON: {json.RawMessage(d.schema(server, name, id+".input", input))},
		}},
		Responses: answers("the tool's result", map[string]media{
			httpio.TypeJSON:   {json.RawMessage(result)},
			httpio.TypeEvents: {json.RawMessage(`{"type":"string","description":"events: progress, log, and last result or problem"}`)},
		}),
	}}
}

// maxName bounds the names of tools: they become parts of addresses.
const maxName = 1 << 10

// schema makes a component of a tool's schema and returns a reference to it. In
// the place of one that can't be used stands any object.
func (d *openAPI) schema(server, tool, key string, schema []byte) string {
	ref := "#/components/schemas/" + key
	out := []byte(`{"type":"object"}`)
	if !mcp.IsObject(schema) {
		d.fault(server, tool, "a schema is missing, or no object")
	} else if rewritten, faults, err := rewrite(schema, ref); err != nil {
		d.fault(server, tool, err.Error())
	} else {
		out = rewritten
		for _, text := range faults {
			d.fault(server, tool, "schema #"+text)
		}
	}
	d.Components.Schemas[key] = out
	return `{"$ref":"` + ref + `"}`
}

// identifier names a tool in the document.
func identifier(server, tool string) string {
	id := server + "__" + tool
	if !strings.Contains(server+"_", "__") { // else another pair could have the same
		return clean(id)
	}
	return distinct(id, server+"\x00"+tool)
}

const longestName = 100

// clean returns a name if it is made of what every reader takes, else another that
// is as good as unique.
func clean(name string) string {
	if strings.IndexFunc(name, isOdd) < 0 && len(name) <= longestName && name != "" {
		return name
	}
	return distinct(name, name)
}

func distinct(name, of string) string {
	sum := sha256.Sum256([]byte(of))
	tame := strings.Map(func(c rune) rune {
		if isOdd(c) {
			return '_'
		}
		return c
	}, name)
	return tame[:min(len(tame), longestName)] + "_" + hex.EncodeToString(sum[:16])
}

func isOdd(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-'
}
