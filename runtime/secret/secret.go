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
	// A pointer to a pointer, because fmt looks into unexported fields of other
	// structs without asking Format; of this it shows the address.
	content **content
}

type content struct {
	text    string
	fetched []string
	later   bool // the text is not known yet
}

// New returns a Value that holds text.
func New(text string) Value {
	if text == "" {
		return Value{}
	}
	c := &content{text: text}
	return Value{&c}
}

// Later makes v a Value whose text is not known yet. Set, called once before
// anybody else has it, gives the text to v and to its copies; fetched are the parts
// of it that were written elsewhere than in the configuration.
func (v *Value) Later() (set func(text string, fetched []string)) {
	c := &content{later: true}
	v.content = &c
	return func(text string, fetched []string) { *c = content{text: text, fetched: fetched} }
}

// Reveal returns the text, for the one place that hands it on.
func (v Value) Reveal() string {
	if v.content == nil {
		return ""
	}
	return (*v.content).text
}

// Fetched returns the parts of the text that come from variables, files, credentials
// or helpers. They are as secret as the whole.
func (v Value) Fetched() []string {
	if v.content == nil {
		return nil
	}
	return (*v.content).fetched
}

// Empty reports whether there is no text. One that is not known yet is not empty.
func (v Value) Empty() bool { return v.content == nil || (*v.content).text == "" && v.Known() }

// Known reports whether Reveal gives the text. Whoever only looks at a configuration
// does not fetch secrets, and can't judge them.
func (v Value) Known() bool { return v.content == nil || !(*v.content).later }

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
