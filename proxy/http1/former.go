package http1

import (
	"context"
	"maps"
	"net/http"
	"strings"
)

// former is the head that a connection sent last. Most clients send the same again and
// again, but for the length of the body: then it is not read anew, which is a
// twentieth of what a small call costs.
type former struct {
	head     string
	from, to int           // where its Content-Length is; both 0 without one
	request  *http.Request // that it is, which nobody else has; nil until it comes again
}

var blank http.Request

// read returns the request of a head; nil if it is not for this server.
func (f *former) read(ctx context.Context, head []byte) *http.Request {
	if f.repeats(head) {
		return f.again(ctx, head)
	}
	r := blank.WithContext(ctx) // a copy
	text := string(head)
	if !parse(text, r) {
		return nil
	}
	*f = former{head: text}
	if length := r.Header["Content-Length"]; length != nil {
		f.from, f.to = find(text, "Content-Length", length[0])
	}
	return r
}

// find finds the value of a header that is there once.
func find(head, name, value string) (from, to int) {
	for line := range strings.Lines(head) {
		if len(line) > len(name) && strings.EqualFold(line[:len(name)], name) && line[len(name)] == ':' {
			from = to + strings.Index(line, value)
			return from, from + len(value)
		}
		to += len(line)
	}
	return 0, 0
}

// repeats reports whether a head is the last one, but for the digits of its length.
func (f *former) repeats(head []byte) bool {
	behind := len(f.head) - f.to
	digits := len(head) - behind - f.from
	if f.head == "" || digits < 0 || string(head[:f.from]) != f.head[:f.from] || string(head[len(head)-behind:]) != f.head[f.to:] {
		return false
	}
	if f.to == 0 {
		return digits == 0
	}
	_, ok := lengthOf(string(head[f.from : f.from+digits]))
	return ok
}

// again is read for a head that repeats the last one.
func (f *former) again(ctx context.Context, head []byte) *http.Request {
	if f.request == nil {
		f.request = new(http.Request)
		parse(f.head, f.request)
	}
	r := f.request.WithContext(ctx)
	r.Header = maps.Clone(f.request.Header) // whose values nobody changes in place
	if digits := head[f.from : len(head)-len(f.head)+f.to]; string(digits) != f.head[f.from:f.to] {
		told := string(digits)
		r.Header["Content-Length"] = []string{told}
		r.ContentLength, _ = lengthOf(told)
	}
	return r
}
