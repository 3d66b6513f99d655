// Package logs is how both processes log: as text or JSON on standard error, or with
// fields in systemd's journal; from a level on and in a format that may change while
// they run. Every line says which process wrote it and, if its context does, which
// request it is about. Whatever is logged is cut and made printable here, since much of
// it is what clients and servers wrote.
//
// Runs in: daemon, proxy.
package logs

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode"

	"mcpgateway/policy"
	"mcpgateway/runtime/control"
)

// maxValue is the longest value of a line in bytes.
const maxValue = 16 << 10

// Handler is a slog.Handler. Those that With makes of it follow what Apply says, too.
type Handler struct {
	*shared
	text, json slog.Handler
}

// shared is what a handler and all that were made of it have in common.
type shared struct {
	component string
	level     slog.LevelVar
	asJSON    atomic.Bool
}

// New returns the handler of a process, "daemon" or "proxy". If standard error is the
// journal's (JOURNAL_STREAM, systemd.exec(5)), lines go there under a name, with fields;
// else to standard error, until Apply says otherwise as text. They begin at info.
func New(component, name string) *Handler {
	if j := openJournal(name, os.Stderr); j != nil {
		h := newHandler(component, j)
		h.text = h.json
		return h
	}
	return newHandler(component, os.Stderr)
}

// newHandler writes each line with one Write.
func newHandler(component string, w io.Writer) *Handler {
	return &Handler{
		shared: &shared{component: component},
		text:   slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: printable}),
		json:   slog.NewJSONHandler(w, &slog.HandlerOptions{ReplaceAttr: plain}),
	}
}

// Apply has lines be as a configuration says from now on. In the journal they have one
// format.
func (h *Handler) Apply(settings policy.Logging) {
	var level slog.Level
	if level.UnmarshalText([]byte(settings.Level)) == nil {
		h.level.Set(level)
	}
	h.asJSON.Store(settings.Format == "json")
}

// Enabled reports whether lines of a level are written.
func (h *Handler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level.Level() }

// Handle writes a line.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	r = r.Clone()
	r.AddAttrs(slog.String("component", h.component))
	if id := control.Correlation(ctx); id != "" {
		r.AddAttrs(slog.String("correlation", id))
	}
	if h.asJSON.Load() {
		return h.json.Handle(ctx, r)
	}
	return h.text.Handle(ctx, r)
}

// WithAttrs returns a handler whose lines have attributes.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Handler{h.shared, h.text.WithAttrs(attrs), h.json.WithAttrs(attrs)}
}

// WithGroup returns a handler whose lines have their attributes in a group.
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{h.shared, h.text.WithGroup(name), h.json.WithGroup(name)}
}

// plain is printable for programs: what is no number and no boolean is a text, and
// times are seconds.
func plain(groups []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		return slog.Float64(a.Key, a.Value.Duration().Seconds())
	}
	return printable(groups, a)
}

// printable cuts texts, and quotes those with characters that terminals act on, or that
// nobody sees. The ends of lines and tabs may stay: every format has its own way to keep
// them in a value.
func printable(_ []string, a slog.Attr) slog.Attr {
	var text string
	switch a.Value.Kind() {
	case slog.KindString:
		text = a.Value.String()
	case slog.KindAny:
		text = fmt.Sprint(a.Value.Any())
	default:
		return a
	}
	if len(text) > maxValue {
		text = text[:maxValue] + "…"
	}
	if strings.ContainsFunc(text, hidden) {
		quoted := strconv.Quote(text)
		text = quoted[1 : len(quoted)-1]
	}
	return slog.String(a.Key, text)
}

func hidden(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }
