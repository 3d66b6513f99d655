package config

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"mcpgateway/runtime/secret"
)

// decoder fills a Config from nodes. The schema is the Config type itself: its
// fields and their `config` tags.
type decoder struct {
	*report
	env  func(string) (string, bool)
	size int // of all expanded texts
}

// shorthand is a mapping that may also be written as one text.
type shorthand interface {
	// parse takes the text, or says what is wrong with it.
	parse(text string) (problem string)
}

// defaulter is a mapping whose keys have values before the file is read.
type defaulter interface{ setDefaults() }

func (d *decoder) decode(p path, n *node, v reflect.Value) {
	if n == nil {
		return
	}
	d.places[p] = n.at
	isScalar := n.kind != kindMapping && n.kind != kindList && n.kind != kindNull
	if isScalar {
		var ok bool
		if n, ok = d.expand(p, n); !ok {
			return
		}
	}
	if short, ok := v.Addr().Interface().(shorthand); ok && (n.kind == kindText || n.kind == kindFree) {
		if problem := short.parse(n.text); problem != "" {
			d.fail(p, "%s", problem)
		}
		return
	}
	switch target := v.Addr().Interface().(type) {
	case *secret.Value:
		d.decodeSecret(p, n, target)
		return
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

// expand returns n with its variables replaced.
func (d *decoder) expand(p path, n *node) (*node, bool) {
	text, problems := expand(n.text, d.env)
	for _, problem := range problems {
		d.errors = append(d.errors, d.found(p, "%s", problem))
	}
	d.size += len(text)
	switch {
	case len(problems) > 0:
		d.failed[p] = true
		return nil, false
	case strings.Contains(text, "\x00"):
		d.fail(p, "holds a NUL byte: no program can be given one")
		return nil, false
	case d.size > maxSize:
		d.fail("", "its texts are longer than %d bytes altogether with all variables replaced", maxSize)
		return nil, false
	}
	out := *n
	if n.text != text {
		out.text = text
		if n.plain {
			out.kind = kindFree
		}
	}
	return &out, true
}

func (d *decoder) decodeStruct(p path, n *node, v reflect.Value) {
	if !d.is(p, n, kindMapping) {
		return
	}
	var known []string // of the same index as the fields of v
	for i := range v.NumField() {
		known = append(known, v.Type().Field(i).Tag.Get("config"))
	}
	for _, f := range n.fields {
		child := p.key(f.name)
		if i := slices.Index(known, f.name); i >= 0 && f.name != "" {
			d.decode(child, f.value, v.Field(i))
			d.judge(child, v.Field(i), v.Type().Field(i).Tag.Get("want"))
			continue
		}
		d.places[child] = f.at
		if meant := nearest(f.name, known); meant != "" {
			d.fail(child, "unknown key: did you mean %q?", meant)
			if !slices.ContainsFunc(n.fields, func(f field) bool { return f.name == meant }) {
				d.failed[p.key(meant)] = true // it is not also missing
			}
		} else {
			d.fail(child, "unknown key: known here are %s", strings.TrimSuffix(strings.Join(known, ", "), ", "))
		}
	}
}

// judge refuses a value of the file that is not what the tag want says: a range
// "low..high", texts "one|other", or "/" for an absolute path.
func (d *decoder) judge(p path, v reflect.Value, want string) {
	low, high, isRange := strings.Cut(want, "..")
	var inside bool
	switch value := v.Interface().(type) {
	case time.Duration:
		least, _ := time.ParseDuration(low)
		most, _ := time.ParseDuration(high)
		inside = least <= value && value <= most
	case int:
		least, _ := strconv.Atoi(low)
		most, _ := strconv.Atoi(high)
		inside = least <= value && value <= most
	case float64:
		least, _ := strconv.ParseFloat(low, 64)
		most, _ := strconv.ParseFloat(high, 64)
		inside = least <= value && value <= most // NaN is not
	}
	switch {
	case want == "" || d.hasFailed(p):
	case want == "/":
		d.absolute(p, v.String())
	case !isRange:
		d.oneOf(p, v.String(), strings.Split(want, "|"))
	case !inside:
		d.fail(p, "is %v, want %s to %s", v.Interface(), low, high)
	}
}

func (d *decoder) decodeMap(p path, n *node, v reflect.Value) {
	if !d.is(p, n, kindMapping) {
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, f := range n.fields {
		element := reflect.New(v.Type().Elem())
		if e, ok := element.Interface().(defaulter); ok {
			e.setDefaults()
		}
		d.decode(p.key(f.name), f.value, element.Elem())
		// A name is known even if what it names is wrong: a reference to it is fine.
		v.SetMapIndex(reflect.ValueOf(f.name), element.Elem())
	}
}

func (d *decoder) decodeSlice(p path, n *node, v reflect.Value) {
	if !d.is(p, n, kindList) {
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.items), len(n.items)))
	for i, item := range n.items {
		d.decode(p.index(i), item, v.Index(i))
	}
}

func (d *decoder) decodeSecret(p path, n *node, target *secret.Value) {
	switch n.kind {
	case kindText, kindFree:
		*target = secret.New(n.text)
	case kindBool, kindInt, kindFloat, kindDate:
		d.fail(p, "is %s, want a text: put it in quotes", n.kind) // never the value
	default:
		d.fail(p, "is %s, want a text", n.kind)
	}
}

func (d *decoder) decodeDuration(p path, n *node, target *time.Duration) {
	var err error
	if n.kind == kindText || n.kind == kindFree {
		if *target, err = time.ParseDuration(n.text); err == nil {
			return
		}
	}
	if n.kind == kindInt || n.kind == kindFloat {
		d.fail(p, "has no unit: write %q for seconds", n.text+"s")
		return
	}
	d.fail(p, `is %s, want a duration such as "30s" (units: h, m, s, ms)`, n.describe())
}

func (d *decoder) decodeScalar(p path, n *node, v reflect.Value) {
	free := n.kind == kindFree
	var want kind
	var err error
	switch v.Kind() {
	case reflect.String:
		if n.kind == kindText || free {
			v.SetString(n.text)
			return
		}
		want = kindText
	case reflect.Bool:
		if n.kind == kindBool || free && (n.text == "true" || n.text == "false") {
			v.SetBool(strings.EqualFold(n.text, "true"))
			return
		}
		want = kindBool
	case reflect.Int:
		var value int64
		if value, err = strconv.ParseInt(n.text, 10, 64); err == nil && (n.kind == kindInt || free) {
			v.SetInt(value)
			return
		}
		want = kindInt
	case reflect.Float64:
		var value float64
		if value, err = strconv.ParseFloat(n.text, 64); err == nil && (n.kind == kindInt || n.kind == kindFloat || free) {
			v.SetFloat(value)
			return
		}
		want = kindFloat
	}
	d.mismatch(p, n, want)
}

// is reports whether n is a want, or nothing at all, as in "servers:" without
// a line below it.
func (d *decoder) is(p path, n *node, want kind) bool {
	if n.kind == want {
		return true
	}
	if n.kind != kindNull {
		d.mismatch(p, n, want)
	}
	return false
}

func (d *decoder) mismatch(p path, n *node, want kind) {
	hint := ""
	switch isNumber := n.kind == kindInt || n.kind == kindFloat; {
	case n.kind == kindNull:
		hint = ": give it one, or remove the key"
	case want == kindText && (isNumber || n.kind == kindBool || n.kind == kindDate):
		hint = ": write " + strconv.Quote(n.text)
	case want == kindInt && isNumber:
		hint = ": write it in decimal digits"
	case want == kindBool && slices.Contains([]string{"yes", "on", "1"}, strings.ToLower(n.text)):
		hint = ": write true"
	case want == kindBool && slices.Contains([]string{"no", "off", "0"}, strings.ToLower(n.text)):
		hint = ": write false"
	case n.kind == kindText && (want == kindBool || want == kindInt || want == kindFloat):
		hint = ": write it without quotes"
	case want == kindList && n.kind == kindText:
		hint = `: write ["…"] even for one`
	}
	d.fail(p, "is %s, want %s%s", n.describe(), want, hint)
}

// describe names a value for an error. It never shows a text: that may be a
// secret, out of a variable or in the wrong place.
func (n *node) describe() string {
	if n.kind == kindInt || n.kind == kindFloat || n.kind == kindBool {
		return n.text
	}
	return n.kind.String()
}
