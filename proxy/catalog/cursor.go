package catalog

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"

	"mcpgateway/proxy/mcp"
)

// position is a place in a merged list: an index into what one member lists. The
// zero position is its start.
type position struct {
	server string
	index  int
}

func (p position) before(other position) bool {
	return p.server < other.server || (p.server == other.server && p.index < other.index)
}

// cursor is the position as a client gets it.
func (p position) cursor(k kind) string {
	return base64.RawURLEncoding.EncodeToString([]byte(k.shape().array + " " + strconv.Itoa(p.index) + " " + p.server))
}

// parseCursor reads a cursor; ok is false if it is none of this kind of list.
func parseCursor(text string, k kind) (p position, ok bool) {
	decoded, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return position{}, false
	}
	parts := strings.SplitN(string(decoded), " ", 3)
	if len(parts) != 3 || parts[0] != k.shape().array || parts[2] == "" {
		return position{}, false
	}
	index, err := strconv.ParseUint(parts[1], 10, 31)
	if err != nil || index >= maxItems {
		return position{}, false
	}
	return position{parts[2], int(index)}, true
}

// cursor reads that of a request.
func (c *Catalog) cursor(request mcp.Message, k kind) (position, error) {
	at := request.Param("cursor")
	if at.Empty() {
		return position{}, nil
	}
	text, _ := request.Text(at)
	p, ok := parseCursor(text, k)
	if !ok || !slices.ContainsFunc(c.members, func(m Member) bool { return m.Name == p.server }) {
		return position{}, invalid("the cursor is not of this list: start again without one")
	}
	return p, nil
}
