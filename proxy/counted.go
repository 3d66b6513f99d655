package proxy

import (
	"net"
	"sync/atomic"

	"mcpgateway/proxy/arrivals"
	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/breaker"
	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/health"
	"mcpgateway/proxy/quota"
	"mcpgateway/proxy/socket"
	"mcpgateway/proxy/usage"
)

// counted is what the metrics are told of a proxy.
type counted struct{ *Proxy }

// Sessions is how many sessions are open.
func (p counted) Sessions() int { return p.sessions.Count() }

// Connections is how many clients are connected, by the listener's transport.
func (p counted) Connections() map[string]int {
	open := map[string]int{}
	for transport, n := range p.connections {
		open[transport] = int(n.Load())
	}
	return open
}

// Running gives the instances of all servers.
func (p counted) Running() []backend.Running { return p.fleet.Running() }

// Waiting is how many callers wait for an instance to start, by server.
func (p counted) Waiting() map[string]int { return p.fleet.Waiting() }

// Rows gives the places where instances ended by themselves of late.
func (p counted) Rows() []breaker.Row { return p.fleet.Rows() }

// HealthChecks is how the checks of each server's instances have ended.
func (p counted) HealthChecks() []health.Count { return p.fleet.HealthChecks() }

// States gives instances, and the breakers of their places.
func (p counted) States() []fleet.State { return p.fleet.States() }

// Connected reports whether there is a daemon.
func (p counted) Connected() bool { return p.daemon.Away() == nil }

// LostRecords is how many records the audit log has lost.
func (p counted) LostRecords() uint64 { return p.audit.Lost() }

// Quotas gives the quotas of projects, with what of them is used up.
func (p counted) Quotas() []quota.State { return p.memory.usage.Quotas() }

// Ledger is how the ledger is.
func (p counted) Ledger() usage.Stats { return p.memory.usage.Stats() }

// connections are how many are open, by the listener's transport.
type connections map[string]*atomic.Int64

func newConnections() connections {
	return connections{"http": {}, "grpc": {}, "websocket": {}, "sse": {}}
}

// counted are the listeners, whose connections are counted.
func (l Listeners) counted(open connections) Listeners {
	each := func(transport string, listeners []net.Listener) (all []net.Listener) {
		for _, listener := range listeners {
			all = append(all, arrivals.Count(socket.Listener(listener), open[transport]))
		}
		return all
	}
	return Listeners{
		HTTP: each("http", l.HTTP), GRPC: each("grpc", l.GRPC), WebSocket: each("websocket", l.WebSocket), SSE: each("sse", l.SSE),
	}
}
