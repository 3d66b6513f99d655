// Package httpio is what the fronts that speak HTTP share: which media types a
// request names, and answers to clients that may read slowly. It knows nothing of
// MCP and decides nothing.
//
// Runs in: proxy.
package httpio

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// The media types of the transports.
const (
	TypeJSON   = "application/json"
	TypeEvents = "text/event-stream"
)

// Accepts reports whether an Accept header lists a media type (RFC 9110, section
// 12.5.1), be it by a wildcard. A request without the header accepts nothing.
func Accepts(h http.Header, mediaType string) bool {
	major, _, _ := strings.Cut(mediaType, "/")
	return Names(h, mediaType) || Names(h, "*/*") || Names(h, major+"/*")
}

// Names reports whether an Accept header has an entry for a media type or range,
// literally.
func Names(h http.Header, mediaType string) bool {
	weight, _ := entry(h, mediaType)
	return weight > 0
}

// Prefers reports whether an Accept header names a media type with more weight than
// another, or, with the same weight, before it.
func Prefers(h http.Header, mediaType, other string) bool {
	weight, at := entry(h, mediaType)
	against, place := entry(h, other)
	return weight > against || weight == against && at < place
}

// entry finds the weightiest entry for a media type, the first of them; its weight
// is 0 if there is none.
func entry(h http.Header, mediaType string) (weight float64, at int) {
	place := 0
	for _, value := range h.Values("Accept") {
		for item := range strings.SplitSeq(value, ",") {
			name, params, _ := strings.Cut(item, ";")
			if w := weightOf(params); strings.EqualFold(strings.TrimSpace(name), mediaType) && w > weight {
				weight, at = w, place
			}
			place++
		}
	}
	return weight, at
}

// weightOf reads q, which is 1 if it is not there, or not to be read.
func weightOf(params string) float64 {
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		if !strings.EqualFold(name, "q") {
			continue
		}
		if weight, err := strconv.ParseFloat(value, 64); err == nil && weight >= 0 && weight < 1 {
			return weight
		}
	}
	return 1
}

// IsJSON reports whether the request says that its body is JSON.
func IsJSON(h http.Header) bool {
	name, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	charset, named := params["charset"]
	return err == nil && name == TypeJSON && (!named || strings.EqualFold(charset, "utf-8"))
}
