package profile

import (
	"reflect"
	"slices"

	"mcpgateway/runtime/document"
)

// Key is one key of the schema.
type Key struct {
	Section, Name string
	weaker        string // the tag
	index         []int  // in a Profile
}

func (k *Key) String() string { return k.Section + "." + k.Name }

func (k *Key) path() document.Path { return document.At(k.Section, k.Name) }

// Of gives the value of k in a profile.
func (k *Key) Of(p *Profile) reflect.Value { return reflect.ValueOf(p).Elem().FieldByIndex(k.index) }

// Schema lists the keys of a Profile in their order.
func Schema() []Key {
	var keys []Key
	for _, section := range document.Keys(reflect.TypeFor[Profile]()) {
		for _, field := range document.Keys(section.Type) {
			keys = append(keys, Key{
				Section: section.Tag.Get("config"), Name: field.Tag.Get("config"), weaker: field.Tag.Get("weaker"),
				index: slices.Concat(section.Index, field.Index),
			})
		}
	}
	return keys
}
