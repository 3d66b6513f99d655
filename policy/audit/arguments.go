package audit

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// maxArguments is how many bytes of arguments a record holds; more are left out.
const maxArguments = 16 << 10

// redacted stands for what is never written.
const redacted = "[redacted]"

// appendArguments appends the digest of the arguments, and where the configuration
// says so the arguments themselves.
func (s *settings) appendArguments(dst []byte, r *Record) []byte {
	if len(r.Arguments) == 0 {
		return dst
	}
	dst = append(dst, `,"arguments_digest":"`...)
	dst = s.appendDigest(dst, r.Arguments)
	dst = append(dst, '"')
	if !s.KeepsArguments(r.Server, r.Name) {
		return dst
	}
	kept, err := redact(r.Arguments, s.Redact)
	if err != nil {
		dst = append(dst, `,"arguments_omitted":`...)
		return appendText(dst, err.Error(), maxText)
	}
	return appendPrintable(append(dst, `,"arguments":`...), kept)
}

// redact returns a JSON value in one line, without the values of members that are
// called one of names, at any depth, in upper or lower case.
func redact(value []byte, names []string) ([]byte, error) {
	if len(value) > maxArguments {
		return nil, errors.New("too long")
	}
	out := new(bytes.Buffer)
	in := jsontext.NewDecoder(bytes.NewReader(value))
	encoder := jsontext.NewEncoder(out, jsontext.EscapeForJS(true))
	for {
		token, err := in.ReadToken()
		if errors.Is(err, io.EOF) && bytes.IndexByte(out.Bytes(), '\n') == out.Len()-1 { // one value
			return out.Bytes()[:out.Len()-1], nil
		}
		if err != nil {
			return nil, errors.New("not JSON")
		}
		name := token.Kind() == '"' && isName(in) && slices.Contains(names, strings.ToLower(token.String()))
		if err := encoder.WriteToken(token); err != nil {
			return nil, errors.New("not JSON")
		}
		if !name {
			continue
		}
		if err := in.SkipValue(); err != nil {
			return nil, errors.New("not JSON")
		}
		if err := encoder.WriteToken(jsontext.String(redacted)); err != nil {
			return nil, err
		}
	}
}

// isName reports whether what was read last is the name of a member.
func isName(in *jsontext.Decoder) bool {
	kind, length := in.StackIndex(in.StackDepth())
	return kind == '{' && length%2 == 1
}
