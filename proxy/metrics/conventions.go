package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/telemetry"
)

// The histograms of OpenTelemetry's semantic conventions for MCP (v1.41.0): the gateway
// is the server of its clients, and the client of its servers. Project and server are
// labels beside those of the conventions.

// conventions is one of the histograms, with the buckets that the conventions advise.
func conventions(name, help string) *prometheus.HistogramVec {
	return histogram(name, help, []float64{.01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 120, 300},
		"project", "server", "mcp_method_name", "gen_ai_operation_name", "gen_ai_tool_name", "error_type", "mcp_protocol_version",
		"network_protocol_name", "network_transport")
}

// conventional is what calls are told apart by in them.
type conventional struct {
	key
	asked    bool // of the server by the gateway, not of the gateway by a client
	failure  string
	revision string
	protocol string // below MCP; "" for pipes
}

// plain is what is told apart when there is too much of it.
func (c conventional) plain() conventional {
	c.tool, c.revision, c.protocol = "", "", ""
	return c
}

// in is the histogram that it is a series of.
func (c conventional) in(m *Metrics) *prometheus.HistogramVec {
	if c.asked {
		return m.asked
	}
	return m.served
}

// values are those of the labels.
func (c conventional) values(at place) []string {
	operation, transport := "", "tcp"
	if c.method == mcp.MethodToolsCall {
		operation = "execute_tool"
	}
	if c.asked {
		transport = "pipe"
	}
	return []string{at.project, at.name, c.method, operation, c.tool, c.failure, c.revision, c.protocol, transport}
}

// tellConventions counts a call in both histograms, as far as it is for them: what the
// gateway asks by itself no client did, and what was refused no server was asked.
func (s *server) tellConventions(k key, how status, c *telemetry.Call) {
	what := conventional{key: k, failure: failureOf(how, c.Status), revision: revisionOf(c.Revision), protocol: protocolOf(c.Transport)}
	if c.Transport != "" {
		if o := s.convention(what); o != nil {
			o.Observe(c.Duration.Seconds())
		}
	}
	if c.Passed.IsZero() {
		return
	}
	what.asked, what.revision, what.protocol = true, "", "" // the server's era may be another
	if o := s.convention(what); o != nil {
		o.Observe((c.Duration - c.Passed.Sub(c.Started)).Seconds())
	}
}

// failureOf is the conventions' error.type: "" for none, the code of a JSON-RPC error if
// it is a known one, else what happened.
func failureOf(how status, text string) string {
	switch how {
	case statusOK:
		return ""
	case statusError:
		switch code := text[len("error "):]; code {
		case "-32700", "-32600", "-32601", "-32602", "-32603", "-32002", "-32020", "-32021", "-32022", "-32042":
			return code
		}
		return "_OTHER"
	}
	return how.String()
}

// revisionOf keeps the label bounded.
func revisionOf(revision string) string {
	if revision == "" || mcp.Stateless(revision) || mcp.Handshake(revision) {
		return revision
	}
	return other
}

// protocolOf is the conventions' network.protocol.name.
func protocolOf(transport string) string {
	switch transport {
	case "http", "rest", "sse":
		return "http"
	case "websocket", "grpc":
		return transport
	}
	return ""
}
