package mcp

import (
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// NewError makes an error response. id is the raw id of the request, nil if it
// could not be read; data is raw JSON, nil for none. Invalid UTF-8 in message is
// replaced.
func NewError(id []byte, code int, message string, data []byte) Message {
	m := Message{kind: Response, raw: []byte(`{"jsonrpc":"2.0",`)}
	if id != nil {
		m.raw = append(m.raw, `"id":`...)
		m.id = m.add(id)
		m.raw = append(m.raw, ',')
	}
	body := append([]byte(`{"code":`), strconv.Itoa(code)...)
	body = append(body, `,"message":`...)
	body = append(body, Quote(message)...)
	if data != nil {
		body = append(append(body, `,"data":`...), data...)
	}
	m.raw = append(m.raw, `"error":`...)
	m.err = m.add(append(body, '}'))
	m.raw = append(m.raw, '}')
	return m
}

// NewUnsupported makes the error for a request of a revision that nobody here
// speaks (2026-07-28, basic/versioning). It lists those that are spoken.
func NewUnsupported(id []byte, requested string) Message {
	data := append([]byte(`{"supported":`), RevisionList()...)
	data = append(append(data, `,"requested":`...), Quote(requested[:min(len(requested), 100)])...)
	return NewError(id, CodeUnsupportedVersion, "unsupported protocol version", append(data, '}'))
}

// RevisionList returns Revisions as a JSON array.
func RevisionList() []byte {
	list := []byte{'['}
	for i, revision := range Revisions() {
		if i > 0 {
			list = append(list, ',')
		}
		list = append(list, Quote(revision)...)
	}
	return append(list, ']')
}

// NewResult makes a result response of a raw id and a raw result.
func NewResult(id, result []byte) Message {
	m := Message{kind: Response, raw: []byte(`{"jsonrpc":"2.0","id":`)}
	m.id = m.add(id)
	m.raw = append(m.raw, `,"result":`...)
	m.result = m.add(result)
	m.raw = append(m.raw, '}')
	return m
}

// NewRequest makes a request, or a notification if id is nil. params is raw, nil
// for none.
func NewRequest(id []byte, method string, params []byte) Message {
	m := Message{kind: Notification, method: method, raw: []byte(`{"jsonrpc":"2.0",`)}
	if id != nil {
		m.kind = Request
		m.raw = append(m.raw, `"id":`...)
		m.id = m.add(id)
		m.raw = append(m.raw, ',')
	}
	m.raw = append(append(m.raw, `"method":`...), Quote(method)...)
	if params != nil {
		m.raw = append(m.raw, `,"params":`...)
		m.params = m.add(params)
	}
	m.raw = append(m.raw, '}')
	return m
}

func (m *Message) add(value []byte) Span {
	start := len(m.raw)
	m.raw = append(m.raw, value...)
	return span(start, len(m.raw))
}

// Quote returns text as a JSON string. Invalid UTF-8 is replaced.
func Quote(text string) []byte {
	// The error reports invalid UTF-8, which is replaced nevertheless.
	quoted, _ := jsontext.AppendQuote(nil, text)
	return quoted
}

// OwnMeta is the _meta of a request of the stateless era that is the gateway's own, raw.
func OwnMeta() []byte {
	return []byte(`{"` + MetaRevision + `":"` + Revision2026July + `","` + MetaCapabilities + `":{}}`)
}
