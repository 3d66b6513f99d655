// Package httpio is what the fronts that speak HTTP share: which media types a
// request names, and answers to clients that may read slowly. It knows nothing of
// MCP and decides nothing.
//
// Runs in: proxy.
package httpio

import (
	"mime"
	"net/http"
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
	for _, value := range h.Values("Accept") {
		for item := range strings.SplitSeq(value, ",") {
			name, params, _ := strings.Cut(item, ";")
			if strings.EqualFold(strings.TrimSpace(name), mediaType) && !refusedByQuality(params) {
				return true
			}
		}
	}
	return false
}

// refusedByQuality reports whether the parameters say q=0, "not acceptable".
func refusedByQuality(params string) bool {
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		if strings.EqualFold(name, "q") && strings.Trim(value, "0.") == "" {
			return true
		}
	}
	return false
}

// IsJSON reports whether the request says that its body is JSON.
func IsJSON(h http.Header) bool {
	name, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	charset, named := params["charset"]
	return err == nil && name == TypeJSON && (!named || strings.EqualFold(charset, "utf-8"))
}
