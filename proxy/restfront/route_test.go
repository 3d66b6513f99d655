package restfront

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func FuzzPath(f *testing.F) {
	for _, path := range []string{"servers/a/tools/b%2Fc", "projects/p/resources/read", "openapi.json", "tools/%", "servers//tools", "prompts/%2e%2e"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		target, found, problem := parsePath(Prefix + path)
		if (problem == nil) != (found.serve != nil) || problem == nil && (strings.HasSuffix(path, "/") || strings.Contains(path, "//")) {
			t.Errorf("%q: got %+v, %+v and %+v", path, target, found, problem)
		}
		if problem == nil && target.scope.Server != "" {
			// What is said of a scope leads back to it.
			back, _, problem := parsePath(strings.TrimSuffix(address(target.scope), "/"))
			if problem != nil || back.scope != target.scope {
				t.Errorf("%q: got %+v, %+v", path, back, problem)
			}
		}
		if p := badRequest("%s", path); !json.Valid(p.json(request(path))) {
			t.Errorf("%q: got %s", path, p.json(request(path)))
		}
	})
}

func request(path string) *http.Request { return &http.Request{URL: &url.URL{Path: path}} }
