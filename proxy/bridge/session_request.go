package bridge

import (
	"slices"
	"strings"

	"mcpgateway/proxy/mcp"
)

// reserved begins the names of _meta that only the protocol itself may use.
const reserved = "io.modelcontextprotocol/"

// defaultLevel is in force until the client sets another: without logging/setLevel
// a handshake-era server may send what it sees fit, and a stateless one nothing
// that was not asked for.
const defaultLevel = "info"

// foreign reports whether a method is none of the client's era, or one of the tasks
// of 2025-11-25, which the stateless era does not have.
func foreign(method string) bool {
	return method == mcp.MethodDiscover || method == mcp.MethodListen || strings.HasPrefix(method, "tasks/")
}

// asks reports whether a server may answer a method with questions to the client
// (2026-07-28, multi round-trip requests).
func asks(method string) bool {
	return method == mcp.MethodToolsCall || method == mcp.MethodPromptsGet || method == mcp.MethodResourcesRead
}

// said is what each request to the server says of the client.
type said struct {
	members []byte       // of _meta, raw
	alone   mcp.Fragment // a _meta of nothing else
}

// say says it with the level of the messages that the client wants to be logged; "": none.
func (c *client) say(level string) *said {
	members := c.meta
	if level != "" {
		members = slices.Concat(members, []byte(`,"`+mcp.MetaLogLevel+`":"`), []byte(level), []byte{'"'}) // one of the eight
	}
	return &said{members, mcp.NewFragment(slices.Concat([]byte(`"_meta":{`), members, []byte("}")))}
}

// says is what its requests say now.
func (s *Session) says() *said {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said
}

// prepare turns a request of the client into one of the stateless era. params is an
// object then, with a _meta, and where its members are is noted.
func (s *said) prepare(request mcp.Message) mcp.Message {
	if !mcp.IsObject(request.Params()) {
		return mcp.NewRequest(request.ID(), request.Method(), []byte("{}")).InsertFragment(s.alone)
	}
	if asks(request.Method()) {
		request = withoutParams(request, "task", "inputResponses", "requestState")
	}
	own := request.Param("_meta")
	if own.Empty() {
		return request.InsertFragment(s.alone)
	}
	request = request.EditAt(own, func(name string, value []byte) ([]byte, bool) {
		return value, !strings.HasPrefix(name, reserved)
	})
	return request.Insert(request.Param("_meta"), s.members).Noted()
}

// withoutParams leaves out params that are the gateway's to say, or that a server
// without tasks has to ignore (2025-11-25, tasks).
func withoutParams(request mcp.Message, names ...string) mcp.Message {
	for _, name := range names {
		if !request.Param(name).Empty() {
			return request.Replace(request.Param(), mcp.Without(request.Params(), names...))
		}
	}
	return request
}

// setLevel answers logging/setLevel.
func (s *Session) setLevel(c *client, request mcp.Message) mcp.Message {
	level, _ := request.Text(request.Param("level"))
	switch {
	case !c.logging:
		return mcp.NewError(request.ID(), mcp.CodeMethodNotFound, "the server does not log", nil)
	case severity(level) < 0:
		return mcp.NewError(request.ID(), mcp.CodeInvalidParams, "there is no such log level", nil)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = c.say(level)
	return mcp.NewResult(request.ID(), []byte("{}"))
}
