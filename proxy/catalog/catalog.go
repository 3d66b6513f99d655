// Package catalog makes one server of many. What they list is merged under names
// that say whose it is, and every request goes to the one member that it is for.
// A member that is slow or dead costs the others nothing: what it lists is left
// out, or taken from memory, and the result says so. Which servers a caller may use
// is not decided here: they are the members.
//
// Runs in: proxy.
package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// Member is a server under the name that clients see.
type Member struct {
	Name   string
	Server link.Server
}

// Catalog is the members as one caller sees them: a link.Server. It costs next to
// nothing to make.
type Catalog struct {
	members []Member // by name
	lists   *Lists
	owner   string
	gateway string
}

// New returns the catalogue of members. What they list is remembered in lists for
// this owner alone: an identity or a session. gateway is the name under which the
// catalogue introduces itself.
func New(members []Member, lists *Lists, owner, gateway string) *Catalog {
	members = slices.Clone(members)
	slices.SortFunc(members, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	return &Catalog{members: members, lists: lists, owner: owner, gateway: gateway}
}

// Do answers a request of the stateless era, or passes it on to the member that it
// is for. It may have to ask members what they have before it knows.
func (c *Catalog) Do(ctx context.Context, request mcp.Message) (link.Call, error) {
	call, err := c.dispatch(ctx, request)
	if fault, ok := errors.AsType[*refusal](err); ok {
		return link.Answered(mcp.NewError(request.ID(), fault.code, fault.text, fault.data)), nil
	}
	return call, err
}

func (c *Catalog) dispatch(ctx context.Context, request mcp.Message) (link.Call, error) {
	switch request.Method() {
	case mcp.MethodDiscover:
		return c.discover(ctx, request), nil
	case mcp.MethodToolsList:
		return c.list(ctx, request, tools)
	case mcp.MethodPromptsList:
		return c.list(ctx, request, prompts)
	case mcp.MethodResourcesList:
		return c.list(ctx, request, resources)
	case mcp.MethodTemplatesList:
		return c.list(ctx, request, templates)
	case mcp.MethodToolsCall:
		return c.toNamed(ctx, request, tools, "name")
	case mcp.MethodPromptsGet:
		return c.toNamed(ctx, request, prompts, "name")
	case mcp.MethodResourcesRead:
		return c.toResource(ctx, request, "uri")
	case mcp.MethodComplete:
		return c.complete(ctx, request)
	case mcp.MethodListen:
		return c.listen(ctx, request)
	}
	return nil, &refusal{code: mcp.CodeMethodNotFound,
		text: fmt.Sprintf("method %.100q does not exist at an address of many servers", request.Method())}
}

// complete asks the member whose prompt or resource is to be completed.
func (c *Catalog) complete(ctx context.Context, request mcp.Message) (link.Call, error) {
	switch kind, _ := request.Text(request.Param("ref", "type")); kind {
	case "ref/prompt":
		return c.toNamed(ctx, request, prompts, "ref", "name")
	case "ref/resource":
		return c.toResource(ctx, request, "ref", "uri")
	default:
		return nil, invalid("ref.type %.100q is neither ref/prompt nor ref/resource", kind)
	}
}

// refusal is an error that answers the request.
type refusal struct {
	code int
	text string
	data []byte // raw, nil for none
}

func (r *refusal) Error() string { return r.text }

func invalid(format string, args ...any) *refusal {
	return &refusal{code: mcp.CodeInvalidParams, text: fmt.Sprintf(format, args...)}
}
