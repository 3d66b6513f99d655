package mcp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
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
	d := jsontext.NewDecoder(bytes.NewBuffer(data), jsontext.AllowInvalidUTF8(true)) // as in Parse
	value, err := d.ReadValue()
	if err == nil && value.Kind() != '{' {
		err = errors.New("not an object")
	}
	if err == nil {
		if _, err = d.ReadToken(); errors.Is(err, io.EOF) {
			flatten(data)
			return data, nil
		}
		err = errors.New("text after the object")
	}
	reason := fmt.Sprintf("parse object: %v", err)
	return nil, errors.New(reason[:min(len(reason), maxReason)])
}
