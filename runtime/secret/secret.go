// Package secret holds values that must not be printed, logged or marshalled.
//
// Runs in: daemon, CLI.
package secret

import "log/slog"

const hidden = "[hidden]"

// Value is a secret text. Every way of printing or marshalling it gives a
// placeholder; only Reveal gives the text.
type Value struct{ text string }

// New returns a Value that holds text.
func New(text string) Value { return Value{text} }

// Reveal returns the text, for the one place that hands it on.
func (v Value) Reveal() string { return v.text }

// Empty reports whether there is no text.
func (v Value) Empty() bool { return v.text == "" }

// String hides the text from fmt.
func (v Value) String() string { return hidden }

// GoString hides the text from %#v.
func (v Value) GoString() string { return hidden }

// LogValue hides the text from log/slog.
func (v Value) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides the text from every encoder.
func (v Value) MarshalText() ([]byte, error) { return []byte(hidden), nil }
