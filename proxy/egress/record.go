package egress

import (
	"context"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Verdict says what became of a connection.
type Verdict string

// Allowed: it was carried. Refused: the rules forbade it. Failed: they did not,
// but there was nothing to connect to.
const (
	Allowed Verdict = "allowed"
	Refused Verdict = "refused"
	Failed  Verdict = "failed"
)

// Record is one connection that has ended, or one refusal. Port 53 is the name
// server: a name was asked for that is not allowed.
type Record struct {
	Server, Project, Sandbox string
	Name                     string     // "" if an address was meant
	Address                  netip.Addr // outside; not valid if none was found
	Port                     uint16
	Sent, Received           int64 // bytes, by the server and to it
	Duration                 time.Duration
	Verdict                  Verdict
	Reason                   string // why it was refused, failed, or was broken off
	Suppressed               int    // refusals that have no record, since the last one that has
}

// Log writes records to a log.
func Log(log *slog.Logger) func(Record) {
	return func(r Record) {
		level := slog.LevelInfo
		if r.Verdict == Refused {
			level = slog.LevelWarn
		}
		attrs := []slog.Attr{
			slog.String("server", r.Server), slog.String("project", r.Project), slog.String("sandbox", r.Sandbox),
			slog.String("name", r.Name), slog.String("address", address(r.Address)), slog.Int("port", int(r.Port)),
			slog.Int64("sent", r.Sent), slog.Int64("received", r.Received), slog.Duration("duration", r.Duration),
			slog.String("verdict", string(r.Verdict)), slog.String("reason", r.Reason),
		}
		if r.Suppressed > 0 {
			attrs = append(attrs, slog.Int("suppressed", r.Suppressed))
		}
		log.LogAttrs(context.Background(), level, "egress", attrs...)
	}
}

func address(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// refuse records a refusal, unless there are too many.
func (e *egress) refuse(r Record) {
	e.Traffic.refuse()
	suppressed, ok := e.refusals.allow()
	if ok {
		r.Verdict, r.Suppressed = Refused, suppressed
		e.record(r)
	}
}

func (e *egress) record(r Record) {
	r.Server, r.Project, r.Sandbox = e.Server, e.Project, e.Sandbox
	e.Record(r)
}

// Bounds of the records of refusals, so that a server can't fill the log.
const (
	refusalsPerSecond = 5
	refusalsAtOnce    = 50
	maxRepeats        = 256 // names
	repeatWait        = time.Minute
)

// refusals decides which refusals have records.
type refusals struct {
	limiter *rate.Limiter

	mu         sync.Mutex
	suppressed int
	names      map[string]bool // recorded since
	since      time.Time
}

func newRefusals() *refusals {
	return &refusals{limiter: rate.NewLimiter(refusalsPerSecond, refusalsAtOnce)}
}

func (f *refusals) allow() (suppressed int, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.limiter.Allow() {
		f.suppressed++
		return 0, false
	}
	suppressed = f.suppressed
	f.suppressed = 0
	return suppressed, true
}

// repeats reports whether a name was refused a short while ago. Programs ask for
// each name twice, and again.
func (f *refusals) repeats(name string, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	name = strings.ToLower(name)
	if len(f.names) >= maxRepeats || now.Sub(f.since) > repeatWait {
		f.names, f.since = map[string]bool{}, now
	}
	repeated := f.names[name]
	f.names[name] = true
	return repeated
}

// maxText is the most of a server's text that goes into a record.
const maxText = 100

// cut makes a server's text short and printable.
func cut(text string) string {
	if len(text) > maxText {
		text = text[:maxText] + "…"
	}
	quoted := strconv.QuoteToASCII(text)
	return quoted[1 : len(quoted)-1]
}
