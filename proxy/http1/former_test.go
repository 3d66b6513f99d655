package http1

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
)

const former1 = "POST /servers/a/mcp HTTP/1.1\r\nHost: a\r\ncontent-length:  12 \r\nX-Y: 12\r\n"

// unlike are heads that come behind former1.
var unlike = []string{
	former1,
	strings.Replace(former1, " 12 ", " 7 ", 1),
	strings.Replace(former1, " 12 ", " 123456 ", 1),
	strings.Replace(former1, " 12 ", "  ", 1),
	strings.Replace(former1, " 12 ", " 1 2 ", 1),
	strings.Replace(former1, " 12 ", " -1 ", 1),
	strings.Replace(former1, " 12 ", " 1234567890123456789 ", 1),
	strings.Replace(former1, " 12 ", " 12\r\nX-Z: 1 ", 1),
	strings.Replace(former1, " 12 ", " 1\r\nContent-Length: 2 ", 1),
	strings.Replace(former1, "X-Y: 12", "X-Y: 13", 1),
	strings.Replace(former1, "/a/", "/b/", 1),
	"12" + former1,
	former1 + "X-Z: 1\r\n",
	former1[:len(former1)-len("X-Y: 12\r\n")],
	"GET / HTTP/1.1\r\nHost: a\r\n",
	"",
}

// TestFormer: a request is what its own head says, whatever came before it.
func TestFormer(t *testing.T) {
	t.Parallel()
	for first := range heads {
		for _, second := range append([]string{first, "12" + first, first + "X: 12\r\n"}, unlike...) {
			sameAsAlone(t, first, second)
		}
	}
	for _, second := range unlike {
		sameAsAlone(t, former1, second)
	}
}

// TestFormerIsUsed: a head that comes again is not read again.
func TestFormerIsUsed(t *testing.T) {
	t.Parallel()
	var f former
	head := func(i int) []byte { return []byte(unlike[i]) }
	f.read(t.Context(), head(0))
	for i := range 3 {
		if !f.repeats(head(i)) {
			t.Errorf("%q: not known as the one before", unlike[i])
		}
	}
	f.read(t.Context(), head(1))
	before := f.request
	if f.read(t.Context(), head(2)); before == nil || f.request != before {
		t.Error("it was read again")
	}
}

func FuzzFormer(f *testing.F) {
	for _, second := range unlike {
		f.Add(former1, second)
	}
	for head := range heads {
		f.Add(head, head)
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		if isHead(first) && isHead(second) {
			sameAsAlone(t, first, second)
		}
	})
}

// sameAsAlone reads one head after another, once and once more, and again by itself.
func sameAsAlone(t *testing.T, first, second string) {
	t.Helper()
	var f, none former
	want := none.read(t.Context(), []byte(second))
	if r := f.read(t.Context(), []byte(first)); r != nil {
		spoil(r)
	}
	for range 3 {
		got := f.read(t.Context(), []byte(second))
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q after %q: got %+v, want %+v", second, first, got, want)
		}
		if got != nil {
			spoil(got)
			want = none.read(t.Context(), []byte(second))
		}
	}
}

// spoil does to a request what whoever has it may do.
func spoil(r *http.Request) {
	clear(r.Header)
	r.Header.Set("Content-Length", "1")
	r.Method, r.Host, r.ContentLength, r.URL = "", "", 0, nil
}
