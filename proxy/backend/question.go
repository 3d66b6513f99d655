package backend

import (
	"strconv"
	"strings"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// The instances of one session, one after the other, may ask its client by the same ids,
// and an answer to one that has ended must not be taken for the answer to another. The
// first one's questions pass as they are. Those of the others carry the instance's number
// before the id: "mcpgateway-NUMBER:ID", with the raw id.
const numberPrefix = "mcpgateway-"

// Questioner says which of a session's instances asked what an answer's raw id names, and
// the raw id that it asked by. Who makes up such ids fools itself alone.
func Questioner(id []byte) (number int, own []byte) {
	text, _ := mcp.TextOf(id)
	rest, found := strings.CutPrefix(text, numberPrefix)
	digits, raw, cut := strings.Cut(rest, ":")
	number, err := strconv.Atoi(digits)
	if !found || !cut || err != nil || number < 1 || !mcp.IsID([]byte(raw)) { // it comes from anybody
		return 0, id
	}
	return number, []byte(raw)
}

// numbered gives a question of the server, or the cancellation of one, an id that no
// other instance of the session has used.
func (c *Conn) numbered(m mcp.Message) mcp.Message {
	if c.number == 0 {
		return m
	}
	alias := func(id []byte) []byte { return mcp.Quote(numberPrefix + strconv.Itoa(c.number) + ":" + string(id)) }
	if m.Kind() == mcp.Request {
		return m.WithID(alias(m.ID()))
	}
	if span := m.Param("requestId"); m.Method() == mcp.MethodCancelled && !span.Empty() {
		return m.Replace(span, alias(m.At(span)))
	}
	return m
}

// forgetQuestions drops what the server of a session has asked and its client has not
// seen: nobody waits for the answers any more.
func (c *Conn) forgetQuestions(calls map[uint64]*Call) {
	if c.mode != ofSession {
		return
	}
	for _, call := range calls {
		call.Drop(func(m mcp.Message) bool { return m.Kind() == mcp.Request })
	}
	c.inbox.Drop(func(m mcp.Message) bool {
		number, _ := Questioner(m.ID())
		return m.Kind() == mcp.Request && number == c.number
	})
}

// Inbox holds what relates to no call of an instance of a session.
func (c *Conn) Inbox() *link.Queue { return c.inbox }
