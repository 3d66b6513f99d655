package openapi

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"mcpgateway/proxy/httpio"
	"mcpgateway/proxy/mcp"
)

// Add describes the tools of a server, which are raw and parsed.
func (d *Document) Add(server string, tools [][]byte) {
	d.tag(server)
	d.room = maxSchemasBytes
	before := len(d.Faults)
	for _, tool := range tools {
		d.addTool(server, tool)
	}
	if most := before + maxFaultsTold; len(d.Faults) > most {
		d.Faults = append(d.Faults[:most], fault{server, "", "there is more that can't be described"})
	}
}

// Missing says that a server's tools are not described, and why.
func (d *Document) Missing(server, reason string) {
	d.tag(server)
	d.fault(server, "", reason)
	d.Info.Description += fmt.Sprintf(" Not described: the tools of %s (%s).", server, cut(reason))
}

func (d *Document) tag(server string) {
	d.Tags = append(d.Tags, tag{server, "the tools of the server " + server})
}

// Bounds of what is said of a server's faults.
const (
	maxFaultsTold  = 100
	maxFaultDetail = 200
)

func (d *Document) fault(server, tool, detail string) {
	d.Faults = append(d.Faults, fault{server, cut(tool), cut(detail)})
}

func cut(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxFaultDetail)], "\uFFFD")
}

// addTool describes one tool, if there is a path that leads to it.
func (d *Document) addTool(server string, tool []byte) {
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
func (d *Document) schema(server, tool, key string, schema []byte) string {
	ref := "#/components/schemas/" + key
	out := []byte(`{"type":"object"}`)
	if !mcp.IsObject(schema) {
		d.fault(server, tool, "a schema is missing, or no object")
	} else if rewritten, faults, err := rewrite(schema, ref); err != nil {
		d.fault(server, tool, err.Error())
	} else if len(rewritten) > d.room {
		d.fault(server, tool, "the server's schemas take too much room")
	} else {
		d.room -= len(rewritten)
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
