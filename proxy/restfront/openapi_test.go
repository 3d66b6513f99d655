package restfront

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"mcpgateway/policy"
)

// document is what the tests read of one.
type document struct {
	Info    struct{ Description string }
	Servers []struct{ URL string }
	Paths   map[string]map[string]struct {
		OperationID string
		Summary     string
	}
	Components struct {
		Schemas map[string]json.RawMessage
	}
	Faults []struct{ Server, Tool, Detail string } `json:"x-mcpgateway-faults"`
}

func (g *gateway) document(query string) (d document, text string) {
	g.t.Helper()
	a := g.do(http.MethodGet, "/api/v1/openapi.json"+query, "")
	if err := json.Unmarshal([]byte(a.body), &d); err != nil || a.status != http.StatusOK {
		g.t.Fatalf("got status %d, %s (%v)", a.status, a.body, err)
	}
	return d, a.body
}

// Slow and dead servers delay nobody and are named; the rest is described.
func TestDocument(t *testing.T) {
	g := newGateway(t, func(p *policy.Policy) {
		short := p.Servers["silent"]
		short.Timeout = 50 * time.Millisecond
		p.Servers["silent"] = short
	}, "shop", "odd", "exit", "silent")
	d, text := g.document("")
	checkReferences(t, []byte(text))
	ids := map[string]bool{}
	for path, item := range d.Paths {
		for verb, operation := range item {
			if id := operation.OperationID; ids[id] || !regexp.MustCompile(`^[A-Za-z0-9_-]+$`).MatchString(id) || operation.Summary == "" {
				t.Errorf("%s %s: got the operation %+v", verb, path, operation)
			}
			ids[operation.OperationID] = true
		}
	}
	for _, path := range []string{"/servers", "/servers/shop/tools/add", "/servers/odd/tools/z%20last", "/servers/odd/tools/we%2Fird%20%7Bx%7D%20%2541%20%C3%BC%3F%23"} {
		if d.Paths[path] == nil {
			t.Errorf("path %s is missing", path)
		}
	}
	faults := map[string]string{}
	for _, f := range d.Faults {
		faults[f.Server+" "+f.Tool] += f.Detail + "\n"
	}
	for of, want := range map[string]string{
		"exit ": "exited with status 7", "silent ": "within 50ms", "odd missing": "missing", "odd not an object": "no object", "odd twice": "twice",
		"odd ..": "no path", "odd ": "no path", "odd wrong": "#: type is not", "odd elsewhere": "http://127.0.0.1:1/z.json", "odd loops": "leads nowhere",
	} {
		if !strings.Contains(faults[of], want) {
			t.Errorf("fault of %s: got %q, want %q", of, faults[of], want)
		}
		delete(faults, of)
	}
	if len(faults) > 0 {
		t.Errorf("got further faults: %q", faults)
	}
	if !strings.Contains(d.Info.Description, "exited with status 7") || !strings.Contains(d.Info.Description, "silent") {
		t.Errorf("got %s", d.Info.Description)
	}
	if got := string(d.Components.Schemas["shop__add.input"]); !strings.Contains(got, `"A":{"type":"integer"}`) || !strings.Contains(got, `"additionalProperties":false`) {
		t.Errorf("got %s", got)
	}
	// The path of a document, behind the address of its server, leads to the tool.
	u, err := url.Parse(d.Servers[0].URL + "/servers/odd/tools/we%2Fird%20%7Bx%7D%20%2541%20%C3%BC%3F%23")
	if err != nil {
		t.Fatal(err)
	}
	if target, _, problem := parsePath(u.EscapedPath()); problem != nil || target.name != "we/ird {x} %41 ü?#" {
		t.Errorf("got %+v, %+v", target, problem)
	}
}

func TestDocumentOfOneServer(t *testing.T) {
	g := newGateway(t, nil, "shop", "exit")
	d, text := g.document("?server=shop")
	if _, again := g.document("?server=shop"); again != text {
		t.Errorf("got another document the second time:\n%s\n%s", text, again)
	}
	if len(d.Faults) != 0 || d.Paths["/servers/shop/tools/add"] == nil || strings.Contains(text, `"exit"`) {
		t.Errorf("got %s", text)
	}
	g.problem(g.do(http.MethodGet, "/api/v1/openapi.json?server=none", ""), http.StatusNotFound, unknownScope)
	if got := g.opener.Opened(); len(got) != 1 {
		t.Errorf("got sandboxes %v, want one", got)
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
