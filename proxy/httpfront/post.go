package httpfront

import (
	"errors"
	"net/http"

	"mcpgateway/proxy/headers"
	"mcpgateway/proxy/mcp"
)

// post serves what a client sends: one message, or a batch of them.
func (x *exchange) post() {
	refused := x.typed()
	var body []byte
	if refused == nil {
		body, refused = x.body()
	}
	if refused != nil {
		x.out.refuse(*refused)
		return
	}
	switch {
	case x.at.endpoint == ssePoint:
		x.receive(body)
	case mcp.IsBatch(body):
		x.batch(body)
	default:
		x.single(body)
	}
}

// single serves one message, by the rules of its era.
func (x *exchange) single(body []byte) {
	m, refused := parse(body)
	if refused != nil {
		x.out.refuse(*refused)
		return
	}
	stateless, problem := headers.Era(x.r.Header, m)
	switch {
	case problem != nil:
		x.out.refuse(*malformed(problem, idOf(m)))
	case stateless:
		x.stateless(m)
	default:
		x.inSession(m)
	}
}

// idOf is the id that an error must carry: that of a request.
func idOf(m mcp.Message) []byte {
	if m.Kind() != mcp.Request {
		return nil
	}
	return m.ID()
}

func parse(body []byte) (mcp.Message, *refusal) {
	m, err := mcp.Parse(body)
	if invalid, ok := errors.AsType[*mcp.InvalidError](err); ok {
		return mcp.Message{}, &refusal{status: http.StatusBadRequest, code: invalid.Code, id: invalid.ID, text: invalid.Reason}
	}
	return m, nil
}
