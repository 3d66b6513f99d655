package document

import (
	"cmp"
	"encoding"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

const (
	maxKey = 256
	// maxSize bounds what a file may grow to when its aliases and variables are
	// replaced: bytes of text, and nodeSize for each value.
	maxSize  = 4 << 20
	nodeSize = 16
	// freeTag is the type of a scalar that variables gave its value, where no
	// quotes say that it is a text: it has the type that its reader needs.
	freeTag = "!!free"
)

// decoder fills a value from a tree. The schema is the value's type: its fields
// and their tags. It goes no deeper than the schema, so neither unknown
// keys nor aliases that hold themselves cost anything.
type decoder struct {
	*Report
	env     func(string) (string, bool)
	size    int
	visible string // who sees the values that are being decoded; "": nobody in particular
}

// Holder is a value that keeps what it holds secret, and may so hold what references
// stand for. A secret.Value is one.
type Holder interface {
	Later() (set func(text string, fetched []string))
}

// defaulter is a mapping whose keys have values before the file is read.
type defaulter interface{ SetDefaults() }

// decode fills v from n, which stands at key. A type that reads a text itself says
// with its error what is wrong with it. It may be written in another way too if it
// is a mapping or a number, or Numeric: then it gets a number's digits; of what is only ever a text, errors show nothing.
func (d *decoder) decode(p Path, key, n *yaml.Node, v reflect.Value) {
	holder, _ := v.Addr().Interface().(Holder)
	n = d.resolve(p, key, n, holder)
	if n == nil {
		return
	}
	switch target := v.Addr().Interface().(type) {
	case encoding.TextUnmarshaler:
		if _, numeric := target.(interface{ Numeric() }); isText(n) || numeric && n.ShortTag() == "!!int" {
			if err := target.UnmarshalText([]byte(n.Value)); err != nil {
				d.Fail(p, "%v", err)
			}
			return
		}
		if v.Kind() == reflect.Struct && len(Keys(v.Type())) == 0 {
			d.Fail(p, "is no text: put it in quotes") // never the value: it may be a secret
			return
		}
	case *time.Duration:
		d.decodeDuration(p, n, target)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.decodeStruct(p, n, v)
	case reflect.Map:
		d.decodeMap(p, n, v)
	case reflect.Slice:
		d.decodeSlice(p, n, v)
	default:
		d.decodeScalar(p, n, v)
	}
}

// resolve returns what n stands for, its alias followed and its variables
// replaced, or nil if there is nothing to use, or its holder has it.
func (d *decoder) resolve(p Path, key, n *yaml.Node, holder Holder) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	// A mapping or a list is where its key is: there a reader looks for it.
	if n.Kind == yaml.ScalarNode && n.ShortTag() != "!!null" {
		key = n
	}
	d.places[p] = Position{key.Line, key.Column}
	if n.Style&yaml.TaggedStyle != 0 || n.Tag == "!" {
		d.Fail(p, "a tag such as %.40q has no meaning here: remove it", n.Tag)
		return nil
	}
	if n.Kind == yaml.ScalarNode {
		n = d.replace(p, n, holder)
	}
	if n != nil {
		d.size += nodeSize + len(n.Value)
	}
	if d.size > maxSize {
		d.Fail("", "is larger than %d bytes with its aliases and variables replaced", maxSize)
	}
	if d.failed[""] {
		return nil
	}
	return n
}

func (d *decoder) replace(p Path, n *yaml.Node, holder Holder) *yaml.Node {
	if d.env == nil || !strings.Contains(n.Value, "${") {
		return d.clean(p, n)
	}
	parts, problem := split(n.Value)
	if problem != "" {
		d.Add(p, "%s", problem)
		d.failed[p] = true
		return nil
	}
	d.variables(p, parts)
	if d.references(p, parts, holder); d.failed[p] {
		return nil
	}
	if holder != nil {
		d.hold(p, parts, holder)
		return nil
	}
	out := *n
	out.Value, _ = join(parts)
	if quoted := yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle; n.Style&quoted == 0 {
		out.Tag = freeTag
	}
	return d.clean(p, &out)
}

