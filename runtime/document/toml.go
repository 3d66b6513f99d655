package document

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
	"go.yaml.in/yaml/v4"
)

// maxDepth is how deep TOML may nest; no schema needs more than six levels.
const maxDepth = 16

// readTOML returns the document as the same tree that YAML gives.
func (r *Report) readTOML(document []byte) *yaml.Node {
	text := strings.TrimPrefix(string(document), "\ufeff")
	l := locate(text)
	// Checked first: the TOML library needs quadratic time for very long keys.
	if l.tooDeep {
		r.syntax(l.at(), "nested too deeply, or a key is longer than 256 bytes")
		return nil
	}
	var root map[string]any
	_, err := toml.Decode(text, &root)
	var parse toml.ParseError
	switch {
	case err == nil:
		return l.tree("", root)
	case errors.As(err, &parse):
		r.syntax(Position{parse.Position.Line, parse.Position.Col}, "not valid TOML: "+parse.Message)
	default:
		r.syntax(Position{}, "not valid TOML: "+err.Error())
	}
	return nil
}

// locator finds where the keys and values of a TOML document are, because the
// TOML library does not say. It takes the document to be valid: in another one
// it stops early or finds wrong places, no more.
type locator struct {
	tokens       []token
	tooDeep      bool
	keys, values map[Path]Position
	tables       map[Path]int // length of each array of tables
}

type token struct {
	text string
	at   Position
}

// tokenPattern knows white space and comments, the four forms of text, bare
// words, and single signs. A long text may end with two quotes of its own.
var tokenPattern = regexp.MustCompile(`\s+|#[^\n]*|(?s:"""(?:\\.|[^\\])*?"{3,5}|'''.*?'{3,5})|"(?:\\.|[^"\\])*"|'[^']*'|[\w-]+|(?s:.)`)

func locate(text string) *locator {
	l := &locator{keys: map[Path]Position{}, values: map[Path]Position{}, tables: map[Path]int{}}
	at := Position{1, 1}
	for _, word := range tokenPattern.FindAllString(text, -1) {
		if !strings.HasPrefix(word, "#") && strings.TrimSpace(word) != "" {
			l.tokens = append(l.tokens, token{word, at})
		}
		if last := strings.LastIndexByte(word, '\n'); last >= 0 {
			at.Line, at.Column = at.Line+strings.Count(word, "\n"), 1
			word = word[last+1:]
		}
		at.Column += utf8.RuneCountInString(word)
	}
	for table := Path(""); len(l.tokens) > 0 && !l.tooDeep; {
		if l.take("[") {
			table = l.header()
		} else if before := len(l.tokens); !l.pair(table) && len(l.tokens) == before {
			break
		}
	}
	return l
}

// at is where the next token is.
func (l *locator) at() Position {
	if len(l.tokens) == 0 {
		return Position{}
	}
	return l.tokens[0].at
}

func (l *locator) take(text string) bool {
	if len(l.tokens) == 0 || l.tokens[0].text != text {
		return false
	}
	l.tokens = l.tokens[1:]
	return true
}

// header reads what follows the first "[" of "[a.b]" or "[[a.b]]".
func (l *locator) header() Path {
	array, at := l.take("["), l.at()
	p := l.key("")
	if array {
		l.tables[p]++
		p = p.Index(l.tables[p] - 1)
		l.keys[p] = at
	}
	_ = l.take("]") && array && l.take("]")
	return p
}

// pair reads "a.b = value" in the table p.
func (l *locator) pair(p Path) bool {
	p = l.key(p)
	if !l.take("=") {
		return false
	}
	l.value(p)
	return true
}

// key reads a dotted key below p. It steps into the newest element of an array
// of tables that is not the key's end.
func (l *locator) key(p Path) Path {
	for len(l.tokens) > 0 {
		t := l.tokens[0]
		l.tokens = l.tokens[1:]
		if len(t.text) > maxKey || p.depth() >= maxDepth {
			l.tooDeep = true
			return p
		}
		name := strings.Trim(t.text, "'")
		if unquoted, err := strconv.Unquote(t.text); err == nil && t.text[0] == '"' {
			name = unquoted
		}
		p = p.Key(name)
		if _, known := l.keys[p]; !known {
			l.keys[p] = t.at
		}
		if !l.take(".") {
			break
		}
		if n := l.tables[p]; n > 0 {
			p = p.Index(n - 1)
		}
	}
	return p
}

func (l *locator) value(p Path) {
	start := l.at()
	l.values[p] = start
	switch {
	case p.depth() >= maxDepth:
		l.tooDeep = true
	case l.take("["):
		for i := 0; !l.ends("]"); i++ {
			l.value(p.Index(i))
		}
	case l.take("{"):
		for !l.ends("}") && l.pair(p) {
		}
	default:
		for len(l.tokens) > 0 && l.at().Line == start.Line && !strings.Contains(",]}", l.tokens[0].text) {
			l.tokens = l.tokens[1:]
		}
	}
}

// ends reports whether a list or an inline table has no further element.
func (l *locator) ends(closing string) bool {
	l.take(",")
	if len(l.tokens) == 0 || l.tooDeep || l.take(closing) {
		return true
	}
	if strings.Contains(",]}", l.tokens[0].text) {
		l.tokens = nil // no element begins like this: it is not TOML
	}
	return len(l.tokens) == 0
}

// tree gives a value that the TOML library decoded its place.
func (l *locator) tree(p Path, value any) *yaml.Node {
	scalar := func(tag, text string) *yaml.Node { return newNode(yaml.ScalarNode, tag, text, l.values[p]) }
	switch v := value.(type) {
	case map[string]any:
		out := newNode(yaml.MappingNode, "!!map", "", cmp.Or(l.keys[p], l.values[p]))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			child := p.Key(name)
			out.Content = append(out.Content, newNode(yaml.ScalarNode, "!!str", name, l.keys[child]), l.tree(child, v[name]))
		}
		return out
	case []map[string]any:
		items := make([]any, len(v))
		for i := range v {
			items[i] = v[i]
		}
		return l.tree(p, items)
	case []any:
		out := newNode(yaml.SequenceNode, "!!seq", "", l.values[p])
		for i, item := range v {
			out.Content = append(out.Content, l.tree(p.Index(i), item))
		}
		return out
	case bool:
		return scalar("!!bool", strconv.FormatBool(v))
	case int64:
		return scalar("!!int", strconv.FormatInt(v, 10))
	case float64:
		text := strconv.FormatFloat(v, 'g', -1, 64)
		if !strings.ContainsAny(text, ".eN") {
			text += ".0" // as it was written, for an error to quote
		}
		return scalar("!!float", text)
	case time.Time:
		return scalar("!!timestamp", v.Format(time.RFC3339))
	}
	// TOML has no text without quotes: no style says that this one has them.
	return scalar("!!str", fmt.Sprint(value))
}
