package gate

import (
	"context"
	"net/netip"
	"strconv"
	"sync/atomic"

	"mcpgateway/policy"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/telemetry"
	"mcpgateway/runtime/control"
)

// Origin is where a message came from, for the audit log. The zero Origin is the
// gateway itself, which asks on a caller's behalf.
type Origin struct {
	Transport   string // "http", "rest", "websocket", "sse" or "grpc"
	Source      netip.Addr
	Correlation string // of the request that brought it; "": the gate makes one for each message
	Trace       string // its traceparent header as it came, "" for none: whatever a client wrote
}

// maxTrace is how long a traceparent header may be; a good one has 55 characters.
const maxTrace = 256

// TraceOf returns the one value of a traceparent header; "" for none, several, or one
// that is too long.
func TraceOf(values []string) string {
	if len(values) != 1 || len(values[0]) > maxTrace {
		return ""
	}
	return values[0]
}

// passenger is what travels with a message through bridges and catalogues to the
// guard of the server that it ends up at; and its correlation further, into logs and to
// the daemon.
//
// It is the context that it is found in. Who has it from there does not change it.
type passenger struct {
	context.Context
	Origin
	caller   *policy.Identity
	revision string // of the protocol that the client speaks
	opening  string // the server whose guard has let an initialize in, which opens a session now
}

type passengerKey struct{}

// Value finds the passenger, and its correlation.
func (p *passenger) Value(key any) any {
	switch key.(type) {
	case passengerKey:
		return p
	case control.CorrelationKey:
		return &p.Correlation
	}
	return p.Context.Value(key)
}

// passengerOf returns the passenger of a context: the gateway itself, if there is none.
func passengerOf(ctx context.Context) *passenger {
	if p, there := ctx.Value(passengerKey{}).(*passenger); there {
		return p
	}
	return &passenger{}
}

// because is the context of what the gateway asks by itself for a message.
type because struct {
	context.Context
	telemetry.Cause
}

type causeKey struct{}

// Value finds the cause.
func (b *because) Value(key any) any {
	if _, ok := key.(causeKey); ok {
		return &b.Cause
	}
	return b.Context.Value(key)
}

// Because tells the observers for which message the gateway asks what it asks by itself
// under the context that it returns.
func Because(ctx context.Context, from Origin, message mcp.Message) context.Context {
	return &because{ctx, telemetry.Cause{Correlation: from.Correlation, Trace: from.Trace, Message: message}}
}

func causeOf(ctx context.Context) *telemetry.Cause {
	cause, _ := ctx.Value(causeKey{}).(*telemetry.Cause)
	return cause
}

// Correlations makes ids that no two requests have, over restarts too. They are no
// secret.
type Correlations struct {
	prefix string
	last   atomic.Uint64
}

// NewCorrelations returns a source of ids that begin with prefix, a random one for
// each process.
func NewCorrelations(prefix string) *Correlations { return &Correlations{prefix: prefix} }

// Next returns a new id, of at most 16 characters more than the prefix.
func (c *Correlations) Next() string {
	return c.prefix + "-" + strconv.FormatUint(c.last.Add(1), 36)
}
