// Package openapi describes the tools of MCP servers as an OpenAPI 3.1 document,
// as proxy/restfront serves them. It trusts nothing that a server says of its
// tools: what would keep others from reading the document is left out, and named.
//
// Runs in: proxy.
package openapi

import (
	"bytes"
	"encoding/json"

	"mcpgateway/proxy/httpio"
)

// Document is an OpenAPI document, of which the parts that are needed here can be
// said.
type Document struct {
	OpenAPI    string              `json:"openapi"`
	Info       info                `json:"info"`
	Servers    []location          `json:"servers"`
	Security   []map[string][]any  `json:"security"`
	Tags       []tag               `json:"tags"`
	Paths      map[string]pathItem `json:"paths"`
	Components components          `json:"components"`
	Faults     []fault             `json:"x-mcpgateway-faults,omitempty"`

	room int // bytes that the schemas of the server may still take
}

type (
	info struct {
		Title       string `json:"title"`
		Description string `json:"description"`
		Version     string `json:"version"`
	}
	location struct {
		URL string `json:"url"`
	}
	tag struct {
		Name        string `json:"name"`
		Description string `json:"description"`
	}
	// fault says what is missing from the document, and why.
	fault struct {
		Server string `json:"server"`
		Tool   string `json:"tool,omitempty"`
		Detail string `json:"detail"`
	}
	pathItem struct {
		Get  *verb `json:"get,omitempty"`
		Post *verb `json:"post,omitempty"`
	}
	verb struct {
		OperationID string              `json:"operationId"`
		Tags        []string            `json:"tags"`
		Summary     string              `json:"summary"`
		Description string              `json:"description,omitempty"`
		Parameters  []parameter         `json:"parameters,omitempty"`
		RequestBody *body               `json:"requestBody,omitempty"`
		Responses   map[string]response `json:"responses"`
	}
	parameter struct {
		Name        string          `json:"name"`
		In          string          `json:"in"`
		Required    bool            `json:"required"`
		Description string          `json:"description"`
		Schema      json.RawMessage `json:"schema"`
	}
	body struct {
		Required bool             `json:"required"`
		Content  map[string]media `json:"content"`
	}
	response struct {
		Ref         string           `json:"$ref,omitempty"`
		Description string           `json:"description,omitempty"`
		Content     map[string]media `json:"content,omitempty"`
	}
	media struct {
		Schema json.RawMessage `json:"schema"`
	}
	components struct {
		SecuritySchemes map[string]json.RawMessage `json:"securitySchemes"`
		Responses       map[string]response        `json:"responses"`
		Schemas         map[string]json.RawMessage `json:"schemas"`
	}
)

const typeProblem = "application/problem+json"

// New describes what is there whatever the servers are.
func New(gateway string, servers []string) *Document {
	names, err := json.Marshal(servers)
	if err != nil {
		panic("marshal names: " + err.Error())
	}
	schema := func(text string) json.RawMessage { return json.RawMessage(text) }
	server := parameter{Name: "server", In: "path", Required: true, Description: "the server's name", Schema: schema(`{"type":"string","enum":` + string(names) + `}`)}
	get := func(id, summary, result string, parameters ...parameter) pathItem {
		return pathItem{Get: &verb{
			OperationID: id, Tags: []string{"gateway"}, Summary: summary, Parameters: parameters,
			Responses: answers("what was asked for", map[string]media{httpio.TypeJSON: {schema(result)}}),
		}}
	}
	list := func(member string) string {
		return `{"type":"object","properties":{"` + member + `":{"type":"array","items":{"type":"object"}}},"required":["` + member + `"]}`
	}
	const object = `{"type":"object"}`
	prompt := get("getPrompt", "Fill in a prompt", object, server,
		parameter{Name: "prompt", In: "path", Required: true, Description: "the prompt's name", Schema: schema(`{"type":"string"}`)}).Get
	prompt.RequestBody = &body{Content: map[string]media{httpio.TypeJSON: {schema(`{"type":"object","additionalProperties":{"type":"string"}}`)}}}
	return &Document{
		OpenAPI: "3.1.1",
		Info: info{
			Title: gateway, Version: "1",
			Description: "The tools of MCP servers as plain HTTP and JSON. An operation's body is the tool's arguments, and its answer the tool's result.",
		},
		Servers:  []location{{"/api/v1"}},
		Security: []map[string][]any{{"bearer": {}}, {"key": {}}},
		Tags:     []tag{{"gateway", "what there is, and resources and prompts"}},
		Paths: map[string]pathItem{
			"/servers":                             get("listServers", "List the servers that the caller may use", list("servers")),
			"/servers/{server}":                    get("getServer", "Describe a server", object, server),
			"/servers/{server}/tools":              get("listTools", "List a server's tools", list("tools"), server),
			"/servers/{server}/resources":          get("listResources", "List a server's resources", list("resources"), server),
			"/servers/{server}/resource-templates": get("listResourceTemplates", "List a server's resource templates", list("resourceTemplates"), server),
			"/servers/{server}/prompts":            get("listPrompts", "List a server's prompts", list("prompts"), server),
			"/servers/{server}/prompts/{prompt}":   {Post: prompt},
			"/servers/{server}/resources/read": get("readResource", "Read a resource", list("contents"), server,
				parameter{Name: "uri", In: "query", Required: true, Description: "the resource's URI", Schema: schema(`{"type":"string"}`)}),
		},
		Components: components{
			SecuritySchemes: map[string]json.RawMessage{
				"bearer": schema(`{"type":"http","scheme":"bearer"}`),
				"key":    schema(`{"type":"apiKey","in":"header","name":"X-API-Key"}`),
			},
			Responses: map[string]response{
				"problem": {Description: "what went wrong", Content: map[string]media{typeProblem: {schema(`{"$ref":"#/components/schemas/problem"}`)}}},
			},
			Schemas: map[string]json.RawMessage{
				"problem": schema(`{"type":"object","description":"RFC 9457","properties":{"type":{"type":"string"},"title":{"type":"string"},` +
					`"status":{"type":"integer"},"detail":{"type":"string"},"instance":{"type":"string"},"code":{"type":"integer"}},"required":["type","title","status"]}`),
				"result": schema(`{"type":"object","properties":{"content":{"type":"array","items":{"type":"object"}},"structuredContent":{}},"required":["content"]}`),
			},
		},
	}
}

// answers are the responses of an operation.
func answers(description string, content map[string]media) map[string]response {
	return map[string]response{
		"200":     {Description: description, Content: content},
		"default": {Ref: "#/components/responses/problem"},
	}
}

// JSON writes the document, in an order that depends on nothing but its content.
func (d *Document) JSON() ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	err := e.Encode(d)
	return out.Bytes(), err
}
