package mcp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Kind is what a message is.
type Kind int

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

	lookalike string // of the members beside these; see Lookalike
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
	m := Message{raw: data}
	// With this option an escaped half of a surrogate pair passes, as RFC 8259
	// (section 8.2) lets it: programs that cut a text in the middle of one write it.
	found, err := m.scan(jsontext.NewDecoder(bytes.NewBuffer(data), jsontext.AllowInvalidUTF8(true)))
	if err != nil {
		reason := fmt.Sprintf("parse message: %v", err)
		return Message{}, &InvalidError{Code: CodeParse, Reason: reason[:min(len(reason), maxReason)]}
	}
	// Only now: in a string, where it is not allowed, a line break was refused.
	flatten(data)
	if reason := m.classify(found); reason != "" {
		return Message{}, &InvalidError{Code: CodeInvalidRequest, ID: m.ID(), Reason: reason}
	}
	return m, nil
}

// envelope is where the parts of a message are that only Parse looks at.
type envelope struct{ version, method Span }

// scan walks the message once and notes where its members are.
func (m *Message) scan(d *jsontext.Decoder) (envelope, error) {
	var found envelope
	if d.PeekKind() != '{' {
		if _, err := d.ReadValue(); err != nil {
			return found, err
		}
		return found, errors.New("not an object")
	}
	if _, err := d.ReadToken(); err != nil {
		return found, err
	}
	for d.PeekKind() != '}' {
		name, err := d.ReadValue()
		if err != nil {
			return found, err
		}
		place := m.place(unquote(name), &found)
		value, err := d.ReadValue()
		if err != nil {
			return found, err
		}
		end := int(d.InputOffset())
		*place = Span{end - len(value), end}
	}
	if _, err := d.ReadToken(); err != nil {
		return found, err
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return found, errors.New("text after the message")
	}
	return found, nil
}

// place is where the span of a member is kept.
func (m *Message) place(name []byte, found *envelope) *Span {
	switch string(name) {
	case "jsonrpc":
		return &found.version
	case "method":
		return &found.method
	case "id":
		return &m.id
	case "params":
		return &m.params
	case "result":
		return &m.result
	case "error":
		return &m.err
	}
	if like(string(name), "jsonrpc", "method", "id", "params", "result", "error") {
		m.lookalike = string(name)
	}
	return new(Span)
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
	m.method, _ = m.Text(found.method)
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

// AppendWithID appends the message with another id to dst. The message must have
// an id.
func (m Message) AppendWithID(dst, id []byte) []byte {
	dst = append(dst, m.raw[:m.id.Start]...)
	dst = append(dst, id...)
	return append(dst, m.raw[m.id.End:]...)
}

func kindAt(value []byte) jsontext.Kind {
	if len(value) == 0 {
		return 0
	}
	return jsontext.Value(value).Kind()
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
