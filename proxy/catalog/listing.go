package catalog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// Bounds of what one server lists. What is over them is left out, and reported.
const (
	maxPages     = 200
	maxItems     = 10_000
	maxListBytes = 8 << 20 // the page that goes over it is the last one
	itemBytes    = 256     // what remembering an item takes, beside its page
)

// listing is what a server lists of one kind. It is immutable.
type listing struct {
	items []item
	index map[string]int // by key
	bytes int
	at    time.Time
	ttl   time.Duration // how long the server says that it stays true
	none  bool          // the server has nothing of the kind
	over  error         // why it is cut; nil if it is whole
}

// item is one definition, as the server wrote it.
type item struct {
	key     string   // name or URI
	at      mcp.Span // of the key in raw
	raw     []byte
	altered string // name of the second form, if items of the kind have names
}

// question is what is asked of a server.
type question struct {
	owner  string
	member Member
	kind   kind
	meta   []byte // _meta of the request, raw; nil for the gateway's own
}

// left is how long a listing stays true by its server's word.
func (l *listing) left(now time.Time) time.Duration { return max(0, l.ttl-now.Sub(l.at)) }

// fetch asks a server for all it has of a kind, page by page.
func fetch(ctx context.Context, q question) (*listing, error) {
	l := &listing{index: map[string]int{}, ttl: -1}
	var cursor []byte
	for page := 0; ; page++ {
		if page == maxPages {
			l.over = fmt.Errorf("it lists more than %d pages", maxPages)
			return l, nil
		}
		result, err := q.page(ctx, cursor)
		if errors.Is(err, errNone) {
			return &listing{at: time.Now(), none: true}, nil
		}
		if err != nil {
			return nil, err
		}
		l.add(q, result)
		cursor = result.At(result.InResult("nextCursor"))
		if _, more := mcp.TextOf(cursor); !more || l.over != nil {
			return l, nil
		}
	}
}

var errNone = errors.New("the server has nothing of the kind")

// page asks for one page; cursor is raw, nil for the first.
func (q question) page(ctx context.Context, cursor []byte) (mcp.Message, error) {
	call, err := q.member.Server.Do(ctx, mcp.NewRequest([]byte("1"), q.kind.shape().method, q.params(cursor)))
	if err != nil {
		return mcp.Message{}, err
	}
	response, err := link.Await(ctx, call)
	if err != nil {
		return mcp.Message{}, err
	}
	if response.Err() == nil {
		return response, q.check(response)
	}
	if isError(response, mcp.CodeMethodNotFound) {
		return mcp.Message{}, errNone
	}
	return mcp.Message{}, problem(q.kind.shape().method, response)
}

func isError(response mcp.Message, code int) bool {
	return string(response.At(response.InError("code"))) == strconv.Itoa(code)
}

// problem says what an error answer says.
func problem(method string, response mcp.Message) error {
	text, _ := response.Text(response.InError("message"))
	return fmt.Errorf("it answered %s with error %.10s: %.*q", method, response.At(response.InError("code")), maxReason, text)
}

func (q question) check(response mcp.Message) error {
	shape := q.kind.shape()
	if !mcp.IsObject(response.Result()) {
		return fmt.Errorf("it answered %s without a result", shape.method)
	}
	if list := response.At(response.InResult(shape.array)); shape.array != "" && (len(list) == 0 || list[0] != '[') {
		return fmt.Errorf("it answered %s without a list", shape.method)
	}
	return nil
}

func (q question) params(cursor []byte) []byte {
	meta := q.meta
	if meta == nil {
		meta = mcp.OwnMeta()
	}
	params := append([]byte(`{"_meta":`), meta...)
	if cursor != nil {
		params = append(append(params, `,"cursor":`...), cursor...)
	}
	return append(params, '}')
}

// metaOf is what a client says of itself with a request, for requests of the
// gateway's own on its behalf: their progress and log messages would reach nobody.
func metaOf(request mcp.Message) []byte {
	meta := request.At(request.Param("_meta"))
	if meta == nil {
		return nil
	}
	return mcp.Without(meta, "progressToken", mcp.MetaLogLevel)
}

// add takes in the items of a page. Of several with one key the first counts: a
// server can't tell requests for them apart.
func (l *listing) add(q question, page mcp.Message) {
	l.at = time.Now()
	if ttl := ttlOf(page); l.ttl < 0 || ttl < l.ttl {
		l.ttl = ttl
	}
	l.bytes += len(page.Raw())
	if l.bytes > maxListBytes {
		l.over = fmt.Errorf("it lists more than %d MiB", maxListBytes>>20)
	}
	shape := q.kind.shape()
	if shape.array == "" {
		l.items = []item{{raw: page.Result()}}
		return
	}
	for raw := range mcp.Elements(page.At(page.InResult(shape.array))) {
		at := mcp.Find(raw, shape.key)
		if at.Empty() {
			continue
		}
		key, _ := mcp.TextOf(raw[at.Start:at.End])
		if _, twice := l.index[key]; twice || key == "" {
			continue
		}
		if len(l.items) == maxItems {
			l.over = fmt.Errorf("it lists more than %d", maxItems)
			return
		}
		l.index[key] = len(l.items)
		l.bytes += itemBytes
		l.items = append(l.items, item{key: key, at: at, raw: raw})
		if q.kind.renamed() {
			l.items[len(l.items)-1].altered = altered(q.member.Name, key)
		}
	}
}

// maxTTL bounds how long a server's word holds.
const maxTTL = 24 * time.Hour

func ttlOf(result mcp.Message) time.Duration {
	ms, err := strconv.ParseInt(string(result.At(result.InResult("ttlMs"))), 10, 64)
	if err != nil || ms <= 0 {
		return 0
	}
	return time.Duration(min(ms, maxTTL.Milliseconds())) * time.Millisecond
}
