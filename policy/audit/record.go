package audit

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"mcpgateway/policy"
)

// Events of records. Others may come; these are those of calls.
const (
	EventCall       = "call"        // a request that was passed on, and what became of it
	EventDenied     = "denied"      // one that was not
	EventAuthFailed = "auth-failed" // a caller that did not prove who it is
	EventOperator   = "operator"    // what root had the gateway do, past all that is decided about callers
)

// Decisions of records.
const (
	Allow = "allow"
	Deny  = "deny"
)

// Record is what the log says of one call or decision. Empty members are left
// out. Any of its texts may be what a client or a server sent: they are cut, and
// nothing in them can end a line or look like another member.
type Record struct {
	Time        time.Time // when it began; zero: now
	Event       string
	Correlation string // the gateway's own id of the request
	Trace       string // the trace id, if the client gave one
	Subject     string // of the identity; unique
	User        string // the name for people
	Method      policy.Method
	Source      netip.Addr // of the client
	Transport   string
	Project     string
	Server      string
	Instance    string // the sandbox
	MCPMethod   string
	Name        string // of the tool, the prompt or the resource
	Decision    string
	Rule        string // that decided
	Status      string
	Reason      string
	Duration    time.Duration
	BytesIn     int64
	BytesOut    int64
	// Arguments are those of the call as they came, nil without any. The log holds
	// their digest, and themselves only where the configuration says so.
	Arguments json.RawMessage
}

const (
	maxText   = 256  // bytes of a text
	maxReason = 1024 // bytes of a reason
)

// append appends the record's members.
func (r *Record) append(dst []byte) []byte {
	when := r.Time
	if when.IsZero() {
		when = time.Now()
	}
	dst = appendTime(append(dst, `"time":"`...), when)
	dst = appendText(append(dst, `","event":`...), r.Event, maxText)
	dst = appendMember(dst, `,"correlation":`, r.Correlation, maxText)
	dst = appendMember(dst, `,"trace":`, r.Trace, maxText)
	dst = appendMember(dst, `,"subject":`, r.Subject, 2*maxText)
	dst = appendMember(dst, `,"user":`, r.User, maxText)
	dst = appendMember(dst, `,"auth":`, string(r.Method), maxText)
	dst = appendAddress(dst, `,"source":`, r.Source)
	dst = appendMember(dst, `,"transport":`, r.Transport, maxText)
	dst = appendMember(dst, `,"project":`, r.Project, maxText)
	dst = appendMember(dst, `,"server":`, r.Server, maxText)
	dst = appendMember(dst, `,"instance":`, r.Instance, maxText)
	dst = appendMember(dst, `,"method":`, r.MCPMethod, maxText)
	dst = appendMember(dst, `,"name":`, r.Name, 2*maxText)
	dst = appendMember(dst, `,"decision":`, r.Decision, maxText)
	dst = appendMember(dst, `,"rule":`, r.Rule, maxText)
	dst = appendMember(dst, `,"status":`, r.Status, maxText)
	dst = appendMember(dst, `,"reason":`, r.Reason, maxReason)
	dst = appendNumber(dst, `,"duration_us":`, r.Duration.Microseconds())
	dst = appendNumber(dst, `,"bytes_in":`, r.BytesIn)
	return appendNumber(dst, `,"bytes_out":`, r.BytesOut)
}

// appendTime appends a time as 2006-01-02T15:04:05.000000Z.
func appendTime(dst []byte, when time.Time) []byte {
	when = when.UTC()
	dst = when.AppendFormat(dst, time.RFC3339) // which package time is quick at
	dst[len(dst)-1] = '.'
	for unit := 100 * time.Millisecond; unit >= time.Microsecond; unit /= 10 {
		dst = append(dst, '0'+byte(time.Duration(when.Nanosecond())/unit%10))
	}
	return append(dst, 'Z')
}

// appendMember appends a member, unless it is empty.
func appendMember(dst []byte, key, text string, most int) []byte {
	if text == "" {
		return dst
	}
	return appendText(append(dst, key...), text, most)
}

func appendAddress(dst []byte, key string, address netip.Addr) []byte {
	switch {
	case !address.IsValid():
		return dst
	case address.Zone() != "": // any text
		return appendMember(dst, key, address.String(), maxText)
	}
	dst = append(append(dst, key...), '"')
	return append(address.AppendTo(dst), '"')
}

func appendNumber(dst []byte, key string, n int64) []byte {
	if n == 0 {
		return dst
	}
	return strconv.AppendInt(append(dst, key...), n, 10)
}

// appendText appends a JSON string of at most so many bytes of text.
func appendText(dst []byte, text string, most int) []byte {
	cut := len(text) > most
	if cut {
		for most > 0 && !utf8.RuneStart(text[most]) {
			most--
		}
		text = text[:most]
	}
	dst = append(dst, '"')
	if !cut && isPlain(text) { // nearly always
		return append(append(dst, text...), '"')
	}
	plain := 0 // text[plain:i] is as it will be
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			dst = append(appendPrintable(dst, text[plain:i]), '\\', c)
			plain = i + 1
		case c < ' ':
			dst = appendEscape(appendPrintable(dst, text[plain:i]), uint16(c))
			plain = i + 1
		}
	}
	dst = appendPrintable(dst, text[plain:])
	if cut {
		dst = append(dst, "…"...)
	}
	return append(dst, '"')
}

// isPlain reports whether a text is of ASCII that prints, and stands in a JSON string as it
// is.
func isPlain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// appendPrintable appends JSON, or what stands in one of its strings, and escapes
// what does not print: a log is looked at on terminals.
func appendPrintable[T string | []byte](dst []byte, text T) []byte {
	plain := 0
	for i := 0; i < len(text); {
		if c := text[i]; c < 0x7f {
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(string(text[i:min(i+utf8.UTFMax, len(text))]))
		if unicode.IsPrint(r) && (r != utf8.RuneError || size > 1) {
			i += size
			continue
		}
		dst = append(dst, text[plain:i]...)
		if r > 0xffff {
			high, low := utf16.EncodeRune(r)
			dst = appendEscape(dst, uint16(high))
			r = low
		}
		dst = appendEscape(dst, uint16(r))
		i += size
		plain = i
	}
	return append(dst, text[plain:]...)
}

func appendEscape(dst []byte, unit uint16) []byte {
	const digits = "0123456789abcdef"
	return append(dst, '\\', 'u', digits[unit>>12], digits[unit>>8&15], digits[unit>>4&15], digits[unit&15])
}
