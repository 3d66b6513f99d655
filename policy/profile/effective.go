package profile

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strconv"
	"strings"
	"time"

	"mcpgateway/runtime/document"
)

// Effective is a profile with every value and where each comes from.
type Effective struct {
	Name, Description string
	Chain             []string // itself, what it extends, and so on
	Profile
	Origin map[string]string // of "limits.memory_max": "/etc/mcp-gateway/profiles/x.toml:7"
}

// Clone returns a copy whose values and origins can be set without changing e. The
// elements of its lists must not be.
func (e *Effective) Clone() *Effective {
	clone := *e
	clone.Origin = make(map[string]string)
	maps.Copy(clone.Origin, e.Origin)
	return &clone
}

// Line is one key of a profile.
type Line struct {
	Key    string `json:"key"`
	Value  string `json:"value"` // as TOML
	Origin string `json:"origin"`
}

// Lines gives every key, in the order of the schema.
func (e *Effective) Lines() []Line {
	var lines []Line
	for _, k := range Schema() {
		lines = append(lines, Line{k.String(), tomlText(k.of(&e.Profile)), e.Origin[k.String()]})
	}
	return lines
}

// Text gives the whole profile as a file that loads to the same one.
func (e *Effective) Text() string {
	var out strings.Builder
	fmt.Fprintf(&out, "description = %s\n", tomlText(reflect.ValueOf(e.Description)))
	out.WriteString("allow_weaker = true # every key is here: no other profile matters\n")
	section := ""
	for _, k := range Schema() {
		if k.section != section {
			section = k.section
			fmt.Fprintf(&out, "\n[%s]\n", section)
		}
		fmt.Fprintf(&out, "%s = %s\n", k.name, tomlText(k.of(&e.Profile)))
	}
	return out.String()
}

// tomlText writes a value as it would stand in a file.
func tomlText(v reflect.Value) string {
	switch value := v.Interface().(type) {
	case Size:
		if text := value.String(); strings.Trim(text, "0123456789") != "" {
			return strconv.Quote(text)
		}
		return strconv.FormatInt(int64(value), 10)
	case time.Duration:
		return strconv.Quote(value.String())
	case string:
		quoted, _ := json.Marshal(value) // a text can always be marshalled
		return strings.ReplaceAll(string(quoted), "\x7f", `\u007f`)
	}
	var parts []string
	switch v.Kind() {
	case reflect.Slice:
		for i := range v.Len() {
			parts = append(parts, tomlText(v.Index(i)))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case reflect.Struct:
		for _, f := range document.Keys(v.Type()) {
			parts = append(parts, f.Tag.Get("config")+" = "+tomlText(v.FieldByIndex(f.Index)))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return fmt.Sprint(v)
}
