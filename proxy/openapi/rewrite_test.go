package openapi

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"mcpgateway/proxy/mcp"
)

func TestRewrite(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, schema, want string
		faults             int
	}{
		{"nothing to do", `{"type":"object","properties":{"b":{"type":["string","null"],"default":1e3},"a":{}},"required":["b"]}`, "", 0},
		{"true and false", `{"properties":{"a":true,"b":false},"additionalProperties":false}`, "", 0},
		{"the same names as data", `{"const":{"type":7,"$id":"x"},"properties":{"type":{"type":"string"},"$defs":{"enum":[{"items":[]}]}}}`, "", 0},
		{"reference", `{"properties":{"a":{"$ref":"#/$defs/d"}},"$defs":{"d":{}}}`, `{"properties":{"a":{"$ref":"#/r/$defs/d"}},"$defs":{"d":{}}}`, 0},
		{"to the root", `{"not":{"$ref":"#"}}`, `{"not":{"$ref":"#/r"}}`, 0},
		{"beside others", `{"not":{"title":"t","$ref":"#/not/not","not":{}}}`, `{"not":{"$ref":"#/r/not/not","title":"t","not":{}}}`, 0},
		{"escaped", `{"not":{"$ref":"#/properties/a~1b~0%25%20"},"properties":{"a/b~% ":{}}}`, `{"not":{"$ref":"#/r/properties/a~1b~0%25%20"},"properties":{"a/b~% ":{}}}`, 0},
		{"element", `{"allOf":[{"$ref":"#/allOf/1"},{}]}`, `{"allOf":[{"$ref":"#/r/allOf/1"},{}]}`, 0},
		{"odd definition", `{"not":{"$ref":"#/$defs/A[b]"},"$defs":{"A[b]":{}}}`, `{"not":{"$ref":"#/r/$defs/A_b__HASH"},"$defs":{"A_b__HASH":{}}}`, 0},
		{"anchor", `{"not":{"$ref":"#a"},"if":{"$anchor":"a"}}`, `{"not":{"$ref":"#/r/if"},"if":{}}`, 0},
		{"dynamic", `{"not":{"$dynamicRef":"#a"},"if":{"$dynamicAnchor":"a"}}`, `{"not":{"$ref":"#/r/if"},"if":{}}`, 0},
		{"recursive", `{"$recursiveAnchor":true,"not":{"$recursiveRef":"#"}}`, `{"not":{"$ref":"#/r"}}`, 0},
		{"own name", `{"$id":"https://e.example/a","not":{"$ref":"https://e.example/a#/if"},"if":{"$ref":"/a"}}`, `{"not":{"$ref":"#/r/if"},"if":{"$ref":"#/r"}}`, 0},
		{"inner resource", `{"$defs":{"i":{"$id":"i","if":{"$ref":"#/then"},"then":{"$ref":"#"}}},"then":{"$ref":"i#/then"}}`,
			`{"$defs":{"i":{"if":{"$ref":"#/r/$defs/i/then"},"then":{"$ref":"#/r/$defs/i"}}},"then":{"$ref":"#/r/$defs/i/then"}}`, 0},
		{"dialect of before", `{"$schema":"http://json-schema.org/draft-07/schema#","items":[{"$ref":"#/additionalItems"}],"additionalItems":{"$ref":"#/items/0/not"}}`,
			`{"prefixItems":[{"$ref":"#/r/items"}],"items":{}}`, 1},
		{"reference to data", `{"const":{"a":{}},"not":{"$ref":"#/const/a"}}`, `{"const":{"a":{}},"not":{}}`, 1},
		{"elsewhere", `{"not":{"$ref":"other.json"},"if":{"$ref":"file:///etc/passwd"},"then":{"$ref":"//e.example/x"}}`, `{"not":{},"if":{},"then":{}}`, 3},
		{"no address", `{"not":{"$ref":"%zz"}}`, `{"not":{}}`, 1},
		{"to itself", `{"$ref":"#"}`, `{}`, 1},
		{"in a circle", `{"allOf":[{"$ref":"#/allOf/1"},{"$ref":"#/allOf/2"},{"$ref":"#/allOf/1"}]}`, `{"allOf":[{"$ref":"#/r/allOf/1"},{"$ref":"#/r/allOf/2"},{}]}`, 1},
		{"data that seems a reference", `{"default":[{"$ref":"x"}],"enum":[{"\u0024ref":1}],"title":"$ref","const":"$ref"}`, `{"title":"$ref","const":"$ref"}`, 2},
		{"a property that seems one", `{"properties":{"$ref":{},"a":{}}}`, `{"properties":{"a":{}}}`, 1},
		{"definition with another's new name", `{"$defs":{"A[b]":{},"A_b__HASH":{"type":"null"}}}`, `{"$defs":{"A_b__HASH":{}}}`, 1},
		{"unknown keywords", `{"nullable":true,"x-a":{"$ref":"x"},"discriminator":3,"id":4}`, `{}`, 0},
		{"wrong values", `{"type":[],"required":["a","a"],"enum":{},"minLength":-1,"maxItems":1.5,"multipleOf":-0.0,"minimum":"1","uniqueItems":1,"pattern":7,` +
			`"dependentRequired":{"a":"b"},"allOf":[],"anyOf":{},"properties":[],"items":4,"not":null,"$ref":1}`, `{"items":true,"not":true}`, 16},
		{"right values", `{"type":["string"],"required":[],"enum":[],"minLength":0,"multipleOf":1e-3,"minimum":-1.5e3,"uniqueItems":false,"dependentRequired":{"a":[]},"properties":{}}`, "", 0},
	}
	for _, test := range tests {
		hash := strings.TrimPrefix(clean("A[b]"), "A_b__")
		out, faults, err := rewrite([]byte(strings.ReplaceAll(test.schema, "HASH", hash)), "#/r")
		want := test.want
		if want == "" {
			want = test.schema
		}
		got := strings.ReplaceAll(string(out), hash, "HASH")
		if err != nil || got != want || len(faults) != test.faults {
			t.Errorf("%s: got %s, %d faults %q, %v\nwant %s, %d faults", test.name, got, len(faults), faults, err, want, test.faults)
		}
	}
}

