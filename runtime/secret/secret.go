// Package secret holds values that must not be printed, logged or marshalled.
//
// Runs in: daemon, CLI.
package secret

import (
	"fmt"
	"io"
	"log/slog"
)

const hidden = "[hidden]"

// Value is a secret text. Every way of printing or marshalling it gives a
// placeholder; only Reveal gives the text. The zero Value is empty. Values are
// compared by reflect.DeepEqual, not by ==.
type Value struct {
	// A pointer, because fmt looks into unexported fields of other structs
	// without asking Format; of a pointer it shows the address.
	text *string
}

// New returns a Value that holds text.
func New(text string) Value {
	if text == "" {
		return Value{}
	}
	return Value{&text}
}

// Reveal returns the text, for the one place that hands it on.
func (v Value) Reveal() string {
	if v.text == nil {
		return ""
	}
	return *v.text
}

// Empty reports whether there is no text.
func (v Value) Empty() bool { return v.text == nil }

// String hides the text.
func (v Value) String() string { return hidden }

// Format hides the text from every verb of fmt.
func (v Value) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, hidden) }

// LogValue hides the text from log/slog.
func (v Value) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides the text from every encoder.
func (v Value) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// UnmarshalText takes a text as it is, out of a file for example.
func (v *Value) UnmarshalText(text []byte) error {
	*v = New(string(text))
	return nil
}
