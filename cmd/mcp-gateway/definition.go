package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"mcpgateway/proxy/screen"
)

// shown makes a text that others wrote fit for a terminal: what does not show, or would
// steer it, is written as \u{200b}. Different texts look different.
func shown(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case r == '\\':
			b.WriteString(`\\`)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case !unicode.IsPrint(r) || screen.Curious(r):
			fmt.Fprintf(&b, `\u{%x}`, r)
		default:
			b.WriteRune(r)
		}
		i += size
	}
	return b.String()
}

// quoted is shown, between quotes.
func quoted(text string) string { return `"` + strings.ReplaceAll(shown(text), `"`, `\"`) + `"` }

// describe writes a tool's definition in lines, one for each field and for each line of
// a text, each with the field's path before it. The definition must be valid JSON.
func describe(definition []byte) ([]string, error) {
	decoder := json.NewDecoder(bytes.NewReader(definition))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	return fields(nil, "", value), nil
}

func fields(lines []string, path string, value any) []string {
	switch v := value.(type) {
	case map[string]any:
		if len(v) == 0 {
			return append(lines, path+": {}")
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			lines = fields(lines, strings.TrimPrefix(path+"."+fieldName(name), "."), v[name])
		}
		return lines
	case []any:
		if len(v) == 0 {
			return append(lines, path+": []")
		}
		for i, element := range v {
			lines = fields(lines, path+"["+strconv.Itoa(i)+"]", element)
		}
		return lines
	case string:
		rest := v
		for {
			end := strings.IndexByte(rest, '\n') + 1
			if end == 0 || end == len(rest) {
				return append(lines, path+": "+quoted(rest))
			}
			lines = append(lines, path+": "+quoted(rest[:end]))
			rest = rest[end:]
		}
	case nil:
		return append(lines, path+": null")
	}
	return append(lines, fmt.Sprintf("%s: %v", path, value)) // a number as it is written, or a bool
}

// fieldName quotes a name that could be taken for more than one.
func fieldName(name string) string {
	bare := name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-$") == ""
	if bare {
		return name
	}
	return quoted(name)
}

// maxComparisons bounds the work of finding the shortest difference.
const maxComparisons = 4 << 20

// difference gives what was taken away and added, "- line" and "+ line", in order.
func difference(before, after []string) []string {
	for len(before) > 0 && len(after) > 0 && before[0] == after[0] {
		before, after = before[1:], after[1:]
	}
	for len(before) > 0 && len(after) > 0 && before[len(before)-1] == after[len(after)-1] {
		before, after = before[:len(before)-1], after[:len(after)-1]
	}
	var lines []string
	if len(before)*len(after) <= maxComparisons {
		common := commonLengths(before, after)
		for len(before) > 0 && len(after) > 0 {
			i, j := len(common)-1-len(before), len(common[0])-1-len(after)
			switch {
			case before[0] == after[0]:
				before, after = before[1:], after[1:]
			case common[i+1][j] >= common[i][j+1]:
				lines, before = append(lines, "- "+before[0]), before[1:]
			default:
				lines, after = append(lines, "+ "+after[0]), after[1:]
			}
		}
	}
	for _, line := range before {
		lines = append(lines, "- "+line)
	}
	for _, line := range after {
		lines = append(lines, "+ "+line)
	}
	return lines
}

// commonLengths gives, for each pair of ends of the two lists, how many lines their
// longest common subsequence has.
func commonLengths(a, b []string) [][]int32 {
	lengths := make([][]int32, len(a)+1)
	for i := range lengths {
		lengths[i] = make([]int32, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				lengths[i][j] = lengths[i+1][j+1] + 1
			} else {
				lengths[i][j] = max(lengths[i+1][j], lengths[i][j+1])
			}
		}
	}
	return lengths
}
