package config

import (
	"bytes"
	"errors"
	"io"
	"strconv"

	"go.yaml.in/yaml/v4"
)

// kind is what a value is in the file.
type kind int

const (
	kindNull kind = iota
	kindBool
	kindInt
	kindFloat
	kindText
	kindDate
	kindList
	kindMapping
	kindFree // a scalar made of variables: whatever its reader needs
)

// String names a kind for an error.
func (k kind) String() string {
	return [...]string{"nothing", "true or false", "a whole number", "a number", "a text", "a date", "a list", "a mapping", "a text"}[k]
}

// node is one value of a configuration, the same for YAML and TOML.
type node struct {
	kind   kind
	text   string // of a scalar, as written
	plain  bool   // a text without quotes: variables may make it a number or a bool
	at     position
	items  []*node // of a list
	fields []field // of a mapping, in the order of the file
}

type field struct {
	name  string
	at    position
	value *node
}

// newField places a mapping, a list or nothing at its key, where a reader looks.
func newField(name string, at position, value *node) field {
	if value.kind == kindNull || value.kind == kindList || value.kind == kindMapping {
		value.at = at
	}
	return field{name, at, value}
}

const (
	maxDepth = 16
	maxKey   = 256
	// maxSize bounds what a file may grow to when its aliases and variables are
	// expanded: bytes of text, and nodeSize for each value.
	maxSize  = 4 << 20
	nodeSize = 16
)

// yamlReader turns YAML nodes into nodes.
type yamlReader struct {
	*report
	size int
}

func (r *report) readYAML(document []byte) *node {
	var first, second yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(document))
	err := decoder.Decode(&first)
	if errors.Is(err, io.EOF) {
		return &node{kind: kindMapping, at: position{1, 1}}
	}
	if err == nil {
		err = decoder.Decode(&second)
	}
	switch {
	case err == nil:
		r.syntax(position{second.Line, second.Column}, "a second document begins here: one file holds one configuration")
	case !errors.Is(err, io.EOF):
		r.yamlSyntax(err)
	default:
		reader := &yamlReader{report: r}
		return reader.convert("", first.Content[0])
	}
	return nil
}

// syntax records an error that leaves nothing to read.
func (r *report) syntax(at position, text string) {
	r.failed[""] = true
	r.errors = append(r.errors, finding{position{max(1, at.line), max(1, at.column)}, text})
}

func (r *report) yamlSyntax(err error) {
	var load *yaml.LoadError
	if !errors.As(err, &load) {
		r.syntax(position{}, "not valid YAML: "+err.Error())
		return
	}
	text := "not valid YAML: " + load.Message
	if load.ContextMsg != "" {
		text += " " + load.ContextMsg
	}
	r.syntax(position{load.Mark.Line, load.Mark.Column}, text)
}

// convert returns nil when n cannot be used, with the error recorded.
func (y *yamlReader) convert(p path, n *yaml.Node) *node {
	y.size += nodeSize + len(n.Value)
	y.places[p] = position{n.Line, n.Column}
	switch {
	case y.failed[""]:
		return nil
	case y.size > maxSize || p.depth() > maxDepth:
		y.failed[""] = true
		y.errors = append(y.errors, y.found(p, "too many or too deeply nested values, counting each use of an alias"))
		return nil
	case n.Kind == yaml.AliasNode:
		return y.convert(p, n.Alias)
	case n.Style&yaml.TaggedStyle != 0 || n.Tag == "!":
		y.fail(p, "a tag such as %.40q has no meaning here: remove it", n.Tag)
		return nil
	}
	out := &node{at: position{n.Line, n.Column}}
	switch n.Kind {
	case yaml.MappingNode:
		out.kind = kindMapping
		y.convertFields(p, n, out)
	case yaml.SequenceNode:
		out.kind = kindList
		for i, item := range n.Content {
			out.items = append(out.items, y.convert(p.index(i), item))
		}
	default:
		quoted := yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
		out.kind, out.text, out.plain = yamlKind(n.ShortTag()), n.Value, n.Style&quoted == 0
	}
	return out
}

func (y *yamlReader) convertFields(p path, n *yaml.Node, out *node) {
	seen := make(map[string]int)
	for i := 0; i+1 < len(n.Content) && !y.failed[""]; i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := position{key.Line, key.Column}
		switch {
		case key.Kind != yaml.ScalarNode || key.Style&yaml.TaggedStyle != 0 || len(key.Value) > maxKey:
			y.errors = append(y.errors, finding{at, "a key must be a text of at most 256 bytes"})
			continue
		case key.ShortTag() == "!!merge":
			// What it would have brought is unknown: nothing else in here can be judged.
			y.failed[p] = true
			y.errors = append(y.errors, finding{at, "merge keys are not understood: write the keys out, or use an alias for a whole value"})
			continue
		case seen[key.Value] > 0:
			y.errors = append(y.errors, finding{at, p.key(key.Value).String() + ": is there twice, first in line " + strconv.Itoa(seen[key.Value])})
			continue
		}
		seen[key.Value] = key.Line
		if child := y.convert(p.key(key.Value), value); child != nil {
			out.fields = append(out.fields, newField(key.Value, at, child))
		} else {
			out.fields = append(out.fields, field{key.Value, at, nil})
		}
	}
}

func yamlKind(tag string) kind {
	switch tag {
	case "!!null":
		return kindNull
	case "!!bool":
		return kindBool
	case "!!int":
		return kindInt
	case "!!float":
		return kindFloat
	case "!!timestamp":
		return kindDate
	}
	return kindText
}
