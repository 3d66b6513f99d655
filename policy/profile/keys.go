package profile

import (
	"reflect"
	"slices"

	"mcpgateway/runtime/document"
)

// key is one key of the schema.
type key struct {
	section, name string
	weaker        string // the tag
	index         []int  // in a Profile
}

func (k *key) String() string { return k.section + "." + k.name }

func (k *key) path() document.Path { return document.At(k.section, k.name) }

func (k *key) of(p *Profile) reflect.Value { return reflect.ValueOf(p).Elem().FieldByIndex(k.index) }

// schema lists the keys of a Profile in their order.
func schema() []key {
	var keys []key
	for _, section := range document.Keys(reflect.TypeFor[Profile]()) {
		for _, field := range document.Keys(section.Type) {
			keys = append(keys, key{
				section: section.Tag.Get("config"), name: field.Tag.Get("config"), weaker: field.Tag.Get("weaker"),
				index: slices.Concat(section.Index, field.Index),
			})
		}
	}
	return keys
}
