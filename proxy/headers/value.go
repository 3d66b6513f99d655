package headers

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// decode undoes the transport's encoding of values that no header can hold:
// =?base64?…?=.
func decode(value string) (string, bool) {
	inner, begins := strings.CutPrefix(value, "=?base64?")
	inner, ends := strings.CutSuffix(inner, "?=")
	if !begins || !ends {
		return value, isPlain(value)
	}
	if strings.ContainsAny(inner, "\r\n") { // which the decoder skips
		return "", false
	}
	text, err := base64.StdEncoding.Strict().DecodeString(inner)
	return string(text), err == nil
}

// isPlain reports whether a value has only what a header's value may have (RFC
// 9110, section 5.5): visible ASCII, spaces, tabs.
func isPlain(value string) bool {
	return strings.IndexFunc(value, func(c rune) bool { return c != '\t' && (c < ' ' || c > '~') }) < 0
}

// maxInteger bounds the integers that a header may repeat: doubles hold all of
// them exactly.
const maxInteger = 1<<53 - 1

// sameNumber compares what a header and a body say as numbers: 42.0 is 42.
func sameNumber(inHeader string, inBody []byte) bool {
	if inHeader == string(inBody) {
		return true
	}
	a, ok := integer(inHeader)
	b, also := integer(string(inBody))
	return ok && also && a == b
}

// integer reads a JSON number that is a whole one, however it is written.
func integer(text string) (float64, bool) {
	if value := jsontext.Value(text); value.Kind() != '0' || !value.IsValid() {
		return 0, false
	}
	n, err := strconv.ParseFloat(text, 64)
	return n, err == nil && n >= -maxInteger && n <= maxInteger && n == float64(int64(n))
}
