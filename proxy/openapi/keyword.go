package openapi

import (
	"bytes"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"mcpgateway/proxy/mcp"
)

// shape is what the value of a schema's keyword must be.
type shape int

const (
	unknown   shape = iota
	ofSchema        // a schema
	ofSchemas       // an array of them, not empty
	ofNamed         // an object of them
	ofRef           // a reference to one
	ofText
	ofNumber
	ofPositive
	ofCount // a number that is whole and not negative
	ofFlag
	ofTexts // an array of strings, none twice
	ofType
	ofTextLists // an object of ofTexts
	ofData      // anything
	ofList      // an array of anything
)

// keywords lists those of JSON Schema 2020-12 that mean something inside of a
// document of which the schema is a part. Names and anchors ($id, $anchor) mean
// nothing there once the references are resolved.
func keywords() map[string]shape {
	shapes := map[string]shape{
		"$ref": ofRef, "$dynamicRef": ofRef, "$recursiveRef": ofRef,
		"type": ofType, "required": ofTexts, "dependentRequired": ofTextLists, "multipleOf": ofPositive,
		"const": ofData, "default": ofData, "enum": ofList, "examples": ofList,
	}
	for shape, names := range map[shape]string{
		ofSchema:  "additionalProperties propertyNames items contains not if then else unevaluatedItems unevaluatedProperties contentSchema",
		ofSchemas: "allOf anyOf oneOf prefixItems",
		ofNamed:   "properties patternProperties dependentSchemas $defs definitions",
		ofText:    "title description $comment format pattern contentEncoding contentMediaType",
		ofNumber:  "minimum maximum exclusiveMinimum exclusiveMaximum",
		ofCount:   "minLength maxLength minItems maxItems minProperties maxProperties minContains maxContains",
		ofFlag:    "uniqueItems deprecated readOnly writeOnly",
	} {
		for name := range strings.FieldsSeq(names) {
			shapes[name] = shape
		}
	}
	return shapes
}

// fits reports whether a value that holds no schema has a shape.
func (s shape) fits(value []byte) bool {
	text, isText := mcp.TextOf(value)
	switch s {
	case ofText, ofRef:
		return isText
	case ofNumber:
		return isNumber(value)
	case ofPositive:
		return isNumber(value) && value[0] != '-' && bytes.ContainsAny(mantissa(value), "123456789")
	case ofCount:
		return isNumber(value) && !bytes.ContainsAny(value, "-.eE")
	case ofFlag:
		return value[0] == 't' || value[0] == 'f'
	case ofTexts:
		return areTexts(value, func(string) bool { return true })
	case ofType:
		return isType(text) || areTexts(value, isType) && !bytes.Equal(bytes.ReplaceAll(value, []byte(" "), nil), []byte("[]"))
	case ofTextLists:
		for _, list := range mcp.Members(value) {
			if !ofTexts.fits(list) {
				return false
			}
		}
		return mcp.IsObject(value) && !refers(value)
	}
	return (s == ofData || s == ofList && value[0] == '[') && !refers(value)
}

// refers reports whether data has a member that readers of OpenAPI take for a
// reference, which they follow, be it to a file or to another host.
func refers(data []byte) bool {
	if !bytes.Contains(data, []byte("ref")) && !bytes.Contains(data, []byte(`\u`)) {
		return false
	}
	d := jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowInvalidUTF8(true))
	for {
		token, err := d.ReadToken()
		if err != nil {
			return false
		}
		if kind, length := d.StackIndex(d.StackDepth()); kind == '{' && length%2 == 1 && strings.EqualFold(token.String(), "$ref") {
			return true
		}
	}
}

func isNumber(value []byte) bool { return value[0] == '-' || value[0] >= '0' && value[0] <= '9' }

func mantissa(number []byte) []byte {
	digits, _, _ := bytes.Cut(bytes.ToLower(number), []byte("e"))
	return digits
}

func areTexts(array []byte, each func(string) bool) bool {
	seen := map[string]bool{}
	for element := range mcp.Elements(array) {
		text, ok := mcp.TextOf(element)
		if !ok || seen[text] || !each(text) {
			return false
		}
		seen[text] = true
	}
	return array[0] == '['
}

func isType(name string) bool {
	switch name {
	case "null", "boolean", "object", "array", "number", "integer", "string":
		return true
	}
	return false
}
