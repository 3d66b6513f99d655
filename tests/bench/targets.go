package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"mcpgateway/tests/traffic"
)

// target is one that the gateway is to reach.
type target struct {
	What  string   `json:"what"`
	Bound float64  `json:"bound"`
	Least bool     `json:"least,omitempty"`       // the bound is the least and not the most
	Value *float64 `json:"value"`                 // nil: not measured
	Own   *float64 `json:"per_session,omitempty"` // the same with an instance for each session, which is no target
	Unit  string   `json:"unit"`
	Fails bool     `json:"fails,omitempty"` // it was tried, and did not work
}

func (t target) met() bool {
	if t.Least {
		return *t.Value >= t.Bound
	}
	return *t.Value <= t.Bound
}

// verdict is what people read.
func (t target) verdict() string {
	switch {
	case t.Fails:
		return "FALLS SHORT: it does not work"
	case t.Value == nil:
		return "not measured"
	case t.met():
		return "met"
	}
	return "FALLS SHORT"
}

// judge compares what was measured with the targets. Where they speak of the gateway
// without saying more, it is over HTTP on shared instances, in each era.
func judge(rows []row, s starts, once single) []target {
	var all []target
	for _, era := range []traffic.Era{traffic.Stateless, traffic.Handshake} {
		add := func(what string, bound float64, least bool, unit string, value func(instances string) *float64) {
			t := target{What: fmt.Sprintf("%s, %s", what, era), Bound: bound, Least: least, Unit: unit, Value: value(shared)}
			if era == traffic.Handshake { // the other one has no sessions
				t.Own = value(own)
			}
			all = append(all, t)
		}
		figure := func(sessions int, of func(row) float64) func(string) *float64 {
			return func(instances string) *float64 { return find(rows, era, instances, sessions, of) }
		}
		add("gateway CPU a call, 16 sessions", 2.0, false, "× direct HTTP", figure(16, func(r row) float64 { return r.Ratio.CPU }))
		add("throughput, 16 sessions", 0.60, true, "× direct HTTP", figure(16, func(r row) float64 { return r.Ratio.PerSecond }))
		add("throughput of 64 sessions", 1, true, "× that of 16", func(instances string) *float64 {
			perSecond := func(r row) float64 { return r.PerSecond }
			return quotient(find(rows, era, instances, 64, perSecond), find(rows, era, instances, 16, perSecond))
		})
		add("p50, 1 session", 1.8, false, "× direct HTTP", figure(1, func(r row) float64 { return r.Ratio.P50 }))
		add("p99, 16 sessions", 1.5, false, "× direct HTTP", figure(16, func(r row) float64 { return r.Ratio.P99 }))
		add("memory of the proxy, 64 busy sessions", 40, false, "MB RSS", figure(64, func(r row) float64 { return float64(r.ProxyRSS) / (1 << 20) }))
	}
	bwrap := measured(s.Bwrap)
	prepared := s.Prepared - s.ForkExec
	var grown *float64
	if once.Churn.Sessions >= 50000 {
		grown = quotient(measured(float64(once.Churn.RSSLate)), measured(float64(once.Churn.RSSEarly)))
	}
	var crowded, started, overhead *float64
	if once.Crowd.Clients >= 10000 {
		crowded = measured(float64(once.Crowd.RSS) / (1 << 20))
	}
	if once.Tiny.Servers >= 1000 {
		started, overhead = measured(once.Tiny.Seconds), measured(once.Tiny.overhead()/(1<<20))
	}
	return append(all,
		target{What: "cold start of a sandbox to the first byte", Bound: 1.2, Unit: "× bwrap", Value: quotient(measured(s.Sandbox), bwrap)},
		target{What: "open of a session on a prepared sandbox, to the first byte", Bound: 1.5, Unit: "ms over fork/exec", Value: &prepared},
		target{What: "10,000 idle stateless clients and 10,000 idle handshake sessions: memory of the proxy", Bound: 300, Unit: "MB RSS", Value: crowded},
		target{What: "1,000 tiny servers in sandboxes: start all", Bound: 20, Unit: "s", Value: started},
		target{What: "1,000 tiny servers in sandboxes: overhead of each in user space", Bound: 1, Unit: "MB", Value: overhead},
		target{What: "answer of 8 MiB", Bound: 0.3, Unit: "s", Value: measured(once.Answer8.Seconds), Fails: once.Answer8.Refused != ""},
		target{What: "answer of 32 MiB", Bound: 1, Unit: "s", Value: measured(once.Answer32.Seconds), Fails: once.Answer32.Refused != ""},
		target{What: "memory of the gateway for a large answer", Bound: 3, Unit: "× its size", Value: measured(max(once.Answer8.Memory, once.Answer32.Memory))},
		target{What: "50,000 sessions opened and closed: RSS", Bound: 1.1, Unit: "× that after 5,000", Value: grown},
	)
}

// find is a figure of the gateway's over HTTP in a closed loop, nil if that was not
// measured, or has nothing to be compared with.
func find(rows []row, era traffic.Era, instances string, sessions int, f func(row) float64) *float64 {
	for _, r := range rows {
		if r.System == ours && r.Transport == "http" && r.Era == string(era) && r.Instances == instances && r.Rate == 0 && r.Sessions == sessions && r.Ratio != nil {
			value := f(r)
			return &value
		}
	}
	return nil
}

func measured(value float64) *float64 {
	if value == 0 {
		return nil
	}
	return &value
}

func quotient(a, b *float64) *float64 {
	if a == nil || b == nil || *b == 0 {
		return nil
	}
	q := *a / *b
	return &q
}

func printTargets(out io.Writer, targets []target) {
	fmt.Fprint(out, "\ntargets\n\n")
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, t := range targets {
		sign, value, beside := "≤", "–", ""
		if t.Least {
			sign = "≥"
		}
		if t.Value != nil {
			value = fmt.Sprintf("%.2f", *t.Value)
		}
		if t.Own != nil {
			beside = fmt.Sprintf("(per-session: %.2f)", *t.Own)
		}
		fmt.Fprintf(table, "%s\t%s\t%s %g %s\t%s\t%s\n", t.What, value, sign, t.Bound, t.Unit, t.verdict(), beside)
	}
	table.Flush() //nolint:errcheck // as with what is printed otherwise
}
