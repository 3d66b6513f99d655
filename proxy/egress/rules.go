package egress

import (
	"errors"
	"fmt"
	"math"
	"net/netip"

	"golang.org/x/time/rate"

	"mcpgateway/policy"
)

// Rules are a policy.Network, checked and ready to be asked.
type Rules struct {
	targets        []policy.Target
	private        []netip.Prefix
	maxConnections int
	perSecond      float64
}

// NewRules refuses what is not valid or not bounded.
func NewRules(n *policy.Network) (*Rules, error) {
	r := &Rules{maxConnections: n.MaxConnections, perSecond: n.ConnectionsPerSecond}
	if n.MaxConnections <= 0 || !(n.ConnectionsPerSecond > 0) || math.IsInf(n.ConnectionsPerSecond, 1) {
		return nil, errors.New("network: max_connections and connections_per_second must be above 0")
	}
	var err error
	if r.targets, err = ParseTargets(n.Allow); err != nil {
		return nil, fmt.Errorf("network: %w", err)
	}
	for _, text := range n.Private {
		prefix, err := policy.ParsePrivate(text)
		if err != nil {
			return nil, fmt.Errorf("network: %w", err)
		}
		r.private = append(r.private, prefix)
	}
	return r, nil
}

// limiter lets as many connections begin at once as there may be at a time:
// programs open several for one piece of work, and then none for long.
func (r *Rules) limiter() *rate.Limiter {
	return rate.NewLimiter(rate.Limit(r.perSecond), max(r.maxConnections, int(math.Ceil(r.perSecond))))
}

// allowsName reports whether any port of a name is allowed.
func (r *Rules) allowsName(name string) bool {
	for _, t := range r.targets {
		if t.MatchesName(name) {
			return true
		}
	}
	return false
}

func (r *Rules) allowsNamePort(name string, port uint16) bool {
	for _, t := range r.targets {
		if t.Port == port && t.MatchesName(name) {
			return true
		}
	}
	return false
}

func (r *Rules) allowsAddress(a netip.AddrPort) bool {
	for _, t := range r.targets {
		if t.Address.IsValid() && netip.AddrPortFrom(t.Address, t.Port) == a {
			return true
		}
	}
	return false
}

// checkAddress refuses an address that a name resolved to and that is not public,
// unless the rules name its range.
func (r *Rules) checkAddress(a netip.Addr) error {
	a = a.Unmap() // ::ffff:10.0.0.1 leads to 10.0.0.1
	for _, p := range r.private {
		if p.Contains(a) {
			return nil
		}
	}
	if nat64.Contains(a) { // a translator carries it on to the address at its end
		last := a.As16()
		return r.checkAddress(netip.AddrFrom4([4]byte(last[12:])))
	}
	if kind := notPublic(a); kind != "" {
		return fmt.Errorf("%s is %s and in no range of network.private", a, kind)
	}
	return nil
}

// ParseTargets reads an allow-list, as policy.ParseTarget does.
func ParseTargets(allow []string) ([]policy.Target, error) {
	var targets []policy.Target
	for _, text := range allow {
		target, err := policy.ParseTarget(text)
		if err != nil {
			return nil, err
		}
		targets = append(targets, target)
	}
	return targets, nil
}
