package mcp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// IsBatch reports whether data is to be read by ParseBatch.
func IsBatch(data []byte) bool {
	data = bytes.TrimLeft(data, " \t\r\n")
	return len(data) > 0 && data[0] == '['
}

// ParseBatch reads the messages of a batch (JSON-RPC 2.0, section 6), of which
// there may be so many, as Parse does. It takes over data. One message that is
// none makes all of them an *InvalidError.
func ParseBatch(data []byte, most int) ([]Message, error) {
	if !utf8.Valid(data) {
		return nil, &InvalidError{Code: CodeParse, Reason: "parse batch: it is not UTF-8"}
	}
	d := jsontext.NewDecoder(bytes.NewBuffer(data), jsontext.AllowInvalidUTF8(true))
	var messages []Message
	_, err := d.ReadToken()
	for err == nil && d.PeekKind() != ']' {
		var value jsontext.Value
		if value, err = d.ReadValue(); err != nil {
			break
		}
		if len(messages) == most {
			return nil, &InvalidError{Code: CodeInvalidRequest, Reason: fmt.Sprintf("the batch has more than %d messages", most)}
		}
		m, invalid := Parse(bytes.Clone(value))
		if invalid != nil {
			return nil, invalid
		}
		messages = append(messages, m)
	}
	if err == nil {
		err = ended(d)
	}
	switch {
	case err != nil:
		reason := fmt.Sprintf("parse batch: %v", err)
		return nil, &InvalidError{Code: CodeParse, Reason: reason[:min(len(reason), maxReason)]}
	case len(messages) == 0:
		return nil, &InvalidError{Code: CodeInvalidRequest, Reason: "the batch is empty"}
	}
	return messages, nil
}

// ended reads the end of the batch, behind which nothing may be.
func ended(d *jsontext.Decoder) error {
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return errors.New("text after the batch")
	}
	return nil
}
