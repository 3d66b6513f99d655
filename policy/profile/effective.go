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

// TOML writes a value of a profile as it would stand in a file.
func TOML(v reflect.Value) string {
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
			parts = append(parts, TOML(v.Index(i)))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case reflect.Struct:
		for _, f := range document.Keys(v.Type()) {
			parts = append(parts, f.Tag.Get("config")+" = "+TOML(v.FieldByIndex(f.Index)))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return fmt.Sprint(v)
}
