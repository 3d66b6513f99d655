package mcp

import (
	"bytes"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Kind is what a message is.
type Kind uint8

// The kinds of a message. A Message that Parse did not make is of kind Invalid.
const (
	Invalid Kind = iota
	Request
	Notification
	Response
)

// Message is one JSON-RPC message. Its bytes are those that came, except that
// line breaks between tokens are spaces, so that it fits on one line. It is
// immutable, and its methods return parts of it that must not be changed.
type Message struct {
	kind   Kind
	method string
	raw    []byte
	id     Span
	params Span
	result Span
	err    Span

	notes     []note  // where members are; nil: they are looked for
	lookalike *string // of the members beside these, nil without; see Lookalike

	hold func(long []byte) // see HeldBy
}

// InvalidError says why bytes are not a message, as JSON-RPC wants it answered.
type InvalidError struct {
	Code   int    // CodeParse or CodeInvalidRequest
	ID     []byte // raw, if it could be read
	Reason string // may quote the message, and is bounded
}

func (e *InvalidError) Error() string { return e.Reason }

// maxReason bounds the text of an InvalidError, which can hold member names.
const maxReason = 200

// Parse reads one message and takes over data. What is refused with an
// *InvalidError: anything that is not exactly one JSON object in UTF-8 nested at
// most 10,000 deep, duplicate names at any depth, batches, and objects that are
// no JSON-RPC 2.0 request, notification or response. Names are case-sensitive.
func Parse(data []byte) (Message, error) {
	data = bytes.Trim(data, " \t\r\n")
	if len(data) > 0 && data[0] == '[' {
		return Message{}, &InvalidError{Code: CodeInvalidRequest, Reason: "batches are not supported: send one message at a time"}
	}
	if !utf8.Valid(data) {
		return Message{}, &InvalidError{Code: CodeParse, Reason: "parse message: it is not UTF-8"}
	}
	s := newScanner(data)
	defer s.free()
	if !s.whole(inEnvelope) {
		return Message{}, &InvalidError{Code: CodeParse, Reason: refusal("message", data)}
	}
	// Only now: in a string, where it is not allowed, a line break was refused.
	flatten(data)
	m := Message{raw: data, id: s.found.id, params: s.found.params, result: s.found.result, err: s.found.err, lookalike: s.found.lookalike}
	if reason := m.classify(s.found); reason != "" {
		return Message{}, &InvalidError{Code: CodeInvalidRequest, ID: m.ID(), Reason: reason}
	}
	m.notes = s.noted()
	return m, nil
}

// methodAt is the method at a span; "" if it is no string.
func (m *Message) methodAt(at Span) string {
	quoted := m.At(at)
	if kindAt(quoted) != '"' {
		return ""
	}
	if known, ok := methods[string(quoted[1:len(quoted)-1])]; ok {
		return known
	}
	return string(unquote(quoted))
}

// classify decides the kind, or says why there is none.
func (m *Message) classify(found envelope) (reason string) {
	if !validID(m.ID(), m.Err()) {
		m.id = Span{}
		return "the id is neither a string nor a number"
	}
	if string(m.At(found.version)) != `"2.0"` {
		return `jsonrpc is not "2.0"`
	}
	if found.method.Empty() {
		return m.classifyResponse()
	}
	m.method = m.methodAt(found.method)
	params := kindAt(m.Params())
	switch {
	case m.method == "":
		return "the method is not a string, or empty"
	case !m.result.Empty() || !m.err.Empty():
		return "a message with a method has no result and no error"
	case params != 0 && params != '{' && params != 'n':
		return "params is not an object"
	case m.id.Empty():
		m.kind = Notification
	default:
		m.kind = Request
	}
	return ""
}

func (m *Message) classifyResponse() (reason string) {
	// Some libraries write the one that there is not as null (JSON-RPC 1.0).
	if !m.result.Empty() && !m.err.Empty() {
		if kindAt(m.Err()) == 'n' {
			m.err = Span{}
		} else if kindAt(m.Result()) == 'n' {
			m.result = Span{}
		}
	}
	switch {
	case m.result.Empty() && m.err.Empty():
		return "neither a method nor a response"
	case !m.result.Empty() && !m.err.Empty():
		return "a response has either a result or an error"
	case m.id.Empty() && m.err.Empty():
		return "a response without an id"
	}
	m.kind = Response
	return ""
}

// validID accepts no id, a string, a number, and null in an error that answers
// something unreadable (JSON-RPC 2.0, section 5).
func validID(id, problem []byte) bool {
	switch kindAt(id) {
	case 0, '"', '0':
		return true
	case 'n':
		return problem != nil
	}
	return false
}

// Kind says what the message is.
func (m Message) Kind() Kind { return m.kind }

// Method is the method of a request or notification.
func (m Message) Method() string { return m.method }

// Raw is the whole message.
func (m Message) Raw() []byte { return m.raw }

// ID is the raw id; nil if there is none.
func (m Message) ID() []byte { return m.At(m.id) }

// Params is the raw params; nil if there are none.
func (m Message) Params() []byte { return m.At(m.params) }

// Result is the raw result of a response; nil if there is none.
func (m Message) Result() []byte { return m.At(m.result) }

// Err is the raw error of a response; nil if there is none.
func (m Message) Err() []byte { return m.At(m.err) }

// Noted returns the message with the places of its members noted, as Parse notes them: of one that
// was made of another they are not, and are looked for each time that one is asked for.
func (m Message) Noted() Message {
	s := newScanner(m.raw)
	defer s.free()
	if s.whole(inEnvelope) {
		m.notes = s.noted()
	}
	return m
}

// HeldBy has hold be told of the memory of each message that is made of this one and takes
// more than a long line does. It is not told of this one's.
func (m Message) HeldBy(hold func(long []byte)) Message {
	m.hold = hold
	return m
}

// AppendWithID appends the message with another id to dst. The message must have
// an id.
func (m Message) AppendWithID(dst, id []byte) []byte {
	dst = append(dst, m.raw[:m.id.Start]...)
	dst = append(dst, id...)
	return append(dst, m.raw[m.id.End:]...)
}

// kindAt tells by its first byte what a value is, of which that is the kind but for
// numbers, which are '0'; 0 if there is none.
func kindAt(value []byte) byte {
	at := blank(value, 0)
	switch {
	case at == len(value):
		return 0
	case value[at] == '-' || digit(value[at]):
		return '0'
	}
	return value[at]
}

// flatten turns the line breaks of valid JSON, which are white space, into
// spaces: a message is one line to a server and one data field of an event.
func flatten(data []byte) {
	for _, c := range []byte{'\n', '\r'} {
		for rest := data; ; {
			i := bytes.IndexByte(rest, c)
			if i < 0 {
				break
			}
			rest[i] = ' '
			rest = rest[i+1:]
		}
	}
}

// unquote returns the text of a valid JSON string.
func unquote(quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	// Its only error is half of a surrogate pair, for which it puts U+FFFD.
	text, _ := jsontext.AppendUnquote(nil, quoted)
	return text
}
