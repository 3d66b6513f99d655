package catalog

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"mcpgateway/proxy/mcp"
)

func withResources(uris []string, patterns ...string) *fake {
	return &fake{answers: map[string]string{
		mcp.MethodResourcesList: listOf(resources, uris...),
		mcp.MethodTemplatesList: listOf(templates, patterns...),
		mcp.MethodResourcesRead: `{"contents":[]}`,
	}}
}

func TestReadGoesToItsServer(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, uri, want string }{
		{"listed", "file:///b", "b"},
		{"listed twice", "file:///both", "a"},
		{"listed before a template", "note:///b/listed", "b"},
		{"template", "note:///x", "a"},
		{"later template", "note:///x/y", "c"},
		{"scheme", "file:///other", "a"},
		{"scheme in capitals", "FILE:///other", "a"},
		{"scheme of a template", "note:x", "a"},
		{"nothing", "other:x", ""},
		{"no scheme", "x", ""},
		{"colon in a path", "odd/scheme:y", ""},
		{"empty", "", ""},
		{"long", "file:///" + strings.Repeat("x", maxURI), ""},
	}
	servers := map[string]*fake{
		"a": withResources([]string{"file:///both", "plain", "odd/scheme:x"}, "note:///{id}"),
		"b": withResources([]string{"file:///both", "file:///b", "note:///b/listed"}),
		"c": withResources(nil, "note:///{+path}"),
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := unhurriedCatalog(servers)
			for range 2 { // without and with what is remembered
				before := map[string]int{}
				for name, f := range servers {
					before[name] = f.calls(mcp.MethodResourcesRead)
				}
				params := fmt.Sprintf(`{"uri":%q,"_meta":{}}`, test.uri)
				response := answerOf(t, c, request(mcp.MethodResourcesRead, params))
				got := ""
				for name, f := range servers {
					if f.calls(mcp.MethodResourcesRead) > before[name] {
						got += name
						if sent := string(f.last().request.Params()); sent != params {
							t.Errorf("the server got %s, want %s", sent, params)
						}
					}
				}
				if got != test.want || (test.want == "") != (response.Err() != nil) {
					t.Errorf("got %q, %s, want %q", got, response.Raw(), test.want)
				}
			}
		})
	}
}

func TestReadOfNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := withResources([]string{"x:1"})
		c := newCatalog(t, map[string]*fake{"a": a})
		read := func(uri string) mcp.Message {
			return answerOf(t, c, request(mcp.MethodResourcesRead, fmt.Sprintf(`{"uri":%q}`, uri)))
		}
		response := read("y:1")
		if got := string(response.At(response.InError("data"))); got != `{"uri":"y:1"}` {
			t.Errorf("got data %s", got)
		}
		a.answers[mcp.MethodResourcesList] = listOf(resources, "x:1", "y:1")
		later(c.lists.recheck)
		if response := read("y:1"); response.Err() != nil {
			t.Errorf("got %s of a resource that is new", response.Err())
		}
		asked := a.calls(mcp.MethodResourcesList)
		later(c.lists.recheck)
		read("x:1")
		if got := a.calls(mcp.MethodResourcesList); got != asked {
			t.Errorf("got %d requests for lists, want those before: %d", got, asked)
		}
		a.fail = errDead
		c.lists.Forget("key:a", "a")
		if got, want := errorOf(read("z:1")), `-32603 resource not found: z:1, or it is on server "a": `+errDead.Error(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

func TestMatches(t *testing.T) {
	t.Parallel()
	tests := []struct {
		template, uri string
		want          bool
	}{
		{"file:///{path}", "file:///a.txt", true},
		{"file:///{path}", "file:///a/b", false},
		{"file:///{path}", "file:///", true},
		{"file:///{+path}", "file:///a/b?c", true},
		{"file://{/path*}", "file:///a/b", true},
		{"x:{a}/{b}", "x:1/2", true},
		{"x:{a}/{b}", "x:1/2/3", false},
		{"x:{a}/{b}.txt", "x:1/2.txt.txt", true},
		{"x:{a}{b}c", "x:abcc", true},
		{"x:{a}{b}c", "x:abcd", false},
		{"x:{a}?q={b}", "x:1?q=2", true},
		{"x:{a}?q={b}", "x:1", false},
		{"x:{a}{?q,r}", "x:1?q=2&r=3", true},
		{"x:{a}#{b}", "x:1#2", true},
		{"x:a", "x:a", true},
		{"x:a", "x:ab", false},
		{"x:{a", "x:b", true},
		{"x:{}b", "x:ab", true},
		{"{a}", "x:é", true},
		{"{a}é", "x:é", true},
		{"{a}", "", true},
		{"", "", true},
		{strings.Repeat("x", maxURI+1), strings.Repeat("x", maxURI+1), false},
		{strings.Repeat("{+a}", maxExpressions), "x", true},
		{strings.Repeat("{+a}", maxExpressions+1), "x", false},
	}
	for _, test := range tests {
		if got := matches(test.template, test.uri); got != test.want {
			t.Errorf("%s, %s: got %v, want %v", test.template, test.uri, got, test.want)
		}
	}
}

func TestMatchingIsBounded(t *testing.T) {
	t.Parallel()
	s := stock{templates: &listing{items: make([]item, maxTemplates+1)}}
	s.templates.items[maxTemplates-1].key, s.templates.items[maxTemplates].key = "x:{a}", "y:{a}"
	if !s.hasTemplate("x:1") || s.hasTemplate("y:1") {
		t.Errorf("got not %d templates tried", maxTemplates)
	}
}

// What a template expands to must match it.
func FuzzTemplate(f *testing.F) {
	f.Add("x:{a}/{+b}", "1", "2/3")
	f.Add("{a}{", "}", "")
	f.Fuzz(func(t *testing.T, template, simple, reserved string) {
		matches(template, simple)
		if len(template) > maxURI || strings.Count(template, "{") > maxExpressions || strings.ContainsAny(simple, "/?#") {
			return
		}
		uri := ""
		for rest := template; rest != ""; {
			literal, after, found := strings.Cut(rest, "{")
			uri += literal
			if !found {
				break
			}
			expression, after, _ := strings.Cut(after, "}")
			if expression != "" && strings.Contains("+#./;?&", expression[:1]) {
				uri += reserved
			} else {
				uri += simple
			}
			rest = after
		}
		if !matches(template, uri) {
			t.Errorf("%q does not match %q", template, uri)
		}
	})
}
