package hub

import (
	"fmt"

	"mcpgateway/proxy/mcp"
)

// topic is what a caller can hear of: a list, or a resource.
type topic struct {
	method string // of its notifications
	uri    string // "" of a list
}

// asked are the topics of subscriptions/listen.
func asked(request mcp.Message) ([]topic, error) {
	wanted := request.At(request.Param("notifications"))
	if !mcp.IsObject(wanted) {
		return nil, fmt.Errorf("%s has no notifications", mcp.MethodListen)
	}
	topics := parse(wanted)
	if len(topics) > maxTopics/maxShare {
		return nil, fmt.Errorf("a subscription has at most %d topics", maxTopics/maxShare)
	}
	return topics, nil
}

// parse returns the topics of a filter, each once.
func parse(filter []byte) (topics []topic) {
	for _, list := range mcp.ListChanges() {
		if string(mcp.Member(filter, list.Member)) == "true" {
			topics = append(topics, topic{method: list.Method})
		}
	}
	seen := map[string]bool{"": true}
	for element := range mcp.Elements(mcp.Member(filter, "resourceSubscriptions")) {
		if uri, _ := mcp.TextOf(element); !seen[uri] {
			seen[uri] = true
			topics = append(topics, topic{mcp.MethodResourceUpdated, uri})
		}
	}
	return topics
}

// filter makes the filter of topics.
func filter(topics []topic) []byte {
	filter := []byte{'{'}
	uris := []byte{'['}
	for _, t := range topics {
		if t.uri != "" {
			if len(uris) > 1 {
				uris = append(uris, ',')
			}
			uris = append(uris, mcp.Quote(t.uri)...)
			continue
		}
		for _, list := range mcp.ListChanges() {
			if list.Method == t.method {
				filter = fmt.Appendf(filter, "%q:true,", list.Member)
			}
		}
	}
	if len(uris) > 1 {
		return fmt.Appendf(filter, `"resourceSubscriptions":%s]}`, uris)
	}
	if n := len(filter); n > 1 {
		filter = filter[:n-1]
	}
	return append(filter, '}')
}

// covers reports whether a notification about a resource, or about none, is of the
// topic.
func (t topic) covers(uri string) bool { return t.uri == "" || mcp.Covers(t.uri, uri) }

// changed says that a topic has, or may have, changed.
func (t topic) changed() mcp.Message {
	params := `{"_meta":{"` + mcp.MetaSubscription + `":0}`
	if t.uri != "" {
		params += `,"uri":` + string(mcp.Quote(t.uri))
	}
	return mcp.NewRequest(nil, t.method, []byte(params+"}"))
}
