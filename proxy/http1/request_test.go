package http1

import (
	"bufio"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// heads are requests that are served here, and others that are not.
var heads = map[string]bool{
	"GET / HTTP/1.1\r\nHost: a\r\n": true,
	"POST /servers/a%20b/mcp?x=%2f HTTP/1.1\r\nHost: [::1]:80\r\nContent-Length: 12\r\nx-y:\t z \t\r\nX-Y: \xc3\xa4\r\nEmpty:\r\nConnection: Keep-Alive\r\n": true,
	"DELETE //x HTTP/1.1\r\nHost: a:1\r\nMCP-Session-Id: x\r\n":                   true,
	"OPTIONS /x HTTP/1.1\r\nHost: a\r\nOrigin: http://a\r\n":                      true,
	"GET / HTTP/1.0\r\nHost: a\r\n":                                               false,
	"GET / HTTP/1.1\r\n":                                                          false,
	"GET / HTTP/1.1\r\nHost:\r\n":                                                 false,
	"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n":                                    false,
	"GET / HTTP/1.1\r\nHost: a b\r\n":                                             false,
	"GET http://b/ HTTP/1.1\r\nHost: a\r\n":                                       false,
	"GET * HTTP/1.1\r\nHost: a\r\n":                                               false,
	"HEAD / HTTP/1.1\r\nHost: a\r\n":                                              false,
	"PUT / HTTP/1.1\r\nHost: a\r\n":                                               false,
	"GET / HTTP/1.1 \r\nHost: a\r\n":                                              false,
	"GET  / HTTP/1.1\r\nHost: a\r\n":                                              false,
	"GET /%zz HTTP/1.1\r\nHost: a\r\n":                                            false,
	"GET /\x7f HTTP/1.1\r\nHost: a\r\n":                                           false,
	"GET / HTTP/1.1\nHost: a\r\n":                                                 false,
	"GET / HTTP/1.1\r\nHost: a\nX: y\r\n":                                         false,
	"GET / HTTP/1.1\r\nHost: a\r\nX: y\rZ: a\r\n":                                 false,
	"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n":                                 false,
	"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n":                                      false,
	"GET / HTTP/1.1\r\nHost: a\r\n: y\r\n":                                        false,
	"GET / HTTP/1.1\r\nHost: a\r\nX\r\n":                                          false,
	"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n":                                    false,
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\ncontent-length: 1\r\n":    false,
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n":                        false,
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n":                      false,
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n":                        false,
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n":                           false,
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1234567890123456789\r\n":       false,
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n":                false,
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: x\r\n": false,
	"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n":                         false,
	"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n":                       false,
	"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n":                          false,
	"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, upgrade\r\n":            false,
	"GET / HTTP/1.1\r\nHost: a\r\nPragma: no-cache\r\n":                           false,
	"GET / HTTP/1.1\r\nHost: a\r\nTrailer: x\r\n":                                 false,
	"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", maxLines):        false,
}

func TestParse(t *testing.T) {
	t.Parallel()
	for head, want := range heads {
		if got := parse(head, new(http.Request)); got != want {
			t.Errorf("%q: got %v", head, got)
		}
	}
}

// isHead reports whether a head may be found so: it ends with a line and has no empty one.
func isHead(s string) bool {
	return strings.HasSuffix(s, "\r\n") && !strings.Contains(s, "\r\n\r\n") && !strings.HasPrefix(s, "\r\n")
}

// Whatever is served here, net/http understands in the same way.
func FuzzParse(f *testing.F) {
	for head := range heads {
		f.Add(head)
	}
	f.Fuzz(func(t *testing.T, head string) {
		if !isHead(head) {
			return
		}
		got := http.Request{Body: http.NoBody}
		if !parse(head, &got) {
			return
		}
		want, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head + "\r\n" + strings.Repeat("x", int(min(got.ContentLength, 1<<20))))))
		if err != nil {
			t.Fatalf("%q: net/http says %v", head, err)
		}
		if want.Close || want.TransferEncoding != nil || want.Trailer != nil {
			t.Errorf("%q: net/http says close %v, encoding %q, trailer %v", head, want.Close, want.TransferEncoding, want.Trailer)
		}
		for _, what := range []struct{ got, want any }{
			{got.Method, want.Method},
			{got.URL, want.URL},
			{got.RequestURI, want.RequestURI},
			{got.Proto, want.Proto},
			{[]int{got.ProtoMajor, got.ProtoMinor}, []int{want.ProtoMajor, want.ProtoMinor}},
			{got.Host, want.Host},
			{got.ContentLength, want.ContentLength},
			{got.Header, want.Header},
		} {
			if !reflect.DeepEqual(what.got, what.want) {
				t.Errorf("%q: got %v, net/http says %v", head, what.got, what.want)
			}
		}
	})
}
