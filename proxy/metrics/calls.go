package metrics

import (
	"context"
	"sync/atomic"

	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/telemetry"
)

// calls is told of the calls under one policy. Its maps are never changed.
type calls struct {
	m        *Metrics
	servers  map[place]*server
	counters map[string][]*counter // by server
}

// Begin counts a call that is in flight from now on.
func (o *calls) Begin(ctx context.Context, c *telemetry.Call) context.Context {
	if s := o.servers[place{c.Project, c.Server}]; s != nil {
		s.inFlight.Add(1)
		s.in.Add(uint64(c.BytesIn))
	}
	return ctx
}

// End counts what became of it.
func (o *calls) End(_ context.Context, c *telemetry.Call) {
	s := o.servers[place{c.Project, c.Server}]
	if s == nil {
		return
	}
	s.inFlight.Add(-1)
	s.out.Add(uint64(c.BytesOut))
	how := statusOf(c.Status)
	if how == statusLimited {
		s.limited.Add(1)
	}
	k, series := s.of(c)
	series.ended[how].Add(1)
	if series.duration != nil {
		series.duration.Observe(c.Duration.Seconds())
	}
	if c.Method != mcp.MethodListen {
		s.tellConventions(k, how, c)
		if aim := s.objective.Load(); aim != nil {
			aim.tell(how, c)
		}
	}
	if c.Method == mcp.MethodToolsCall {
		for _, counter := range o.counters[c.Server] {
			counter.tell(how, c)
		}
	}
}

// Refused counts a client that was turned away at the door.
func (o *calls) Refused(r telemetry.Refusal) { o.m.refusals.add(r) }

// refusals counts them by transport and reason.
type refusals [transports][statuses]atomic.Uint64

func (r *refusals) add(of telemetry.Refusal) {
	r[transportOf(of.Transport)][statusOf(of.Reason)].Add(1)
}
