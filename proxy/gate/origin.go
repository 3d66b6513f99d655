package gate

import (
	"context"
	"net/netip"
	"strconv"
	"sync/atomic"

	"mcpgateway/policy"
	"mcpgateway/runtime/control"
)

// Origin is where a message came from, for the audit log. The zero Origin is the
// gateway itself, which asks on a caller's behalf.
type Origin struct {
	Transport   string // "http", "rest", "websocket", "sse" or "grpc"
	Source      netip.Addr
	Correlation string // of the request that brought it; "": the gate makes one for each message
}

// passenger is what travels with a message through bridges and catalogues to the
// guard of the server that it ends up at; and its correlation further, into logs and to
// the daemon.
type passenger struct {
	Origin
	caller   policy.Identity
	revision string // of the protocol that the client speaks
	opening  string // the server whose guard has let an initialize in, which opens a session now
}

type passengerKey struct{}

func withPassenger(ctx context.Context, p passenger) context.Context {
	return context.WithValue(control.WithCorrelation(ctx, p.Correlation), passengerKey{}, p)
}

func passengerOf(ctx context.Context) passenger {
	p, _ := ctx.Value(passengerKey{}).(passenger)
	return p
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
