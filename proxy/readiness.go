package proxy

import (
	"errors"
	"maps"
	"slices"

	"mcpgateway/proxy/httpfront"
)

// readiness is what supervisors are told.
func (p *Proxy) readiness() httpfront.Readiness {
	return httpfront.Readiness{Gateway: p.ready, Servers: p.servers, Server: p.readyServer}
}

func (p *Proxy) ready() error {
	if p.current.Load() == nil {
		return errors.New("no policy yet")
	}
	if why := p.away(); why != nil {
		return why
	}
	if !p.warm.Load() {
		return errors.New("eager servers are starting")
	}
	return nil
}

// servers are those of the generation in force, sorted.
func (p *Proxy) servers() []string {
	current := p.current.Load()
	if current == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(current.Policy.Servers))
}

// readyServer is why a server can take no call now, nil if it can. known is false if
// there is no such server.
func (p *Proxy) readyServer(name string) (why error, known bool) {
	current := p.current.Load()
	if current == nil {
		return errors.New("no policy yet"), true
	}
	if _, known = current.Policy.Servers[name]; !known {
		return nil, false
	}
	if why = p.away(); why != nil {
		return why, true
	}
	return p.fleet.Ready(name), true
}
