package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

func (r *report) readTOML(document []byte) *node {
	text := strings.TrimPrefix(string(document), "\ufeff")
	l := newLocator(text)
	l.document()
	// Checked first: the TOML library needs quadratic time for very long keys.
	if l.tooDeep {
		r.syntax(l.at, "too deeply nested, or a key is longer than 256 bytes")
		return nil
	}
	var root map[string]any
	if _, err := toml.Decode(text, &root); err != nil {
		at, text := position{}, err.Error()
		var parse toml.ParseError
		if errors.As(err, &parse) {
			at, text = position{parse.Position.Line, parse.Position.Col}, parse.Message
		}
		r.syntax(at, "not valid TOML: "+text)
		return nil
	}
	return l.convert("", root)
}

// locator finds where the keys and values of a TOML document are, because the
// TOML library does not say. It takes the document to be valid: in another one
// it stops early or finds the wrong places, no more.
type locator struct {
	text    string // what is still to be read
	at      position
	tooDeep bool
	keys    map[path]position
	values  map[path]position
	tables  map[path]int // length of each array of tables
}

func newLocator(text string) *locator {
	return &locator{
		text: text, at: position{1, 1},
		keys: make(map[path]position), values: make(map[path]position), tables: make(map[path]int),
	}
}

func (l *locator) document() {
	var table path
	for l.blank(); l.text != "" && !l.tooDeep; l.blank() {
		before := len(l.text)
		if l.take("[") {
			table = l.header()
		} else {
			l.pair(table)
		}
		if len(l.text) == before {
			return
		}
	}
}

// header reads what follows the first "[" of "[a.b]" or "[[a.b]]".
func (l *locator) header() path {
	array := l.take("[")
	p := l.key("", func(p path) path {
		if n := l.tables[p]; n > 0 {
			return p.index(n - 1)
		}
		return p
	})
	if array {
		l.tables[p]++
		at := l.keys[p]
		p = p.index(l.tables[p] - 1)
		l.keys[p] = at
	}
	l.blank()
	_ = l.take("]") && array && l.take("]")
	return p
}

// pair reads "a.b = value" in the table p.
func (l *locator) pair(p path) {
	p = l.key(p, func(p path) path { return p })
	l.blank()
	if l.take("=") {
		l.blank()
		l.value(p)
	}
}

// key reads a dotted key below p. Each part but the last goes through enter,
// which steps into the newest element of an array of tables.
func (l *locator) key(p path, enter func(path) path) path {
	for {
		l.blank()
		at, start := l.at, l.text
		if !l.quoted() {
			l.skip(len(l.text) - len(strings.TrimLeft(l.text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")))
		}
		name := start[:len(start)-len(l.text)]
		if len(name) > maxKey || p.depth() >= maxDepth {
			l.tooDeep = true
			return p
		}
		p = p.key(unquoteTOML(name))
		if _, known := l.keys[p]; !known {
			l.keys[p] = at
		}
		if l.blank(); !l.take(".") {
			return p
		}
		p = enter(p)
	}
}

func unquoteTOML(key string) string {
	switch {
	case strings.HasPrefix(key, "'"):
		return strings.Trim(key, "'")
	case strings.HasPrefix(key, `"`):
		if text, err := strconv.Unquote(key); err == nil {
			return text
		}
	}
	return key
}

func (l *locator) value(p path) {
	l.values[p] = l.at
	switch {
	case p.depth() >= maxDepth:
		l.tooDeep = true
	case l.take("["):
		l.elements("]", func(i int) { l.value(p.index(i)) })
	case l.take("{"):
		l.elements("}", func(int) { l.pair(p) })
	case !l.quoted():
		end := strings.IndexAny(l.text, ",]}#\n")
		if end < 0 {
			end = len(l.text)
		}
		l.skip(end)
	}
}

// elements reads what is between brackets, and gives up where an element does
// not begin.
func (l *locator) elements(closing string, read func(i int)) {
	for i := 0; ; i++ {
		before := len(l.text)
		l.blank()
		l.take(",")
		l.blank()
		if l.text == "" || l.tooDeep || l.take(closing) {
			return
		}
		if read(i); len(l.text) == before {
			l.text = ""
		}
	}
}

// quoted reads one text in quotes of any of the four forms, if one is next.
func (l *locator) quoted() bool {
	if l.text == "" || l.text[0] != '"' && l.text[0] != '\'' {
		return false
	}
	quote, escapes := l.text[:1], l.text[0] == '"'
	if long := strings.Repeat(quote, 3); strings.HasPrefix(l.text, long) {
		quote = long
	}
	end := len(quote)
	for end < len(l.text) && !strings.HasPrefix(l.text[end:], quote) {
		if escapes && l.text[end] == '\\' {
			end++
		}
		end++
	}
	end += len(quote)
	// A long text may end with two quotes of its own.
	for range 2 {
		if len(quote) == 3 && end < len(l.text) && l.text[end] == quote[0] {
			end++
		}
	}
	l.skip(min(end, len(l.text)))
	return true
}

// blank skips white space, line ends and comments.
func (l *locator) blank() {
	for {
		l.skip(len(l.text) - len(strings.TrimLeft(l.text, " \t\r\n")))
		if !strings.HasPrefix(l.text, "#") {
			return
		}
		end := strings.IndexByte(l.text, '\n')
		if end < 0 {
			end = len(l.text)
		}
		l.skip(end)
	}
}

func (l *locator) take(token string) bool {
	if !strings.HasPrefix(l.text, token) {
		return false
	}
	l.skip(len(token))
	return true
}

func (l *locator) skip(n int) {
	passed := l.text[:n]
	l.text = l.text[n:]
	l.at.line += strings.Count(passed, "\n")
	if last := strings.LastIndexByte(passed, '\n'); last >= 0 {
		passed, l.at.column = passed[last+1:], 1
	}
	l.at.column += utf8.RuneCountInString(passed)
}

// convert turns a value that the TOML library decoded into a node.
func (l *locator) convert(p path, value any) *node {
	out := &node{at: l.values[p]}
	switch v := value.(type) {
	case map[string]any:
		out.kind = kindMapping
		for name, value := range v {
			child := p.key(name)
			out.fields = append(out.fields, newField(name, l.keys[child], l.convert(child, value)))
		}
		slices.SortFunc(out.fields, func(a, b field) int { return strings.Compare(a.name, b.name) })
	case []map[string]any:
		out.kind = kindList
		for i, item := range v {
			child := l.convert(p.index(i), item)
			if at, ok := l.keys[p.index(i)]; ok {
				child.at = at
			}
			out.items = append(out.items, child)
		}
	case []any:
		out.kind = kindList
		for i, item := range v {
			out.items = append(out.items, l.convert(p.index(i), item))
		}
	case bool:
		out.kind, out.text = kindBool, strconv.FormatBool(v)
	case int64:
		out.kind, out.text = kindInt, strconv.FormatInt(v, 10)
	case float64:
		out.kind, out.text = kindFloat, strconv.FormatFloat(v, 'g', -1, 64)
		if !strings.ContainsAny(out.text, ".eN") {
			out.text += ".0" // as it was written, for an error to quote
		}
	case time.Time:
		out.kind, out.text = kindDate, v.String()
	default:
		// TOML has no text without quotes, so variables in any text are free.
		out.kind, out.text, out.plain = kindText, fmt.Sprint(v), true
	}
	return out
}
