package catalog

import (
	"context"
	"slices"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// maxInstructions bounds what one member tells models of itself.
const maxInstructions = 8 << 10

// discover answers server/discover: what any member can, the catalogue can.
func (c *Catalog) discover(ctx context.Context, request mcp.Message) link.Call {
	return begin(ctx, request.ID(), func(ctx context.Context, _ *link.Queue) mcp.Message {
		answers := c.gather(ctx, c.members, about, metaOf(request), 0)
		result := slices.Concat([]byte(`{`), c.hints(answers),
			[]byte(`,"supportedVersions":`), mcp.RevisionList(), []byte(`,"capabilities":`), capabilities(answers))
		if text := instructions(answers); text != "" {
			result = append(append(result, `,"instructions":`...), mcp.Quote(text)...)
		}
		return mcp.NewResult(request.ID(), append(result, '}'))
	})
}

// capabilities is the union of the members' own, of those that the catalogue can
// carry: an extension may have methods that name no tool and no resource, and so
// no server. Of changed lists the catalogue itself tells, too.
func capabilities(answers []answer) []byte {
	union := []byte{'{'}
	for _, name := range []string{"tools", "prompts", "resources", "completions", "logging"} {
		if !offered(answers, name) {
			continue
		}
		flags := []byte{'{'}
		if name == "tools" || name == "prompts" || name == "resources" {
			flags = appendMember(flags, "listChanged", []byte("true"))
		}
		if offered(answers, name, "subscribe") {
			flags = appendMember(flags, "subscribe", []byte("true"))
		}
		union = appendMember(union, name, append(flags, '}'))
	}
	return append(union, '}')
}

// offered reports whether any member has a capability, or a flag of one.
func offered(answers []answer, path ...string) bool {
	return slices.ContainsFunc(answers, func(a answer) bool {
		if a.listing == nil || len(a.listing.items) == 0 {
			return false
		}
		result := a.listing.items[0].raw
		at := mcp.Find(result, append([]string{"capabilities"}, path...)...)
		if len(path) == 1 {
			return mcp.IsObject(result[at.Start:at.End])
		}
		return string(result[at.Start:at.End]) == "true"
	})
}

// instructions joins what the members say, each under its name.
func instructions(answers []answer) string {
	var text string
	for _, a := range answers {
		if a.listing == nil || len(a.listing.items) == 0 {
			continue
		}
		result := a.listing.items[0].raw
		at := mcp.Find(result, "instructions")
		own, _ := mcp.TextOf(result[at.Start:at.End])
		if own == "" {
			continue
		}
		if text != "" {
			text += "\n\n"
		}
		text += "# " + a.member.Name + "\n\n" + cut(own, maxInstructions)
	}
	return text
}

// appendMember adds a member to an object that is not closed yet.
func appendMember(object []byte, name string, value []byte) []byte {
	if len(object) > 1 {
		object = append(object, ',')
	}
	return append(append(append(object, mcp.Quote(name)...), ':'), value...)
}
