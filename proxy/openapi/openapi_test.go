package openapi

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"mcpgateway/proxy/mcp"
)

// tools are those of testdata/odd.json, which no reader of OpenAPI could take as
// they are.
func tools(t testing.TB) (list [][]byte) {
	t.Helper()
	text, err := os.ReadFile("testdata/odd.json")
	if err == nil {
		text, err = mcp.ParseObject(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range mcp.Members(text) {
		for tool := range mcp.Elements(value) {
			list = append(list, tool)
		}
	}
	return list
}

// document is what the tests read of one.
type document struct {
	Info  struct{ Description string }
	Paths map[string]map[string]struct {
		OperationID, Summary string
	}
	Components struct {
		Schemas map[string]json.RawMessage
	}
	Faults []struct{ Server, Tool, Detail string } `json:"x-mcpgateway-faults"`
}

func (d *Document) read(t *testing.T) (read document, text []byte) {
	t.Helper()
	text, err := d.JSON()
	if err == nil {
		err = json.Unmarshal(text, &read)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return read, text
}

func TestOddTools(t *testing.T) {
	t.Parallel()
	d := New("test", []string{"odd", "dead", "odd_"})
	d.Add("odd", tools(t))
	d.Add("odd_", tools(t))
	d.Missing("dead", "it is dead")
	got, text := d.read(t)
	checkReferences(t, text)
	ids := map[string]bool{}
	for path, item := range got.Paths {
		for verb, operation := range item {
			if id := operation.OperationID; ids[id] || !regexp.MustCompile(`^[A-Za-z0-9_-]+$`).MatchString(id) || operation.Summary == "" {
				t.Errorf("%s %s: got the operation %+v", verb, path, operation)
			}
			ids[operation.OperationID] = true
		}
	}
	for _, path := range []string{"/servers", "/servers/odd/tools/z%20last", "/servers/odd/tools/we%2Fird%20%7Bx%7D%20%2541%20%C3%BC%3F%23"} {
		if got.Paths[path] == nil {
			t.Errorf("path %s is missing", path)
		}
	}
	faults := map[string]string{}
	for _, f := range got.Faults {
		faults[f.Server+" "+f.Tool] += f.Detail + "\n"
	}
	for of, want := range map[string]string{
		"dead ": "it is dead", "odd missing": "missing", "odd not an object": "no object", "odd twice": "twice", "odd ..": "no path",
		"odd ": "no path", "odd wrong": "#: type is not", "odd elsewhere": "http://127.0.0.1:1/z.json", "odd loops": "leads nowhere",
	} {
		if !strings.Contains(faults[of], want) {
			t.Errorf("fault of %q: got %q, want %q", of, faults[of], want)
		}
		delete(faults, of)
	}
	for of := range faults {
		if !strings.HasPrefix(of, "odd_ ") {
			t.Errorf("got a fault of %q: %s", of, faults[of])
		}
	}
	if !strings.Contains(got.Info.Description, "the tools of dead (it is dead)") || strings.Contains(got.Info.Description, "odd") {
		t.Errorf("got %s", got.Info.Description)
	}
	if got := string(got.Components.Schemas["odd__missing.input"]); got != `{"type":"object"}` {
		t.Errorf("a missing schema became %s", got)
	}
}

// A server can't fill the document with what is wrong with it.
func TestFaultsAreBounded(t *testing.T) {
	t.Parallel()
	var many [][]byte
	for i := range 1000 {
		many = append(many, fmt.Appendf(nil, `{"name":"%d"}`, i))
	}
	d := New("test", []string{"a", "b"})
	d.Add("a", many)
	d.Missing("b", strings.Repeat("x", 1<<20))
	got, _ := d.read(t)
	if n := len(got.Faults); n != maxFaultsTold+2 || got.Faults[n-1].Server != "b" || len(got.Faults[n-1].Detail) > maxFaultDetail || len(got.Info.Description) > 1000 {
		t.Errorf("got %d faults, the last %.1000v", n, got.Faults[n-1])
	}
}

// Names that are alike, or made to be, are told apart.
func TestIdentifiers(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, pair := range [][2]string{
		{"a", "b"}, {"a", "b__c"}, {"a__b", "c"}, {"a_", "b"}, {"a", "_b"}, {"a", "b c"}, {"a", "b_c"}, {"a", "b/c"}, {"a", ""},
		{"a", strings.Repeat("x", 200)}, {"a", strings.Repeat("x", 201)},
	} {
		id := identifier(pair[0], pair[1])
		if before, twice := seen[id]; twice || len(id) > 140 || strings.IndexFunc(id, isOdd) >= 0 {
			t.Errorf("%q: got %q, as for %q", pair, id, before)
		}
		seen[id] = fmt.Sprint(pair)
	}
	if id := identifier("files", "read_file"); id != "files__read_file" {
		t.Errorf("got %s", id)
	}
	// The name of one tool is the identifier of another.
	d := New("test", []string{"a"})
	d.Add("a", [][]byte{[]byte(`{"name":"x y","inputSchema":{}}`), []byte(`{"name":"` + strings.TrimPrefix(identifier("a", "x y"), "a__") + `","inputSchema":{}}`)})
	if got, _ := d.read(t); len(got.Faults) != 1 || !strings.Contains(got.Faults[0].Detail, "twice") {
		t.Errorf("got faults %v", got.Faults)
	}
}

// checkReferences wants every reference of a document to lead to something in it.
func checkReferences(t *testing.T, text []byte) {
	t.Helper()
	var root any
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	var walk func(any)
	walk = func(value any) {
		switch value := value.(type) {
		case []any:
			for _, element := range value {
				walk(element)
			}
		case map[string]any:
			if ref, ok := value["$ref"]; ok {
				if to, isText := ref.(string); !isText || !leads(root, to) {
					t.Errorf("the reference %v leads nowhere", ref)
				}
			}
			for _, member := range value {
				walk(member)
			}
		}
	}
	walk(root)
}

// leads follows a reference as RFC 6901, section 6, says.
func leads(root any, to string) bool {
	fragment, ok := strings.CutPrefix(to, "#/")
	if !ok {
		return false
	}
	for token := range strings.SplitSeq(fragment, "/") {
		token, err := url.PathUnescape(token)
		if err != nil {
			return false
		}
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		switch value := root.(type) {
		case map[string]any:
			if root, ok = value[token]; !ok {
				return false
			}
		case []any:
			var i int
			if json.Unmarshal([]byte(token), &i) != nil || i < 0 || i >= len(value) {
				return false
			}
			root = value[i]
		default:
			return false
		}
	}
	return true
}

// Schemas that grow when their references are written out can't make a document that
// nobody can hold.
func TestSchemasOfAServerAreBounded(t *testing.T) {
	t.Parallel()
	deep := `{"$anchor":"a","type":"object"}`
	for range maxSchemaDepth - 4 {
		deep = `{"properties":{"` + strings.Repeat("n", 1000) + `":` + deep + `}}`
	}
	refs := strings.Repeat(`{"$ref":"#a"},`, 50)
	schema := `{"type":"object","allOf":[` + refs + deep + `]}`
	var tools [][]byte
	for i := range 16 {
		tools = append(tools, fmt.Appendf(nil, `{"name":"t%d","inputSchema":%s}`, i, schema))
	}
	d := New("test", []string{"a", "b"})
	d.Add("a", tools)
	d.Add("b", [][]byte{[]byte(`{"name":"t","inputSchema":{"type":"object","title":"mine"}}`)})
	size := 0
	for _, schema := range d.Components.Schemas {
		size += len(schema)
	}
	if size < maxSchemasBytes/2 || size > 2*maxSchemasBytes || len(d.Faults) == 0 {
		t.Errorf("got %d bytes, %d faults", size, len(d.Faults))
	}
	if got := string(d.Components.Schemas["b__t.input"]); !strings.Contains(got, "mine") {
		t.Errorf("got %s of another server", got)
	}
}
