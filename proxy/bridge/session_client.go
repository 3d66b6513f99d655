package bridge

import (
	"context"
	"fmt"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// client is what is known of the client since it is initialized, and what the
// server offers it. It does not change.
type client struct {
	revision string
	meta     []byte // raw members that each request to the server carries in its _meta

	// What the server may ask of the client.
	roots, sampling, samplingTools, forms, urls bool
	// What the server offers.
	logging, subscribe, toolsChanged, promptsChanged, resourcesChanged bool
}

// open answers initialize by what server/discover tells.
func (s *Session) open(ctx context.Context, request mcp.Message) (link.Call, error) {
	refuse := func(code int, text string) (link.Call, error) {
		return link.Answered(mcp.NewError(request.ID(), code, text, nil)), nil
	}
	revision, ok := request.Text(request.Param("protocolVersion"))
	if !ok {
		return refuse(mcp.CodeInvalidParams, "initialize has no protocolVersion")
	}
	if !mcp.Handshake(revision) {
		revision = mcp.Revision2025November
	}
	if !s.reserve() {
		return refuse(mcp.CodeInvalidRequest, "the session is initialized already")
	}
	c := newClient(revision, request)
	if len(c.meta) > maxMeta {
		s.opened(nil)
		return refuse(mcp.CodeInvalidParams, fmt.Sprintf("capabilities and clientInfo have more than %d bytes", maxMeta))
	}
	e, own, err := s.begin(request)
	if err != nil {
		s.opened(nil)
		return nil, err
	}
	call, err := s.do(ctx, own, c.say("").prepare(mcp.NewRequest(request.ID(), mcp.MethodDiscover, nil)))
	if err != nil {
		s.opened(nil)
		e.release()
		return nil, err
	}
	e.run(own, func(ctx context.Context) mcp.Message {
		discovered := e.relay(ctx, call)
		if !mcp.IsObject(discovered.Result()) {
			s.opened(nil)
			return c.response(request, discovered)
		}
		c.offered(discovered)
		s.opened(c)
		return c.hello(discovered, s.info.Gateway)
	})
	return e, nil
}

// reserve reports whether the session may be initialized now.
func (s *Session) reserve() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opening || s.client != nil {
		return false
	}
	s.opening = true
	return true
}

// opened ends a reservation, with a client or without.
func (s *Session) opened(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opening = false
	if c == nil {
		return
	}
	s.client, s.said = c, c.say("")
	if c.logging {
		s.said = c.say(defaultLevel)
	}
}

// watched is the watch of a client, which runs from the first time on that there is
// something to watch: most sessions never have that. It is nil after the end.
func (s *Session) watched(c *client) *watch {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watch == nil && s.ended == nil {
		s.watch = newWatch(s, c)
		s.running.Go(func() { s.watch.run(s.ctx) })
	}
	return s.watch
}

func newClient(revision string, request mcp.Message) *client {
	c := &client{revision: revision}
	c.meta = append([]byte(`"`+mcp.MetaRevision+`":"`+mcp.Revision2026July+`","`+mcp.MetaCapabilities+`":`),
		c.capabilities(request.At(request.Param("capabilities")))...)
	if info := request.At(request.Param("clientInfo")); mcp.IsObject(info) {
		c.meta = append(append(c.meta, `,"`+mcp.MetaClientInfo+`":`...), info...)
	}
	return c
}

// capabilities notes what the client can do and says it as the stateless era does.
// What the client's revision does not know, it does not mean: another revision may
// have given the word a sense.
func (c *client) capabilities(declared []byte) []byte {
	return mcp.Edit(declared, func(name string, value []byte) ([]byte, bool) {
		switch {
		case name == "experimental":
			return value, true
		case !mcp.IsObject(value):
			return nil, false
		case name == "roots":
			c.roots = true
			return []byte("{}"), true // without listChanged
		case name == "sampling":
			c.sampling = true
			if c.revision < mcp.Revision2025November {
				return []byte("{}"), true
			}
			c.samplingTools = mcp.IsObject(mcp.Member(value, "tools"))
			return value, true
		case name == "elicitation" && c.revision >= mcp.Revision2025June:
			c.urls = c.revision >= mcp.Revision2025November && mcp.IsObject(mcp.Member(value, "url"))
			c.forms = !c.urls || mcp.IsObject(mcp.Member(value, "form"))
			return c.modes(), true
		}
		return nil, false
	})
}

// modes says how the client can ask people. One that names no way has forms.
func (c *client) modes() []byte {
	switch {
	case !c.urls:
		return []byte(`{"form":{}}`)
	case !c.forms:
		return []byte(`{"url":{}}`)
	}
	return []byte(`{"form":{},"url":{}}`)
}

// offered notes what the server offers.
func (c *client) offered(discovered mcp.Message) {
	offers := func(path ...string) bool {
		return string(discovered.At(discovered.InResult(append([]string{"capabilities"}, path...)...))) == "true"
	}
	c.logging = !discovered.InResult("capabilities", "logging").Empty()
	c.subscribe = offers("resources", "subscribe")
	c.toolsChanged = offers("tools", "listChanged")
	c.promptsChanged = offers("prompts", "listChanged")
	c.resourcesChanged = offers("resources", "listChanged")
}

// changes reports whether the server offers to tell of changed lists.
func (c *client) changes() bool { return c.toolsChanged || c.promptsChanged || c.resourcesChanged }

// hello makes the answer to initialize of that to server/discover.
func (c *client) hello(discovered mcp.Message, gateway string) mcp.Message {
	info := discovered.At(discovered.InResult("_meta", mcp.MetaServerInfo))
	if !mcp.IsObject(info) {
		info = append(append([]byte(`{"name":`), mcp.Quote(gateway)...), `,"version":"1"}`...)
	}
	added := append([]byte(`"protocolVersion":"`+c.revision+`","serverInfo":`), info...)
	if discovered.InResult("capabilities").Empty() {
		added = append(added, `,"capabilities":{}`...)
	}
	hello := discovered.EditAt(discovered.InResult(), func(name string, value []byte) ([]byte, bool) {
		switch name {
		case "capabilities":
			return c.shown(value), true
		case "supportedVersions", "protocolVersion", "serverInfo":
			return nil, false
		}
		return c.common(name, value)
	})
	return hello.Insert(hello.InResult(), added)
}

// shown are the server's capabilities that the client's revision knows. Tasks and
// extensions are not translated.
func (c *client) shown(offered []byte) []byte {
	return mcp.Edit(offered, func(name string, value []byte) ([]byte, bool) {
		switch name {
		case "experimental", "logging", "prompts", "resources", "tools":
			return value, true
		case "completions":
			return value, c.revision >= mcp.Revision2025March
		}
		return nil, false
	})
}
