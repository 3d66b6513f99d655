package control

import "context"

// CorrelationKey is where a context has the id, as a *string.
type CorrelationKey struct{}

// WithCorrelation has what is done under the context that it returns be done for the
// client's request with this id.
func WithCorrelation(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, CorrelationKey{}, &id)
}

// Correlation is the id of the request that something is done for; "" for none.
func Correlation(ctx context.Context) string {
	if id, there := ctx.Value(CorrelationKey{}).(*string); there {
		return *id
	}
	return ""
}

// correlates reports whether a message's Trace can be the id of a request, or is none.
func correlates(id string) bool {
	for _, c := range []byte(id) {
		if c != '-' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return len(id) <= MaxTrace
}
