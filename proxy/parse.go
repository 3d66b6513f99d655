package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"mcpgateway/policy"
	"mcpgateway/policy/mirror"
	"mcpgateway/proxy/certs"
	"mcpgateway/proxy/egress"
	"mcpgateway/proxy/redactor"
)

// ErrForeign says that a policy was made by a daemon of another version than the proxy's:
// another proxy must be started.
var ErrForeign = errors.New("the daemon is of another version than the proxy: install the same of both")

// parse refuses a policy that leaves something unbounded, or that no listener
// could work by.
func parse(generation uint64, document []byte) (*policy.Policy, error) {
	var next policy.Policy
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.DisallowUnknownFields() // a rule that nobody obeys would be none
	if err := decoder.Decode(&next); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	if next.Generation != generation {
		return nil, fmt.Errorf("the document is of generation %d", next.Generation)
	}
	if err := checkLimits(next.Limits); err != nil {
		return nil, err
	}
	if err := certs.Check(next.HTTP.TLS); err != nil {
		return nil, fmt.Errorf("transports.http.tls: %w", err)
	}
	if err := certs.Check(next.GRPC.TLS); err != nil {
		return nil, fmt.Errorf("transports.grpc.tls: %w", err)
	}
	if err := checkHiddenText(next.HiddenText); err != nil {
		return nil, err
	}
	if err := checkAudit(next.Audit); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	for name, server := range next.Servers {
		if err := checkServer(server); err != nil {
			return nil, fmt.Errorf("server %q: %w", name, err)
		}
	}
	return &next, nil
}

// checkHiddenText refuses what nobody knows. None is like policy.HiddenBlock.
func checkHiddenText(mode policy.HiddenText) error {
	if slices.Contains([]policy.HiddenText{"", policy.HiddenOff, policy.HiddenReport, policy.HiddenStrip, policy.HiddenBlock}, mode) {
		return nil
	}
	return fmt.Errorf("security.hidden_text can't be %.100q", mode)
}

func checkServer(s policy.Server) error {
	instances := []policy.Instances{policy.InstancesDefault, policy.InstancesPerSession, policy.InstancesPerIdentity, policy.InstancesShared}
	strategies := []policy.Strategy{policy.StrategyLeastBusy, policy.StrategyRoundRobin, policy.StrategyConsistentHash}
	switch {
	case s.Timeout <= 0 || s.IdleTimeout <= 0 || s.FreezeAfter < 0 || s.ReclaimAfter < 0:
		return errors.New("timeout and idle_timeout must be above 0, freeze_after and reclaim_after not below")
	case s.MaxTimeout < s.Timeout:
		return errors.New("max_timeout must not be below timeout")
	case !slices.Contains(instances, s.Instances):
		return fmt.Errorf("instances can't be %.100q", s.Instances)
	case !slices.Contains(strategies, s.Strategy):
		return fmt.Errorf("strategy can't be %.100q", s.Strategy)
	case !slices.Contains([]policy.PinMode{"", policy.PinsOff, policy.PinsReport, policy.PinsBlock}, s.ToolPins):
		return fmt.Errorf("tool_pins can't be %.100q", s.ToolPins)
	case s.Replicas <= 0 || s.Warm < 0:
		return errors.New("replicas must be above 0, and warm not below")
	}
	if _, err := redactor.New(s.Secrets); err != nil {
		return fmt.Errorf("secrets: %w", err)
	}
	if err := checkCalls(s); err != nil || s.Network == nil {
		return err
	}
	_, err := egress.NewRules(s.Network)
	return err
}

func checkAudit(a *policy.Audit) error {
	switch {
	case a == nil:
		return nil
	case a.MaxSize <= 0 || len(a.DigestKey) == 0:
		return errors.New("it needs a size above 0, and a key for digests")
	case a.OnFull != policy.OnFullBlock && a.OnFull != policy.OnFullDrop:
		return fmt.Errorf("on_full can't be %.100q", a.OnFull)
	case !slices.Contains([]policy.AuditSync{policy.SyncInterval, policy.SyncAlways, policy.SyncNever}, a.Sync):
		return fmt.Errorf("sync can't be %.100q", a.Sync)
	}
	return mirror.Check(a.Syslog)
}
