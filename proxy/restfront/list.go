package restfront

import (
	"bytes"
	"context"
	"net/http"
	"net/url"

	"mcpgateway/policy"
	"mcpgateway/proxy/httpio"
	"mcpgateway/proxy/mcp"
)

// Bounds of one list.
const (
	maxPages     = 1000
	maxListBytes = 8 << 20
)

// lists serves all pages of a list as one.
func lists(method, member string) func(*exchange) *Problem {
	return func(x *exchange) *Problem {
		items, meta, problem := x.list(x.r.Context(), x.scope, method, member)
		if problem != nil {
			return problem
		}
		body := append([]byte(`{"`+member+`":[`), bytes.Join(items, []byte{','})...)
		body = append(body, ']')
		if meta != nil { // it says which servers of a scope are missing
			body = append(append(body, `,"_meta":`...), meta...)
		}
		write(x.w, http.StatusOK, httpio.TypeJSON, append(body, '}'))
		return nil
	}
}

// list asks for all pages of a list. meta is the _meta of the last; nil without.
func (x *exchange) list(ctx context.Context, scope policy.Scope, method, member string) (items [][]byte, meta []byte, problem *Problem) {
	var cursor []byte
	size := 0
	for range maxPages {
		m, problem := x.ask(ctx, scope, method, cursor)
		if problem != nil {
			return nil, nil, problem
		}
		page := m.At(m.InResult(member))
		if len(page) == 0 || page[0] != '[' {
			return nil, nil, &Problem{Status: http.StatusBadGateway, Kind: serverError, Detail: "the server's answer to " + method + " has no list of " + member}
		}
		for item := range mcp.Elements(page) {
			items = append(items, item)
		}
		next := m.InResult("nextCursor")
		if _, more := m.Text(next); !more {
			return items, m.At(m.InResult("_meta")), nil
		}
		if size += len(page); size > maxListBytes {
			break
		}
		cursor = append([]byte(`"cursor":`), m.At(next)...)
	}
	return nil, nil, &Problem{Status: http.StatusBadGateway, Kind: serverError, Detail: "the server's answers to " + method + " find no end"}
}

// listServers lists the servers that the caller may use.
func (x *exchange) listServers() *Problem {
	names, err := x.Gate.Resolve(x.Caller, x.scope)
	if err != nil {
		return problemOf(err)
	}
	body := []byte(`{"servers":[`)
	for i, name := range names {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(append(append(body, '{'), x.about(name)...), '}')
	}
	write(x.w, http.StatusOK, httpio.TypeJSON, append(body, ']', '}'))
	return nil
}

// describeScope lists the servers of a project, or describes one server as it
// describes itself.
func (x *exchange) describeScope() *Problem {
	if x.scope.Server == "" {
		return x.listServers()
	}
	m, problem := x.ask(x.r.Context(), x.scope, mcp.MethodDiscover, nil)
	if problem != nil {
		return problem
	}
	body := append(append([]byte{'{'}, x.about(x.scope.Server)...), `,"discovery":`...)
	write(x.w, http.StatusOK, httpio.TypeJSON, append(append(body, m.Result()...), '}'))
	return nil
}

// about is what the gateway itself says of a server, as members.
func (x *exchange) about(server string) []byte {
	at := address(policy.Scope{Server: server})
	body := append([]byte(`"name":`), mcp.Quote(server)...)
	body = append(append(body, `,"project":`...), mcp.Quote(x.Policy.Servers[server].Project)...)
	body = append(body, `,"links":{"self":`...)
	body = append(body, mcp.Quote(at[:len(at)-1])...)
	for _, collection := range []struct{ name, path string }{
		{"tools", "tools"}, {"resources", "resources"}, {"resourceTemplates", "resource-templates"}, {"prompts", "prompts"},
	} {
		body = append(append(append(body, ',', '"'), collection.name...), '"', ':')
		body = append(body, mcp.Quote(at+collection.path)...)
	}
	body = append(append(body, `,"openapi":`...), mcp.Quote(Prefix+"openapi.json?server="+url.QueryEscape(server))...)
	return append(body, '}')
}
