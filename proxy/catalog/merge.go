package catalog

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// MetaUnavailable is the member of a merged result's _meta that lists the servers
// which did not contribute, or not what is newest: [{"server":…,"reason":…}].
const MetaUnavailable = "mcpgateway/unavailable"

// Bounds of one page of a merged list. One item is on it even if it is larger.
const (
	maxPageItems = 1000
	maxPageBytes = 1 << 20
)

// maxReason bounds what is said of one server's fault.
const maxReason = 300

// answer is what one member answered.
type answer struct {
	member  Member
	listing *listing // nil for nothing
	err     error    // the fault, nil for none
}

// gather asks members at once. It takes no longer than the memory has its askers
// wait.
func (c *Catalog) gather(ctx context.Context, members []Member, k kind, meta []byte, age time.Duration) []answer {
	answers := make([]answer, len(members))
	var waiting sync.WaitGroup
	for i, m := range members {
		waiting.Go(func() {
			listing, err := c.lists.ask(ctx, question{c.owner, m, k, meta}, age)
			answers[i] = answer{m, listing, err}
		})
	}
	waiting.Wait()
	return answers
}

// list answers one of the list methods.
func (c *Catalog) list(ctx context.Context, request mcp.Message, k kind) (link.Call, error) {
	from, err := c.cursor(request, k)
	if err != nil {
		return nil, err
	}
	var age time.Duration
	if from != (position{}) {
		age = c.lists.keep // the list that the first page is of, if it is still there
	}
	return begin(ctx, request.ID(), func(ctx context.Context, _ *link.Queue) mcp.Message {
		answers := c.gather(ctx, c.members, k, metaOf(request), age)
		return mcp.NewResult(request.ID(), c.page(k, answers, from))
	}), nil
}

// page is the result that starts at a position of the merged list.
func (c *Catalog) page(k kind, answers []answer, from position) []byte {
	var array []byte
	next, count := position{}, 0
	for at, item := range c.merged(k, answers) {
		if at.before(from) {
			continue
		}
		raw := item.raw
		if k.renamed() {
			name := mcp.Quote(c.exposed(at.server, item.key))
			raw = slices.Concat(raw[:item.at.Start], name, raw[item.at.End:])
		}
		if count > 0 && (count == maxPageItems || len(array)+len(raw) > maxPageBytes) {
			next = at
			break
		}
		if count++; count > 1 {
			array = append(array, ',')
		}
		array = append(array, raw...)
	}
	head := `"` + k.shape().array + `":[`
	result := slices.Concat([]byte("{"), c.hints(answers), []byte(","+head), array, []byte("]"))
	if next != (position{}) {
		result = append(append(result, `,"nextCursor":`...), mcp.Quote(next.cursor(k))...)
	}
	return append(result, '}')
}

// merged gives the items of all members in their order, each key once: requests for
// the second of two could not be told from those for the first.
func (c *Catalog) merged(k kind, answers []answer) func(yield func(position, item) bool) {
	return func(yield func(position, item) bool) {
		seen := map[string]bool{}
		for _, a := range answers {
			if a.listing == nil {
				continue
			}
			for i, item := range a.listing.items {
				key := item.key
				if k.renamed() {
					key = c.exposed(a.member.Name, key)
				}
				if seen[key] {
					continue
				}
				seen[key] = true
				if !yield(position{a.member.Name, i}, item) {
					return
				}
			}
		}
	}
}

// hints are the members that every merged result has. It is private whatever the
// members say of theirs: which members there are depends on the caller.
func (c *Catalog) hints(answers []answer) []byte {
	hints := append([]byte(`"resultType":"complete","cacheScope":"private","ttlMs":`), strconv.FormatInt(ttl(answers).Milliseconds(), 10)...)
	hints = append(hints, `,"_meta":{"`+mcp.MetaServerInfo+`":{"name":`...)
	hints = append(append(hints, mcp.Quote(c.gateway)...), `,"version":"1"}`...)
	if faults := unavailable(answers); faults != nil {
		hints = append(append(hints, `,"`+MetaUnavailable+`":`...), faults...)
	}
	return append(hints, '}')
}

// ttl is how long a merged result stays true: no longer than any part of it, and not
// at all if a part is missing.
func ttl(answers []answer) time.Duration {
	least := time.Duration(-1)
	now := time.Now()
	for _, a := range answers {
		if a.err != nil {
			return 0
		}
		if left := a.listing.left(now); !a.listing.none && (least < 0 || left < least) {
			least = left
		}
	}
	return max(0, least)
}

// unavailable lists the faults as raw JSON; nil if there are none.
func unavailable(answers []answer) []byte {
	var list []byte
	for _, a := range answers {
		if a.err == nil {
			continue
		}
		list = append(list, `,{"server":`...)
		list = append(append(list, mcp.Quote(a.member.Name)...), `,"reason":`...)
		list = append(append(list, mcp.Quote(cut(a.err.Error(), maxReason))...), '}')
	}
	if list == nil {
		return nil
	}
	list[0] = '['
	return append(list, ']')
}

// cut shortens a text; what is left of a character in two is replaced when quoted.
func cut(text string, max int) string {
	if len(text) <= max {
		return text
	}
	return strings.ToValidUTF8(text[:max], "") + "…"
}
