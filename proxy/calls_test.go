package proxy

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"mcpgateway/policy"
	"mcpgateway/proxy/telemetry"
)

func TestCallLog(t *testing.T) {
	t.Parallel()
	call := func(status string, refused bool) *telemetry.Call {
		return &telemetry.Call{
			Correlation: "ABC-1", Transport: "http", Project: "team", Server: "files", Method: "tools/call", Tool: "read",
			Status: status, Refused: refused, Reason: strings.Repeat("r", 500), Duration: time.Second,
		}
	}
	const fields = `server=files project=team transport=http method=tools/call tool=read status=`
	for _, tt := range []struct {
		call *telemetry.Call
		want string
	}{
		{call("ok", false), `level=DEBUG msg="call ended" ` + fields + "ok took=1s err=rrr"},
		{call("tool-error", false), `level=DEBUG msg="call ended" ` + fields + "tool-error"},
		{call("forbidden", true), `level=INFO msg="call refused" ` + fields + "forbidden"},
		{call("busy", true), `level=INFO msg="call refused" ` + fields + "busy"},
		{call("ended", false), `level=WARN msg="call failed" ` + fields + "ended"},
	} {
		var out bytes.Buffer
		newCallLog(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))).End(t.Context(), tt.call)
		if got := out.String(); !strings.Contains(got, tt.want) || strings.Count(got, "r") > 340 {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}

	// No more lines than the log can take, and what is left out is counted.
	var out bytes.Buffer
	c := newCallLog(slog.New(slog.NewTextHandler(&out, nil)))
	for range 3 * callBurst {
		c.Refused(telemetry.Refusal{Correlation: "ABC-1", Transport: "http", Reason: "unauthenticated", Scope: policy.Scope{Server: "files"}})
	}
	if n := strings.Count(out.String(), "\n"); n < callBurst || n > callBurst+callLines {
		t.Errorf("got %d lines, want about %d", n, callBurst)
	}
	c.limit.SetLimit(rate.Inf)
	out.Reset()
	c.End(t.Context(), call("ended", false))
	if !strings.Contains(out.String(), "suppressed=") {
		t.Errorf("got %s without the number of those that were left out", out.String())
	}
}
