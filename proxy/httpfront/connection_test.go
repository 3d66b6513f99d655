package httpfront

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What was found out for one request is good for another only if all that it depends on
// is the same.
func TestPlaceIsFoundAnewForAnotherAddress(t *testing.T) {
	t.Parallel()
	request := func(host, path string) *http.Request {
		r := httptest.NewRequest(http.MethodPost, path, nil)
		r.Host = host
		return r
	}
	first := request("localhost", "/servers/a/mcp")
	c := connectionOf(first)
	usual := c.find(first, "")
	c.remember(usual)
	if got := c.find(request("localhost", "/servers/a/mcp"), ""); got != usual {
		t.Errorf("got %+v for the same address, want what was found before", got)
	}
	for _, tt := range []struct {
		host, path, publicURL string
		want                  place
	}{
		{"evil.example", "/servers/a/mcp", "", place{ours: false, resource: "http://evil.example/servers/a/mcp"}},
		{"localhost", "/servers/b/mcp", "", place{ours: true, resource: "http://localhost/servers/b/mcp"}},
		{"localhost", "/servers/a/mcp", "https://gw.example/", place{ours: true, resource: "https://gw.example/servers/a/mcp"}},
	} {
		got := c.find(request(tt.host, tt.path), tt.publicURL)
		if got.ours != tt.want.ours || got.resource != tt.want.resource || got.at != route(tt.path) {
			t.Errorf("%+v: got %+v", tt, got)
		}
	}
	long := c.find(request("localhost", "/servers/"+strings.Repeat("x", maxPlace)), "")
	if c.remember(long); c.last.Load() != usual {
		t.Error("a long address is remembered")
	}
}

// Who has come in by one address and then asks by another on the same connection is
// judged by that.
func TestConnectionIsNoPassport(t *testing.T) {
	g := newGateway(t, nil)
	for range 2 {
		if got := g.do("POST", "echo", initializeBody, "Authorization: Bearer "+g.other); got.status != http.StatusOK {
			t.Errorf("got %+v", got)
		}
		if got := g.do("POST", "echo", initializeBody, "Authorization: Bearer "+g.other, "Host: evil.example"); got.status != http.StatusForbidden {
			t.Errorf("another host: got %+v", got)
		}
		if got := g.do("POST", "modern", initializeBody, "Authorization: Bearer "+g.other); got.status != http.StatusNotFound {
			t.Errorf("another server: got %+v", got)
		}
		if got := g.do("POST", "echo", initializeBody, "Authorization: Bearer nonsense"); got.status != http.StatusUnauthorized {
			t.Errorf("another key: got %+v", got)
		}
	}
}
