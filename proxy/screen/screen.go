// Package screen finds text in what servers list that people don't see and models
// read: zero-width and format characters, bidirectional controls, tags, runs of
// variation selectors, control characters, written as they are or as escapes. It
// takes them out of descriptions, titles and instructions. Where they stand in what
// calls are made of (names, enum, default, …) nothing can be changed: the item is left
// out. What it does not touch stays byte for byte. It does not judge what a text says,
// nor characters that only look like others.
//
// Runs in: proxy; CLI (to make such characters visible).
package screen

import (
	"crypto/sha256"

	"mcpgateway/policy"
	"mcpgateway/proxy/mcp"
)

// maxFindings bounds what is told of one result. What is over it is cleaned all the same.
const maxFindings = 32

// Finding is an item with hidden text.
type Finding struct {
	Item       string // name or URI as the server wrote it; "" for what is no item of a list
	Characters []rune // some of them
	LeftOut    bool   // the item is not in the result any more
	Digest     [sha256.Size]byte
}

// Methods reports whether the results of a method are screened.
func Methods(method string) bool {
	_, ok := shapeOf(method)
	return ok
}

// shape is where the items are in a result.
type shape struct{ array, key string }

func shapeOf(method string) (shape, bool) {
	switch method {
	case mcp.MethodToolsList:
		return shape{"tools", "name"}, true
	case mcp.MethodPromptsList:
		return shape{"prompts", "name"}, true
	case mcp.MethodResourcesList:
		return shape{"resources", "uri"}, true
	case mcp.MethodTemplatesList:
		return shape{"resourceTemplates", "uriTemplate"}, true
	case mcp.MethodInitialize, mcp.MethodDiscover:
		return shape{}, true
	}
	return shape{}, false
}

// List screens the result of a method for which Methods is true. The result must have
// been checked as a part of a message is; it is not changed, and is what comes back if
// nothing was found, or the mode changes nothing.
func List(method string, result []byte, mode policy.HiddenText) (cleaned []byte, findings []Finding) {
	of, screened := shapeOf(method)
	if !screened || mode == policy.HiddenOff || clean(result) {
		return result, nil
	}
	s := &screening{mode: mode}
	cleaned = mcp.Edit(result, func(name string, value []byte) ([]byte, bool) {
		switch {
		case s.misnamed(name):
			return value, false
		case name == "nextCursor": // the server's own word, which it wants back as it is
			return value, true
		case of.array == "":
			return s.about(name, value)
		case name == of.array:
			return mcp.EditElements(value, func(item []byte) ([]byte, bool) {
				return s.item(of.key, item)
			}), true
		}
		return s.item("", value)
	})
	if len(s.findings) == 0 || mode == policy.HiddenReport {
		return result, s.findings
	}
	return cleaned, s.findings
}

// screening is the work on one result.
type screening struct {
	mode     policy.HiddenText
	findings []Finding
}

// item returns an item without what is hidden, and whether it stays in the list.
func (s *screening) item(key string, raw []byte) (cleaned []byte, keep bool) {
	if clean(raw) {
		return raw, true
	}
	var w walker
	cleaned = w.value(raw)
	if len(w.hidden) == 0 {
		return raw, true
	}
	keep = !w.fixed && s.mode == policy.HiddenStrip
	name, _ := mcp.TextOf(mcp.Member(raw, key))
	s.found(name, raw, w.hidden, !keep)
	return cleaned, keep
}

// about is what a server says of itself. A client needs most of that, so that it is
// cleaned rather than left out, but for the instructions.
func (s *screening) about(name string, raw []byte) (cleaned []byte, keep bool) {
	if clean(raw) {
		return raw, true
	}
	w := walker{all: true}
	cleaned = w.value(raw)
	if len(w.hidden) == 0 {
		return raw, true
	}
	keep = !w.fixed && (s.mode != policy.HiddenBlock || name != "instructions")
	s.found("", raw, w.hidden, !keep)
	return cleaned, keep
}

// misnamed reports whether a member of the result itself has a name that hides
// something.
func (s *screening) misnamed(name string) bool {
	_, hidden := text(mcp.Quote(name))
	if len(hidden) > 0 {
		s.found("", []byte(name), hidden, true)
	}
	return len(hidden) > 0
}

func (s *screening) found(item string, raw []byte, hidden []rune, leftOut bool) {
	if len(s.findings) < maxFindings {
		s.findings = append(s.findings, Finding{
			Item: item, Characters: hidden, Digest: sha256.Sum256(raw),
			LeftOut: leftOut && s.mode != policy.HiddenReport,
		})
	}
}

// unescaped is the text of a JSON string that was already checked.
func unescaped(quoted []byte) string {
	text, _ := mcp.TextOf(quoted)
	return text
}
