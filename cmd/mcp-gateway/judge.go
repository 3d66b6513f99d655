package main

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"mcpgateway/policy"
	"mcpgateway/policy/authn"
	"mcpgateway/proxy/certs"
	"mcpgateway/proxy/pins"
	"mcpgateway/runtime/config"
)

// contradictions says what of a configuration that loads can't work, because its
// parts don't fit together or a certificate does not do.
func contradictions(cfg *config.Config) (texts []string) {
	t := &cfg.Transports
	if len(t.Listeners()) == 0 {
		texts = append(texts, "transports: none is enabled: nobody could connect")
	}
	for name, tls := range map[string]*policy.TLS{"http": t.HTTP.TLS.PEM, "grpc": t.GRPC.TLS.PEM} {
		if err := certs.Check(tls); err != nil {
			texts = append(texts, fmt.Sprintf("transports.%s.tls: %v", name, err))
		}
	}
	if _, err := pins.ParseLock(cfg.Security.ToolPins.Lock); err != nil {
		texts = append(texts, fmt.Sprintf("security.tool_pins.file: %s: %s", cfg.Security.ToolPins.File, shown(err.Error())))
	}
	if err := checkAuthentication(cfg); err != nil {
		texts = append(texts, err.Error())
	}
	if most, wanted := cfg.Gateway.MaxServers, promised(cfg); wanted > most {
		texts = append(texts, fmt.Sprintf("gateway.max_servers: is %d, but warm and eager instances and replicas are %d together: raise it, or ask for fewer", most, wanted))
	}
	slices.Sort(texts)
	return texts
}

// checkAuthentication says what the proxy would refuse of keys and issuers.
func checkAuthentication(cfg *config.Config) error {
	state := authn.NewState()
	defer state.Close()
	_, err := authn.New(cfg.Security.Authentication.Policy, nil, state)
	return err
}

// promised is how many sandboxes the servers may have at a time without anybody
// else being served.
func promised(cfg *config.Config) (sum int) {
	for _, s := range cfg.Servers {
		if !s.Enabled {
			continue
		}
		if s.Instances == policy.InstancesShared {
			sum += s.Replicas
		}
		if s.Eager {
			s.Warm = max(1, s.Warm)
		}
		sum += s.Warm
	}
	return sum
}

// plain says which listeners others reach without TLS.
func plain(cfg *config.Config) (texts []string) {
	listeners := cfg.Transports.Listeners()
	for _, name := range slices.Sorted(maps.Keys(listeners)) {
		tls := cfg.Transports.HTTP.TLS.PEM // of WebSocket and HTTP+SSE, too
		if name == "grpc" {
			tls = cfg.Transports.GRPC.TLS.PEM
		}
		address, err := netip.ParseAddr(listeners[name].Address)
		if err == nil && !address.IsLoopback() && tls == nil {
			texts = append(texts, fmt.Sprintf("transports.%s.address: %s without tls: keys can be read on the way here, unless something else ends TLS before", name, address))
		}
	}
	return texts
}
