package httpfront

import (
	"mime"
	"net/http"
	"strings"
)

const (
	typeJSON   = "application/json"
	typeEvents = "text/event-stream"
)

// accepts reports whether an Accept header lists a media type (RFC 9110, section
// 12.5.1), be it by a wildcard. A request without the header accepts nothing:
// the transport demands it.
func accepts(h http.Header, mediaType string) bool {
	for _, value := range h.Values("Accept") {
		for item := range strings.SplitSeq(value, ",") {
			name, params, _ := strings.Cut(item, ";")
			name = strings.ToLower(strings.TrimSpace(name))
			major, _, _ := strings.Cut(mediaType, "/")
			if (name == mediaType || name == "*/*" || name == major+"/*") && !refusedByQuality(params) {
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

// isJSON reports whether the request says that its body is JSON.
func isJSON(h http.Header) bool {
	name, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	charset, named := params["charset"]
	return err == nil && name == typeJSON && (!named || strings.EqualFold(charset, "utf-8"))
}
