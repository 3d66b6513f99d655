package daemon

import (
	"mcpgateway/policy"
	"mcpgateway/runtime/config"
)

func quota(r config.RateLimit, concurrent int) policy.Quota {
	q := policy.Quota{Concurrent: concurrent}
	if r.Enabled {
		q.Rate = &policy.Rate{PerSecond: r.RequestsPerSecond, Burst: r.Burst}
	}
	return q
}

func breaker(b config.CircuitBreaker) *policy.Breaker {
	if !b.Enabled {
		return nil
	}
	return &policy.Breaker{Failures: b.Failures, Window: b.Window, OpenFor: b.OpenFor, HalfOpen: b.HalfOpen, InternalErrors: b.InternalErrors}
}

func tools(all map[string]config.Tool) map[string]policy.Tool {
	found := make(map[string]policy.Tool, len(all))
	for name, t := range all {
		found[name] = policy.Tool{Timeout: t.Timeout, MaxTimeout: t.MaxTimeout, Quota: quota(t.RateLimit, t.MaxConcurrent)}
	}
	return found
}