func (d *decoder) clean(p Path, n *yaml.Node) *yaml.Node {
	if strings.Contains(n.Value, "\x00") {
		d.Fail(p, "holds a NUL byte: no program can be given one")
		return nil
	}
	return n
}

// fields calls each for the keys of a mapping, but for those that cannot be one.
func (d *decoder) fields(p Path, n *yaml.Node, each func(key, value *yaml.Node)) {
	first := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, problem := n.Content[i], ""
		switch {
		case key.Kind != yaml.ScalarNode || key.Style&yaml.TaggedStyle != 0 || len(key.Value) > maxKey:
			problem = "a key must be a text of at most 256 bytes"
		case key.ShortTag() == "!!merge":
			d.failed[p] = true // what it would have brought is unknown
			problem = "merge keys are not understood: write the keys out, or use an alias for a whole value"
		case first[key.Value] > 0:
			problem = p.Key(key.Value).String() + ": is there twice, first in line " + strconv.Itoa(first[key.Value])
		}
		if problem != "" {
			d.errors = append(d.errors, finding{Position{key.Line, key.Column}, problem})
			continue
		}
		first[key.Value] = key.Line
		each(key, n.Content[i+1])
	}
}

// Keys are the fields of a struct that are keys of a mapping.
func Keys(t reflect.Type) []reflect.StructField {
	return slices.DeleteFunc(reflect.VisibleFields(t), func(f reflect.StructField) bool { return f.Tag.Get("config") == "" })
}

func (d *decoder) decodeStruct(p Path, n *yaml.Node, v reflect.Value) {
	if !d.is(p, n, yaml.MappingNode, "a mapping") {
		return
	}
	var known []string
	index := make(map[string]reflect.StructField)
	for _, f := range Keys(v.Type()) {
		name := f.Tag.Get("config")
		known, index[name] = append(known, name), f
	}
	var missing []string // what unknown keys were meant to be
	d.fields(p, n, func(key, value *yaml.Node) {
		child := p.Key(key.Value)
		if f, ok := index[key.Value]; ok {
			delete(index, key.Value)
			outer := d.visible
			d.visible = cmp.Or(f.Tag.Get("visible"), outer)
			d.decode(child, key, value, v.FieldByIndex(f.Index))
			d.visible = outer
			d.judge(child, v.FieldByIndex(f.Index), f.Tag)
			return
		}
		d.places[child] = Position{key.Line, key.Column}
		meant := Nearest(key.Value, known)
		if meant == "" {
			d.Fail(child, "unknown key: known here are %s", strings.Join(known, ", "))
			return
		}
		d.Fail(child, "unknown key: did you mean %q?", meant)
		missing = append(missing, meant)
	})
	for _, meant := range missing {
		if _, absent := index[meant]; absent {
			d.failed[p.Key(meant)] = true // one mistake: it is not also missing
		}
	}
}

// judge refuses a value of the file that is not what its tags say.
func (d *decoder) judge(p Path, v reflect.Value, tag reflect.StructTag) {
	want, orZero := strings.CutPrefix(tag.Get("want"), "0|")
	low, high, isRange := strings.Cut(want, "..")
	switch {
	case want == "" || orZero && v.IsZero() || d.HasFailed(p):
	case want == "/":
		d.Absolute(p, v.String())
	case !isRange:
		d.OneOf(p, v.String(), strings.Split(want, "|"))
	default:
		// Of all numbers, durations too. NaN is inside of nothing.
		value := v.Convert(reflect.TypeFor[float64]()).Float()
		if !(bound(low) <= value && value <= bound(high)) {
			if orZero {
				low = "0 or " + low
			}
			d.Fail(p, "is %v, want %s to %s", v.Interface(), low, high)
		}
	}
	enforced, some := tag.Lookup("enforced")
	if isOn := v.Kind() == reflect.Bool && v.Bool(); some && (isOn || v.Kind() == reflect.String && v.String() != enforced) {
		d.Unenforced(p)
	}
}

