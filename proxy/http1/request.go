package http1

import (
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
)

// parse reads the head of a request, up to the empty line at its end, and what it says
// of its body's length; 0 if it has none. It knows requests as clients send them most:
// HTTP/1.1 to a path, with a Host, a body whose length is told, and nothing that changes
// what the connection is. ok is false for all others, be they rare or wrong, and for
// whatever two readers could understand in two ways (RFC 9112, section 11.2): to judge
// those is net/http's.
func parse(head string, r *http.Request) (ok bool) {
	line, rest, _ := strings.Cut(head, "\r\n")
	method, line, _ := strings.Cut(line, " ")
	target, version, _ := strings.Cut(line, " ")
	if !methods[method] || version != "HTTP/1.1" || !plain(target, &inTarget) || target == "" || target[0] != '/' {
		return false
	}
	var err error
	if r.URL, err = url.ParseRequestURI(target); err != nil {
		return false
	}
	r.Method, r.RequestURI = method, target
	r.Proto, r.ProtoMajor, r.ProtoMinor = version, 1, 1
	lines := strings.Count(rest, "\n")
	if lines > maxLines {
		return false
	}
	r.Header = make(http.Header, lines)
	values := make([]string, lines) // of all headers
	for rest != "" {
		line, rest, _ = strings.Cut(rest, "\r\n")
		name, value, found := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		if !found || name == "" || !plain(name, &inName) || !plain(value, &inValue) {
			return false
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		if known := headers[name]; known != nil && !known(r, value) {
			return false
		}
		switch before, again := r.Header[name]; {
		case again:
			r.Header[name] = append(before, value)
		default:
			values[0] = value
			r.Header[name], values = values[:1:1], values[1:]
		}
	}
	if r.Host == "" {
		return false
	}
	delete(r.Header, "Host") // as net/http does
	return true
}

// maxLines bounds the headers of a request.
const maxLines = 64

var methods = map[string]bool{http.MethodPost: true, http.MethodGet: true, http.MethodDelete: true, http.MethodOptions: true}

// headers are those that mean something here: what takes them reports whether they leave
// the request as it should be.
var headers = map[string]func(*http.Request, string) bool{
	"Host": func(r *http.Request, value string) bool {
		first := r.Host == ""
		r.Host = value
		return first && plain(value, &inHost)
	},
	"Content-Length": func(r *http.Request, value string) (ok bool) {
		r.ContentLength, ok = lengthOf(value)
		return ok && r.Header["Content-Length"] == nil
	},
	"Connection":        func(_ *http.Request, value string) bool { return strings.EqualFold(value, "keep-alive") },
	"Expect":            never,
	"Pragma":            never, // net/http makes Cache-Control of it
	"Trailer":           never,
	"Transfer-Encoding": never,
	"Upgrade":           never,
}

// lengthOf is what a Content-Length says.
func lengthOf(digits string) (n int64, ok bool) {
	if digits == "" || len(digits) > maxDigits {
		return 0, false
	}
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// maxDigits are as many as an int64 has room for whatever they are.
const maxDigits = 18

func never(*http.Request, string) bool { return false }

// class are the bytes that something may have.
type class [256]bool

var (
	inName   = classOf("!#$%&'*+-.^_`|~", alphanumeric)
	inHost   = classOf(".-_:[]", alphanumeric)
	inTarget = visible()
	inValue  = valueBytes()
)

const alphanumeric = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

func classOf(texts ...string) (c class) {
	for _, text := range texts {
		for _, b := range []byte(text) {
			c[b] = true
		}
	}
	return c
}

func visible() (c class) {
	for b := '!'; b <= '~'; b++ {
		c[b] = true
	}
	return c
}

// valueBytes are those of RFC 9110, section 5.5.
func valueBytes() class {
	c := visible()
	c[' '], c['\t'] = true, true
	for b := 0x80; b <= 0xff; b++ {
		c[b] = true
	}
	return c
}

// plain reports whether all bytes of a text are of a class.
func plain(s string, of *class) bool {
	for i := range len(s) {
		if !of[s[i]] {
			return false
		}
	}
	return true
}