// No schema costs much more than its own size.
func TestRewriteIsBounded(t *testing.T) {
	var before, after runtime.MemStats
	long := strings.Repeat("n", 100_000)
	for name, schema := range map[string]string{
		"large":              `{"title":"` + strings.Repeat("x", maxSchemaBytes) + `"}`,
		"deep":               strings.Repeat(`{"not":`, 100) + `{}` + strings.Repeat(`}`, 100),
		"long names":         `{"properties":{"` + long + `":{"allOf":[{}` + strings.Repeat(`,{}`, 10_000) + `]}}}`,
		"references to them": `{"$defs":{"a":{"properties":{"` + long + `":{"$anchor":"a"}}}},"allOf":[{}` + strings.Repeat(`,{"$ref":"#a"}`, 9_000) + `]}`,
	} {
		runtime.ReadMemStats(&before)
		out, _, err := rewrite([]byte(schema), "#/r")
		runtime.ReadMemStats(&after)
		if allocated := after.TotalAlloc - before.TotalAlloc; !errors.Is(err, errTooLarge) || allocated > 100<<20 {
			t.Errorf("%s: got %d bytes, %v, with %d MiB allocated", name, len(out), err, allocated>>20)
		}
	}
	var chain strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&chain, `"%d":{"$ref":"#/$defs/%d"},`, i, i+1)
	}
	if _, faults, err := rewrite([]byte(`{"$defs":{`+chain.String()+`"5000":{}}}`), "#/r"); err != nil || len(faults) != 0 {
		t.Errorf("chain: got %q, %v", faults, err)
	}
}

// Whatever a server calls a schema becomes one whose references lead somewhere.
func FuzzRewrite(f *testing.F) {
	for _, tool := range tools(f) {
		f.Add(bytes.Clone(tool))
		for name, schema := range mcp.Members(tool) {
			if name == "inputSchema" {
				f.Add(bytes.Clone(schema))
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		schema, err := mcp.ParseObject(data)
		if err != nil {
			return
		}
		out, _, err := rewrite(schema, "#/components/schemas/a")
		if err != nil {
			return
		}
		if _, err := mcp.ParseObject(bytes.Clone(out)); err != nil { // no name occurs twice
			t.Errorf("%s: %v", out, err)
		}
		checkReferences(t, fmt.Appendf(nil, `{"components":{"schemas":{"a":%s}}}`, out))
	})
}
