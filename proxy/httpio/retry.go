package httpio

import (
	"net/http"
	"strconv"
	"time"
)

// RetryAfter says when a client may come again, in whole seconds and never too early
// (RFC 9110, section 10.2.3). It says nothing if after is 0.
func RetryAfter(h http.Header, after time.Duration) {
	if after > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((after+time.Second-1)/time.Second), 10))
	}
}
