package main

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// place is where a secret is: the path of its engine, its own in there, and the field;
// "" is the only one.
type place struct{ mount, path, field string }

// parsePlace reads MOUNT/PATH#FIELD, or MOUNT/data/PATH#FIELD as the API has it. A mount
// that is given is the path's beginning, and may have slashes.
func parsePlace(text, mount string) (place, error) {
	full, field, _ := strings.Cut(text, "#")
	full = strings.Trim(full, "/")
	if mount = strings.Trim(mount, "/"); mount == "" {
		mount, _, _ = strings.Cut(full, "/")
	}
	path, ok := strings.CutPrefix(full, mount+"/")
	if !ok || mount == "" {
		return place{}, fmt.Errorf("%q is not below the engine %q: write MOUNT/PATH#FIELD", text, mount)
	}
	path = strings.TrimPrefix(path, "data/")
	for _, step := range append(strings.Split(mount, "/"), strings.Split(path, "/")...) {
		if step == "" || step == "." || step == ".." {
			return place{}, fmt.Errorf("%q has an empty step, or one that is . or ..: write MOUNT/PATH#FIELD", text)
		}
	}
	return place{mount, path, field}, nil
}

// url is the path of the API that reads the newest version (KV version 2, read secret version).
func (p place) url() string { return escape(p.mount) + "/data/" + escape(p.path) }

func (p place) String() string { return p.mount + "/" + p.path }

// escape makes a path of an URL, whose slashes stay.
func escape(path string) string {
	steps := strings.Split(path, "/")
	for i := range steps {
		steps[i] = url.PathEscape(steps[i])
	}
	return strings.Join(steps, "/")
}

// pick returns the field's value. Errors name fields, never a value.
func (p place) pick(fields map[string]any) (string, error) {
	var names []string
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	field := p.field
	switch {
	case field == "" && len(names) == 1:
		field = names[0]
	case field == "":
		return "", fmt.Errorf("%s has %d fields: name one behind %q: %.300q", p, len(names), "#", names)
	}
	value, ok := fields[field]
	if !ok {
		return "", fmt.Errorf("%s has no field %q: it has %.300q", p, field, names)
	}
	text, ok := value.(string)
	if !ok {
		return "", fmt.Errorf("field %q of %s is no text", field, p)
	}
	if text == "" {
		return "", errors.New("field " + field + " is empty")
	}
	return text, nil
}
