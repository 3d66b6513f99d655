package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"golang.org/x/time/rate"

	"mcpgateway/proxy/telemetry"
	"mcpgateway/runtime/control"
)

// Lines about requests that failed or were refused, a second, and at once: clients bring
// them about as often as they like.
const (
	callLines = 20
	callBurst = 100
)

// callLog writes what became of calls into the log: those that failed by no fault of
// their client's as warnings, refusals as information, and the others for who wants to
// know everything. The audit log says more, and who it was.
type callLog struct {
	log        *slog.Logger
	limit      *rate.Limiter
	suppressed atomic.Int64
}

func newCallLog(log *slog.Logger) *callLog {
	return &callLog{log: log, limit: rate.NewLimiter(callLines, callBurst)}
}

// Begin does nothing.
func (c *callLog) Begin(ctx context.Context, _ *telemetry.Call) context.Context { return ctx }

// End logs a call.
func (c *callLog) End(ctx context.Context, call *telemetry.Call) {
	level, text := slog.LevelDebug, "call ended"
	switch {
	case call.Refused:
		level, text = slog.LevelInfo, "call refused"
	case call.Fault():
		level, text = slog.LevelWarn, "call failed"
	}
	if !c.log.Enabled(ctx, level) {
		return // nearly always
	}
	c.write(control.WithCorrelation(ctx, call.Correlation), level, text,
		slog.String("server", call.Server), slog.String("project", call.Project), slog.String("sandbox", call.Instance),
		slog.String("transport", call.Transport), slog.String("method", cut(call.Method)), slog.String("tool", cut(call.Tool)),
		slog.String("status", call.Status), slog.Duration("took", call.Duration), slog.String("err", cut(call.Reason)))
}

// Refused logs a client that was turned away at the door.
func (c *callLog) Refused(r telemetry.Refusal) {
	c.write(control.WithCorrelation(context.Background(), r.Correlation), slog.LevelInfo, "request refused",
		slog.String("server", cut(r.Scope.Server)), slog.String("project", cut(r.Scope.Project)),
		slog.String("transport", r.Transport), slog.String("status", r.Reason))
}

// write leaves out what is empty, and lines beyond the limit; the next one has their
// number.
func (c *callLog) write(ctx context.Context, level slog.Level, text string, attrs ...slog.Attr) {
	if level > slog.LevelDebug && !c.limit.Allow() {
		c.suppressed.Add(1)
		return
	}
	var filled []slog.Attr
	for _, a := range attrs {
		if !a.Value.Equal(slog.StringValue("")) {
			filled = append(filled, a)
		}
	}
	if n := c.suppressed.Swap(0); n > 0 {
		filled = append(filled, slog.Int64("suppressed", n))
	}
	c.log.LogAttrs(ctx, level, text, filled...)
}

// cut bounds what others wrote.
func cut(text string) string { return fmt.Sprintf("%.300s", text) }
