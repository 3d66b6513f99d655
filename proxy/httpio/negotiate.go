// Package httpio is what the fronts that speak HTTP share: which media types a
// request names, answers to clients that may read slowly, and connections that defer
// their deadlines. It knows nothing of MCP and decides nothing.
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

// JSON is the value of the header Content-Type of most answers. It must not be changed.
var JSON = []string{TypeJSON}

// Wishes are what a client of Streamable HTTP says of the answer to a message.
type Wishes struct {
	JSON, Events bool // that it accepts them
	EventsFirst  bool // that it prefers a stream of events; it must take both, and most name JSON first
}

// WishesOf reads an Accept header.
func WishesOf(h http.Header) Wishes {
	if values := h["Accept"]; len(values) == 1 && values[0] == TypeJSON+", "+TypeEvents {
		return Wishes{JSON: true, Events: true} // as most say it
	}
	return Wishes{Accepts(h, TypeJSON), Accepts(h, TypeEvents), Prefers(h, TypeEvents, TypeJSON)}
}

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
	for _, value := range h["Accept"] {
		for more := true; more; place++ {
			var item string
			item, value, more = strings.Cut(value, ",")
			name, params, _ := strings.Cut(item, ";")
			if name = strings.TrimSpace(name); len(name) != len(mediaType) || !strings.EqualFold(name, mediaType) {
				continue
			}
			if w := weightOf(params); w > weight {
				weight, at = w, place
			}
		}
	}
	return weight, at
}

// weightOf reads q, which is 1 if it is not there, or not to be read.
func weightOf(params string) float64 {
	if params == "" {
		return 1
	}
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
	if values := h["Content-Type"]; len(values) > 0 && values[0] == TypeJSON {
		return true // as most say it
	}
	name, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	charset, named := params["charset"]
	return err == nil && name == TypeJSON && (!named || strings.EqualFold(charset, "utf-8"))
}
