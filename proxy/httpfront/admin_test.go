package httpfront

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestReadiness(t *testing.T) {
	t.Parallel()
	starting := errors.New("eager servers are starting")
	servers := map[string]error{
		"files": nil,
		"git":   errors.New("it ended \x1b[31m3 times\nin a row " + strings.Repeat("é", 300)),
	}
	crowd := make([]string, maxListed+7)
	for i := range crowd {
		crowd[i] = fmt.Sprintf("s%d", i)
	}
	git := "it ended  [31m3 times in a row " + strings.Repeat("é", (maxReason-31)/2) + "…"
	tests := []struct {
		name, path, accept string
		gateway            error
		names              []string
		status             int
		want               string
	}{
		{"alive", "/healthz", "", starting, nil, 200, "ok\n"},
		{"alive as JSON", "/healthz", "application/json", starting, nil, 200, `{"ready":true}` + "\n"},
		{"ready", "/readyz", "", nil, nil, 200, "ready\n"},
		{"not ready", "/readyz", "*/*", starting, nil, 503, "eager servers are starting\n"},
		{"as JSON", "/readyz", "text/plain, application/json", starting, nil, 503, `{"ready":false,"reason":"eager servers are starting"}` + "\n"},
		{"verbose", "/readyz?verbose", "", nil, []string{"files", "git"}, 200, "[+]gateway ok\n[+]server/files ok\n[-]server/git failed: " + git + "\nreadyz check passed\n"},
		{"verbose and not ready", "/readyz?verbose=1", "", starting, []string{"files", "gone"}, 503, "[-]gateway failed: eager servers are starting\n[+]server/files ok\nreadyz check failed\n"},
		{"verbose as JSON", "/readyz?verbose", "application/json", nil, []string{"files"}, 200, `{"ready":true,"servers":[{"name":"files","ready":true}]}` + "\n"},
		{"bounded", "/readyz?verbose", "", nil, crowd, 200, "[+]gateway ok\nand 7 servers more\nreadyz check passed\n"},
		{"a server", "/readyz/files", "", starting, nil, 200, "ready\n"},
		{"a server that is not", "/readyz/git", "", nil, nil, 503, git + "\n"},
		{"a server as JSON", "/readyz/files", "application/json", nil, nil, 200, `{"name":"files","ready":true}` + "\n"},
		{"no server", "/readyz/%1b%5bother" + strings.Repeat("x", 90), "", nil, nil, 404, `no server is named "\x1b[other` + strings.Repeat("x", 57) + "\"\n"},
		{"no server as JSON", "/readyz/other", "application/json", nil, nil, 404, `{"ready":false,"reason":"no server is named \"other\""}` + "\n"},
		{"nothing else", "/servers", "", nil, nil, 404, "404 page not found\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			handler := newAdmin(Readiness{
				Gateway: func() error { return test.gateway },
				Servers: func() []string { return test.names },
				Server:  func(name string) (error, bool) { why, known := servers[name]; return why, known },
			}, http.NotFoundHandler())
			r := httptest.NewRequest(http.MethodGet, test.path, nil)
			r.Header.Set("Accept", test.accept)
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if got := w.Body.String(); w.Code != test.status || got != test.want {
				t.Errorf("got %d %q, want %d %q", w.Code, got, test.status, test.want)
			}
		})
	}
}
