package mirror

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"mcpgateway/policy"
)

// Severities of RFC 5424, section 6.2.1.
const (
	notice = 5
	info   = 6
)

// Check says why records can't be sent to a syslog server.
func Check(s *policy.Syslog) error {
	if s == nil {
		return nil
	}
	if s.TLS && !x509.NewCertPool().AppendCertsFromPEM(s.RootCAs) {
		return errors.New("ca_file holds no certificate")
	}
	if s.Facility < 0 || s.Facility > 23 {
		return fmt.Errorf("facility %d is none", s.Facility)
	}
	return nil
}

// Syslog starts a mirror that sends records as RFC 5424 says; over TCP with their
// length before them (RFC 6587, section 3.4.1; with TLS, RFC 5425).
func Syslog(s *policy.Syslog, log *slog.Logger) *Mirror {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "-"
	}
	return start(target{
		name: s.Network + " " + s.Address,
		dial: func(ctx context.Context) (net.Conn, error) { return dialSyslog(ctx, s) },
		format: func(dst, line []byte) []byte {
			message := appendSyslog(nil, line, s.Facility, printable(host, 255), os.Getpid(), time.Now())
			if s.Network == "tcp" {
				dst = append(strconv.AppendInt(dst, int64(len(message)), 10), ' ')
			}
			return append(dst, message...)
		},
	}, log)
}

func dialSyslog(ctx context.Context, s *policy.Syslog) (net.Conn, error) {
	if !s.TLS {
		var d net.Dialer
		return d.DialContext(ctx, s.Network, s.Address)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.RootCAs)
	d := tls.Dialer{Config: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	return d.DialContext(ctx, s.Network, s.Address)
}

// record is what is told beside the line itself.
type record struct {
	Sequence json.Number `json:"seq"`
	Event    string      `json:"event"`
	Decision string      `json:"decision"`
	Hash     string      `json:"hash"`
}

func (r record) severity() int {
	if r.Decision == "deny" || r.Event == "gap" {
		return notice
	}
	return info
}

// appendSyslog appends a message. 32473 is the number for those who have none of
// their own (RFC 5612).
func appendSyslog(dst, line []byte, facility int, host string, pid int, now time.Time) []byte {
	var r record
	_ = json.Unmarshal(line, &r) // of our own making; else the line alone is sent
	dst = fmt.Appendf(dst, "<%d>1 %s %s mcp-gateway %d %s ", facility*8+r.severity(),
		now.UTC().Format("2006-01-02T15:04:05.000000Z"), host, pid, printable(r.Event, 32))
	dst = fmt.Appendf(dst, `[audit@32473 seq="%s" event="%s" hash="%s"] `, escape(r.Sequence.String()), escape(r.Event), escape(r.Hash))
	return append(dst, line...)
}

// escape escapes the value of a parameter (RFC 5424, section 6.3.3).
func escape(value string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`).Replace(value)
}

// printable makes a header's field of a text: printable ASCII, not empty.
func printable(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f {
			return '_'
		}
		return r
	}, text)
	if text == "" {
		return "-"
	}
	return text[:min(len(text), most)]
}