// bound reads an end of a range: a number, or a duration in nanoseconds.
func bound(text string) float64 {
	if duration, err := time.ParseDuration(text); err == nil {
		return float64(duration)
	}
	number, _ := strconv.ParseFloat(text, 64) // the tags are constants; a test reads them all
	return number
}

func (d *decoder) decodeMap(p Path, n *yaml.Node, v reflect.Value) {
	if !d.is(p, n, yaml.MappingNode, "a mapping") {
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	d.fields(p, n, func(key, value *yaml.Node) {
		element := reflect.New(v.Type().Elem())
		if e, ok := element.Interface().(defaulter); ok {
			e.SetDefaults()
		}
		d.decode(p.Key(key.Value), key, value, element.Elem())
		// A name is known even if what it names is wrong: a reference to it is fine.
		v.SetMapIndex(reflect.ValueOf(key.Value), element.Elem())
	})
}

func (d *decoder) decodeSlice(p Path, n *yaml.Node, v reflect.Value) {
	if !d.is(p, n, yaml.SequenceNode, "a list") {
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		d.decode(p.Index(i), item, item, v.Index(i))
	}
}

func (d *decoder) decodeDuration(p Path, n *yaml.Node, target *time.Duration) {
	if isText(n) {
		if value, err := time.ParseDuration(n.Value); err == nil {
			*target = value
			return
		}
	}
	if tag := n.ShortTag(); tag == "!!int" || tag == "!!float" {
		d.Fail(p, "has no unit: write %q for seconds", n.Value+"s")
		return
	}
	d.mismatch(p, n, `a duration such as "30s" (units: h, m, s, ms)`)
}

func (d *decoder) decodeScalar(p Path, n *yaml.Node, v reflect.Value) {
	tag := n.ShortTag()
	is := func(tags ...string) bool { return tag == freeTag || slices.Contains(tags, tag) }
	switch v.Kind() {
	case reflect.String:
		if isText(n) {
			v.SetString(n.Value)
			return
		}
		d.mismatch(p, n, "a text")
	case reflect.Bool:
		value := strings.ToLower(n.Value)
		if is("!!bool") && (value == "true" || value == "false") {
			v.SetBool(value == "true")
			return
		}
		d.mismatch(p, n, "true or false")
	case reflect.Int, reflect.Int64:
		if value, err := strconv.ParseInt(n.Value, 10, 64); err == nil && is("!!int") {
			v.SetInt(value)
			return
		}
		d.mismatch(p, n, "a whole number in decimal digits")
	case reflect.Float64:
		if value, err := strconv.ParseFloat(n.Value, 64); err == nil && is("!!int", "!!float") {
			v.SetFloat(value)
			return
		}
		d.mismatch(p, n, "a number")
	}
}

func isText(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && (n.ShortTag() == "!!str" || n.Tag == freeTag)
}

// is reports whether n is of that kind. Nothing at all, as in "servers:" without
// a line below it, is no mistake.
func (d *decoder) is(p Path, n *yaml.Node, kind yaml.Kind, want string) bool {
	if n.Kind != kind && n.ShortTag() != "!!null" {
		d.mismatch(p, n, want)
	}
	return n.Kind == kind
}

// mismatch never shows a text: that may be a secret, out of a variable or in
// the wrong place.
func (d *decoder) mismatch(p Path, n *yaml.Node, want string) {
	is, hint := "a text", ""
	switch tag := n.ShortTag(); {
	case n.Kind == yaml.MappingNode:
		is = "a mapping"
	case n.Kind == yaml.SequenceNode:
		is = "a list"
	case tag == "!!null":
		is, hint = "nothing", ": give it a value, or remove the key"
	case !isText(n):
		is = n.Value
		if want == "a text" {
			hint = ": write " + strconv.Quote(n.Value)
		}
	case want == "a list":
		hint = `: write ["…"] even for one`
	case tag == "!!str" && strings.Contains(want, "number"):
		hint = ": write it without quotes"
	}
	d.Fail(p, "is %s, want %s%s", is, want, hint)
}
