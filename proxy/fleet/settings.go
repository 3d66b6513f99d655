package fleet

import (
	"maps"
	"slices"

	"mcpgateway/proxy/mcp"
)

// Bounds of what a session remembers for the process to come.
const (
	maxSubscriptions = 256
	maxRemembered    = 64 << 10 // bytes of a message; a session whose initialize is longer ends with its process
	maxURIBytes      = 8 << 10
)

// settings are what a client of the handshake era has told its process that another one
// must be told, too.
type settings struct {
	initialized mcp.Message // the notification; zero before it came
	level       mcp.Message // the last logging/setLevel
	subscribed  map[string]mcp.Message
}

// note remembers what a request sets: whether its server agrees is for the server to
// say, also the next time.
func (s *settings) note(request mcp.Message) {
	if len(request.Raw()) > maxRemembered {
		return
	}
	if request.Method() == mcp.MethodSetLevel {
		s.level = request
		return
	}
	uri, ok := request.Text(request.Param("uri"))
	switch {
	case !ok || len(uri) > maxURIBytes:
	case request.Method() == mcp.MethodUnsubscribe:
		delete(s.subscribed, uri)
	case len(s.subscribed) < maxSubscriptions || s.subscribed[uri].Raw() != nil:
		if s.subscribed == nil {
			s.subscribed = map[string]mcp.Message{}
		}
		s.subscribed[uri] = request
	}
}

func (s *settings) clone() settings {
	return settings{s.initialized, s.level, maps.Clone(s.subscribed)}
}

// uris are the resources that are subscribed to, sorted.
func (s *settings) uris() []string { return slices.Sorted(maps.Keys(s.subscribed)) }

// requests are what the next process is asked.
func (s *settings) requests() (all []mcp.Message) {
	if s.level.Raw() != nil {
		all = append(all, again(s.level))
	}
	for _, uri := range s.uris() {
		all = append(all, again(s.subscribed[uri]))
	}
	return all
}

// again is a request whose progress nobody hears of.
func again(request mcp.Message) mcp.Message {
	return mcp.NewRequest([]byte("0"), request.Method(), mcp.Without(request.Params(), "_meta"))
}

// notices tell the client of what may be otherwise at the next process, by its answer to
// initialize.
func (s *settings) notices(answer mcp.Message) (all []mcp.Message) {
	for _, list := range mcp.ListChanges() {
		if !answer.InResult("capabilities", list.Capability).Empty() {
			all = append(all, mcp.NewRequest(nil, list.Method, nil))
		}
	}
	for _, uri := range s.uris() {
		all = append(all, mcp.NewRequest(nil, mcp.MethodResourceUpdated, []byte(`{"uri":`+string(mcp.Quote(uri))+`}`)))
	}
	return all
}
