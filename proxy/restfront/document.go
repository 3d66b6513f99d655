package restfront

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"mcpgateway/policy"
	"mcpgateway/proxy/httpio"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/openapi"
)

// document serves the document of the servers that the caller may use, or of one.
func (x *exchange) document() *Problem {
	scope := x.scope
	scope.Server = x.query
	servers, err := x.Gate.Resolve(x.Caller, scope)
	if err != nil {
		return problemOf(err)
	}
	d := openapi.New(x.Policy.Gateway, servers)
	for i, l := range x.tools(servers) {
		if l.problem != nil && l.problem.Kind != notOffered { // else the server has none
			d.Missing(servers[i], l.problem.Detail)
			continue
		}
		d.Add(servers[i], l.tools)
	}
	out, err := d.JSON()
	if err != nil {
		return &Problem{Status: http.StatusInternalServerError, Detail: "the document can't be written: " + err.Error()}
	}
	write(x.w, http.StatusOK, httpio.TypeJSON, out)
	return nil
}

// listed is what a server lists, or why it lists nothing.
type listed struct {
	tools   [][]byte
	problem *Problem
}

// tools asks all servers at once for their tools, in the order of the servers. One
// that does not answer in time is left out.
func (x *exchange) tools(servers []string) []listed {
	late := fmt.Errorf("it did not list its tools within %s", x.waits.list)
	ctx, cancel := context.WithTimeoutCause(x.r.Context(), x.waits.list, late)
	defer cancel()
	all := make([]listed, len(servers))
	var running sync.WaitGroup
	for i, server := range servers {
		running.Go(func() {
			tools, _, problem := x.list(ctx, policy.Scope{Server: server}, mcp.MethodToolsList, "tools")
			all[i] = listed{tools, problem}
		})
	}
	running.Wait()
	return all
}
