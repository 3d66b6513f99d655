package profile

import (
	"reflect"
	"slices"

	"mcpgateway/runtime/document"
)

// Key is one key of the schema.
type Key struct {
	section, name string
	weaker        string // the tag
	index         []int  // in a Profile
}

func (k *Key) String() string { return k.section + "." + k.name }

func (k *Key) path() document.Path { return document.At(k.section, k.name) }

func (k *Key) of(p *Profile) reflect.Value { return reflect.ValueOf(p).Elem().FieldByIndex(k.index) }

// Schema lists the keys of a Profile in their order.
func Schema() []Key {
	var keys []Key
	for _, section := range document.Keys(reflect.TypeFor[Profile]()) {
		for _, field := range document.Keys(section.Type) {
			keys = append(keys, Key{
				section: section.Tag.Get("config"), name: field.Tag.Get("config"), weaker: field.Tag.Get("weaker"),
				index: slices.Concat(section.Index, field.Index),
			})
		}
	}
	return keys
}
