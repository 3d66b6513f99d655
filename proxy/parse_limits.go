package proxy

import (
	"errors"
	"fmt"

	"mcpgateway/policy"
)

// checkLimits refuses limits that limit nothing, or everything.
func checkLimits(l policy.Limits) error {
	least := min(int64(l.MaxSessions), int64(l.MaxSessionsPerCaller), int64(l.MaxConnections), int64(l.MaxConnectionsPerCaller), int64(l.MaxInstancesPerCaller))
	if min(l.MaxBodyBytes, l.MaxMessageBytes, least) <= 0 {
		return fmt.Errorf("limits must be above 0: %+v", l)
	}
	for name, q := range l.Projects {
		if err := checkQuota(q); err != nil {
			return fmt.Errorf("project %q: %w", name, err)
		}
	}
	if err := checkQuota(l.Gateway); err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	if err := checkQuota(l.PerIdentity); err != nil {
		return fmt.Errorf("per_identity: %w", err)
	}
	return nil
}

// checkQuota also refuses NaN, which is above nothing.
func checkQuota(q policy.Quota) error {
	switch {
	case q.Concurrent < 0:
		return errors.New("max_concurrent must not be below 0")
	case q.Rate != nil && (!(q.Rate.PerSecond > 0) || q.Rate.Burst <= 0):
		return errors.New("requests_per_second and burst must be above 0")
	}
	return nil
}

// checkCalls judges what bounds calls of a server, and what is done when they fail.
func checkCalls(s policy.Server) error {
	if err := checkQuota(s.Quota); err != nil {
		return err
	}
	if b := s.Breaker; b != nil && (b.Failures <= 0 || b.Window <= 0 || b.OpenFor <= 0 || b.HalfOpen <= 0) {
		return errors.New("failures, window, open_for and half_open of a circuit breaker must be above 0")
	}
	if r := s.Retry; r.Attempts < 0 || r.Attempts > maxAttempts || r.Backoff < 0 || r.MaxBackoff < r.Backoff {
		return fmt.Errorf("retry must have 0 to %d attempts, and 0 <= backoff <= max_backoff", maxAttempts)
	}
	for name, tool := range s.Tools {
		if err := checkQuota(tool.Quota); err != nil {
			return fmt.Errorf("tool %q: %w", name, err)
		}
		if tool.Timeout <= 0 || tool.MaxTimeout < tool.Timeout {
			return fmt.Errorf("tool %q: timeout must be above 0, and max_timeout not below it", name)
		}
	}
	return nil
}

const maxAttempts = 10
