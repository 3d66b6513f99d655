package catalog

import (
	"slices"

	"mcpgateway/proxy/mcp"
)

// maxSubscribed bounds the resources of one subscription.
const maxSubscribed = 1000

// filter is which notifications a subscription wants, or gets.
type filter struct {
	lists [kinds]bool // whose changes; templates change with resources
	uris  []string
}

// listFlags are the members of a filter that are about lists, and what the
// notification is.
func listFlags() (flags []listFlag) {
	about := [...]kind{tools, prompts, resources} // as mcp.ListChanges has them
	for i, list := range mcp.ListChanges() {
		flags = append(flags, listFlag{about[i], list.Member, list.Method})
	}
	return flags
}

type listFlag struct {
	kind         kind
	name, method string
}

// parseFilter reads a filter; ok is false if it is none.
func parseFilter(raw []byte) (f filter, ok bool) {
	if !mcp.IsObject(raw) {
		return filter{}, false
	}
	for _, flag := range listFlags() {
		at := mcp.Find(raw, flag.name)
		f.lists[flag.kind] = string(raw[at.Start:at.End]) == "true"
	}
	at := mcp.Find(raw, "resourceSubscriptions")
	seen := map[string]bool{}
	for element := range mcp.Elements(raw[at.Start:at.End]) {
		uri, isText := mcp.TextOf(element)
		if !isText || len(f.uris) == maxSubscribed {
			return filter{}, false
		}
		if !seen[uri] {
			seen[uri] = true
			f.uris = append(f.uris, uri)
		}
	}
	return f, true
}

// raw is the filter in a message.
func (f filter) raw() []byte {
	object := []byte{'{'}
	for _, flag := range listFlags() {
		if f.lists[flag.kind] {
			object = appendMember(object, flag.name, []byte("true"))
		}
	}
	if len(f.uris) > 0 {
		var array []byte
		for _, uri := range f.uris {
			array = append(append(array, ','), mcp.Quote(uri)...)
		}
		array[0] = '['
		object = appendMember(object, "resourceSubscriptions", append(array, ']'))
	}
	return append(object, '}')
}

func (f filter) empty() bool { return f.lists == [kinds]bool{} && len(f.uris) == 0 }

// within is what of a filter was asked for, too.
func (f filter) within(asked filter) filter {
	for k, wanted := range asked.lists {
		f.lists[k] = f.lists[k] && wanted
	}
	f.uris = slices.DeleteFunc(slices.Clone(f.uris), func(uri string) bool { return !slices.Contains(asked.uris, uri) })
	return f
}

// wants reports whether a notification is one of those that were asked for.
func (f filter) wants(method string) bool {
	for _, flag := range listFlags() {
		if flag.method == method {
			return f.lists[flag.kind]
		}
	}
	return method == mcp.MethodResourceUpdated && len(f.uris) > 0
}
