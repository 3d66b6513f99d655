package catalog

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// maxURI bounds the URIs that are looked for, in bytes.
const maxURI = 4096

// toResource passes a request on to the member whose resource it names. The URI
// stays as it is, because servers put URIs into results, too.
func (c *Catalog) toResource(ctx context.Context, request mcp.Message, path ...string) (link.Call, error) {
	uri, ok := request.Text(request.Param(path...))
	if !ok {
		return nil, invalid("params.%s is missing, or not a string", strings.Join(path, "."))
	}
	owners, answers := c.owners(ctx, metaOf(request), uri)
	if member, ok := owners[uri]; ok {
		return member.Server.Do(ctx, request)
	}
	data := append(append([]byte(`{"uri":`), mcp.Quote(cut(uri, maxURI))...), '}')
	return nil, c.missing(ctx, answers, &refusal{mcp.CodeInvalidParams, fmt.Sprintf("resource not found: %.200s", uri), data})
}

// owners finds the members whose resources URIs are. If one is in no list that is
// remembered, all members are asked, and what they answered is returned.
func (c *Catalog) owners(ctx context.Context, meta []byte, uris ...string) (map[string]Member, []answer) {
	stocks := make([]stock, len(c.members))
	for i, m := range c.members {
		stocks[i] = stock{m, c.lists.remembered(c.owner, m.Name, resources), c.lists.remembered(c.owner, m.Name, templates)}
	}
	owners := owned(stocks, uris, stock.lists, stock.hasTemplate)
	if len(owners) == len(uris) {
		return owners, nil
	}
	var listed, patterns []answer
	var waiting sync.WaitGroup
	waiting.Go(func() { listed = c.gather(ctx, c.members, resources, meta, c.lists.recheck) })
	waiting.Go(func() { patterns = c.gather(ctx, c.members, templates, meta, c.lists.recheck) })
	waiting.Wait()
	for i, m := range c.members {
		stocks[i] = stock{m, listed[i].listing, patterns[i].listing}
	}
	return owned(stocks, uris, stock.lists, stock.hasTemplate, stock.hasScheme), append(listed, patterns...)
}

// owned gives each URI to the first member, by name, of which the first of the tests
// that holds for any is true.
func owned(stocks []stock, uris []string, tests ...func(stock, string) bool) map[string]Member {
	owners := map[string]Member{}
	for _, uri := range uris {
		if member, ok := ownerOf(stocks, uri, tests); ok {
			owners[uri] = member
		}
	}
	return owners
}

func ownerOf(stocks []stock, uri string, tests []func(stock, string) bool) (Member, bool) {
	if len(uri) > maxURI {
		return Member{}, false
	}
	for _, test := range tests {
		for _, s := range stocks {
			if test(s, uri) {
				return s.member, true
			}
		}
	}
	return Member{}, false
}

// stock is what a member has of resources, as far as it is known.
type stock struct {
	member               Member
	resources, templates *listing // nil if unknown
}

// lists reports whether the member lists a URI, or a template that reads so.
func (s stock) lists(uri string) bool { return s.resources.has(uri) || s.templates.has(uri) }

func (s stock) hasTemplate(uri string) bool {
	for i, t := range s.templates.all() {
		if i == maxTemplates {
			break
		}
		if matches(t.key, uri) {
			return true
		}
	}
	return false
}

// hasScheme reports whether the member has other resources of a URI's scheme: tools
// name resources that no list has.
func (s stock) hasScheme(uri string) bool {
	scheme := schemeOf(uri)
	if scheme == "" {
		return false
	}
	for _, l := range []*listing{s.resources, s.templates} {
		for _, item := range l.all() {
			if strings.EqualFold(schemeOf(item.key), scheme) {
				return true
			}
		}
	}
	return false
}

func schemeOf(uri string) string {
	scheme, _, ok := strings.Cut(uri, ":")
	if !ok || strings.ContainsAny(scheme, "/{") {
		return ""
	}
	return scheme
}

// has reports whether a listing has a key; nil has none.
func (l *listing) has(key string) bool {
	if l == nil {
		return false
	}
	_, ok := l.index[key]
	return ok
}

func (l *listing) all() []item {
	if l == nil {
		return nil
	}
	return l.items
}
