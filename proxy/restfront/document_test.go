package restfront

import (
	"encoding/json"
	"net/http"
	"net/url"
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
	d, _ := g.document("")
	faults := map[string]string{}
	for _, f := range d.Faults {
		faults[f.Server+" "+f.Tool] += f.Detail + "\n"
	}
	for of, want := range map[string]string{
		"exit ": "exited with status 7", "silent ": "within 50ms", "odd missing": "missing",
	} {
		if !strings.Contains(faults[of], want) {
			t.Errorf("fault of %s: got %q, want %q", of, faults[of], want)
		}
	}
	for _, path := range []string{"/servers", "/servers/shop/tools/add", "/servers/odd/tools/missing"} {
		if d.Paths[path] == nil {
			t.Errorf("path %s is missing", path)
		}
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

// However long a server may take by itself, the document waits no longer than it
// says.
func TestDocumentDoesNotWait(t *testing.T) {
	g := newGateway(t, nil, "echo", "silent", "deaf")
	g.waits = waits{list: 2 * time.Second, quiet: time.Minute}
	g.do(http.MethodGet, "/api/v1/servers/echo/tools", "") // it runs already
	d, text := g.document("")
	if len(d.Faults) != 2 || d.Paths["/servers/echo/tools/echo"] == nil {
		t.Errorf("got %s", text)
	}
	for _, f := range d.Faults {
		if !strings.Contains(f.Detail, "did not list its tools within 2s") {
			t.Errorf("got %+v", f)
		}
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
