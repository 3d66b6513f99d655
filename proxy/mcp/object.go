package mcp

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// ParseObject reads one JSON object that is to become part of a message, as
// strictly as Parse reads a message. It takes over data and returns the object,
// which fits on one line.
func ParseObject(data []byte) ([]byte, error) {
	data = bytes.Trim(data, " \t\r\n")
	if !utf8.Valid(data) {
		return nil, errors.New("it is not UTF-8")
	}
	s := newScanner(data)
	defer s.free()
	if !s.whole(nowhere) {
		return nil, errors.New(refusal("object", data))
	}
	flatten(data)
	return data, nil
}

// refusal says why UTF-8 is not one object, and nothing else: what it is to be, and where
// it is something else. The text may quote it, and is bounded.
func refusal(what string, data []byte) string {
	// With this option an escaped half of a surrogate pair passes, as RFC 8259
	// (section 8.2) lets it: programs that cut a text in the middle of one write it.
	d := jsontext.NewDecoder(bytes.NewBuffer(data), jsontext.AllowInvalidUTF8(true))
	value, err := d.ReadValue()
	switch {
	case err != nil:
	case value.Kind() != '{':
		err = errors.New("not an object")
	default:
		err = fmt.Errorf("text after the %s, at offset %d", what, d.InputOffset())
	}
	reason := fmt.Sprintf("parse %s: %v", what, err)
	return reason[:min(len(reason), maxReason)]
}
