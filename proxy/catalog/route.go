package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// Tool returns the definition of a tool as its server lists it, raw; nil if there
// is no such tool. name is what clients see. fresh asks the server even if its list
// is remembered.
func (c *Catalog) Tool(ctx context.Context, name string, fresh bool) ([]byte, error) {
	member, own, err := c.resolve(ctx, tools, name, nil)
	var fault *refusal
	if errors.As(err, &fault) && fault.code == mcp.CodeInvalidParams {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	text, _ := mcp.TextOf(own)
	return c.lists.Tool(ctx, c.owner, member, text, fresh)
}

// toNamed passes a request on to the member whose tool or prompt it names.
func (c *Catalog) toNamed(ctx context.Context, request mcp.Message, k kind, path ...string) (link.Call, error) {
	at := request.Param(path...)
	name, ok := request.Text(at)
	if !ok {
		return nil, invalid("params.%s is missing, or not a string", strings.Join(path, "."))
	}
	member, own, err := c.resolve(ctx, k, name, metaOf(request))
	if err != nil {
		return nil, err
	}
	return member.Server.Do(ctx, request.Replace(at, own))
}

// resolve finds the member that a name belongs to, and its own name, raw. Most names
// say both. Of the others, those that may have one are asked.
func (c *Catalog) resolve(ctx context.Context, k kind, name string, meta []byte) (member Member, own []byte, err error) {
	if !hashed(name) {
		if member, rest := c.split(name); rest != "" && presentable(name) {
			return member, mcp.Quote(rest), nil
		}
		return Member{}, nil, unknown(k, name)
	}
	var candidates []Member
	var answers []answer
	for _, m := range c.members {
		if mayOwn(m.Name, name) {
			candidates = append(candidates, m)
			answers = append(answers, answer{member: m, listing: c.lists.remembered(c.owner, m.Name, k)})
		}
	}
	if member, own = find(answers, name); own != nil {
		return member, own, nil
	}
	answers = c.gather(ctx, candidates, k, meta, c.lists.recheck)
	if member, own = find(answers, name); own != nil {
		return member, own, nil
	}
	return Member{}, nil, c.missing(ctx, answers, unknown(k, name))
}

// find looks a name of the second form up.
func find(answers []answer, name string) (Member, []byte) {
	for _, a := range answers {
		if a.listing == nil {
			continue
		}
		for _, item := range a.listing.items {
			if item.altered == name {
				return a.member, item.raw[item.at.Start:item.at.End]
			}
		}
	}
	return Member{}, nil
}

// missing explains why something was not found: perhaps it is on a server that did
// not answer.
func (c *Catalog) missing(ctx context.Context, answers []answer, otherwise *refusal) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	for _, a := range answers {
		if a.err != nil {
			text := fmt.Sprintf("%s, or it is on server %q: %s", otherwise.text, a.member.Name, cut(a.err.Error(), maxReason))
			return &refusal{code: mcp.CodeInternal, text: text}
		}
	}
	return otherwise
}

func unknown(k kind, name string) *refusal {
	return invalid("unknown %s: %.200s", k.shape().what, name)
}
