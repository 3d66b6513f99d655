package gate

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/proxytest"
)

// servers are those of this package's tests that say what no server should.
func servers() proxytest.Own {
	return proxytest.Own{
		"frail":           frail,
		"nonsense":        func() int { return talkNonsense(mcp.MethodInitialize) },
		"nonsense-modern": func() int { return talkNonsense(mcp.MethodDiscover) },
	}
}

// talkNonsense serves one era: it answers the first request of it, and all others by
// values that stand where others are expected, beside messages that nobody waits for.
func talkNonsense(hello string) int {
	chance := rand.New(rand.NewPCG(1, 2))
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var request struct {
			ID     json.RawMessage
			Method string
		}
		if json.Unmarshal(lines.Bytes(), &request) != nil || request.ID == nil || request.Method == "" {
			continue
		}
		capabilities := `{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"subscribe":true,"listChanged":true},"completions":{},"logging":{}}`
		switch {
		case request.Method == hello && hello == mcp.MethodInitialize:
			fmt.Fprintf(os.Stdout, `{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":%s,"serverInfo":%s}}`+"\n", request.ID, capabilities, nonsense(chance, 2))
			continue
		case request.Method == hello:
			fmt.Fprintf(os.Stdout, `{"jsonrpc":"2.0","id":%s,"result":{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":%s,"_meta":%s}}`+"\n", request.ID, capabilities, nonsense(chance, 2))
			continue
		case request.Method == mcp.MethodInitialize || request.Method == mcp.MethodDiscover:
			fmt.Fprintf(os.Stdout, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no"}}`+"\n", request.ID)
			continue
		}
		for range chance.IntN(8) {
			fmt.Fprintln(os.Stdout, strings.ReplaceAll(message(chance), `"ID"`, string(request.ID)))
		}
		if chance.IntN(3) == 0 {
			fmt.Fprintf(os.Stdout, `{"jsonrpc":"2.0","id":%s,"error":%s}`+"\n", request.ID, nonsense(chance, 3))
		} else {
			fmt.Fprintf(os.Stdout, `{"jsonrpc":"2.0","id":%s,"result":%s}`+"\n", request.ID, nonsense(chance, 5))
		}
		fmt.Fprintf(os.Stdout, `{"jsonrpc":"2.0","id":%s,"result":{}}`+"\n", request.ID) // once more
	}
	return 0
}

// message is a notification, a request or a response that nobody expects.
func message(chance *rand.Rand) string {
	methods := []string{
		mcp.MethodProgress, mcp.MethodCancelled, mcp.MethodAcknowledged, mcp.MethodLogged, mcp.MethodToolsChanged, mcp.MethodResourceUpdated,
		mcp.MethodSample, mcp.MethodElicit, mcp.MethodRoots, mcp.MethodPing, mcp.MethodInitialize, "x",
	}
	method := methods[chance.IntN(len(methods))]
	switch chance.IntN(6) {
	case 0:
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":%s}`, chance.IntN(99)+1000, nonsense(chance, 2))
	case 1:
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":null,"error":%s}`, nonsense(chance, 2))
	case 2:
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":"ID","method":%q,"params":%s}`, method, object(chance, 3))
	case 3:
		return fmt.Sprintf(`{"jsonrpc":"2.0","method":%q}`, method)
	case 4:
		return nonsense(chance, 3)
	}
	return fmt.Sprintf(`{"jsonrpc":"2.0","method":%q,"params":%s}`, method, object(chance, 4))
}

// nonsense is any value.
func nonsense(chance *rand.Rand, depth int) string {
	plain := []string{"null", "true", "0", "-1.5e300", `""`, `"a"`, `"\ud800"`, "[]", "{}", `"ID"`, `"input_required"`, `"complete"`, "-32042", "-32002"}
	if depth == 0 || chance.IntN(4) == 0 {
		return plain[chance.IntN(len(plain))]
	}
	if chance.IntN(3) > 0 {
		return object(chance, depth)
	}
	var elements []string
	for range chance.IntN(4) {
		elements = append(elements, nonsense(chance, depth-1))
	}
	return "[" + strings.Join(elements, ",") + "]"
}

// object has members of names that mean something.
func object(chance *rand.Rand, depth int) string {
	names := []string{
		"_meta", "tools", "prompts", "resources", "resourceTemplates", "name", "uri", "uriTemplate", "nextCursor", "ttlMs", "cacheScope",
		"resultType", "inputRequests", "requestState", "method", "params", "content", "structuredContent", "messages", "type", "text", "isError",
		"code", "message", "data", "elicitations", "mode", "requestedSchema", "properties", "oneOf", "const", "title", "progressToken", "requestId",
		"notifications", "toolsListChanged", "resourceSubscriptions", "level", "inputSchema", "outputSchema", "x-mcp-header", "capabilities",
		mcp.MetaSubscription, mcp.MetaServerInfo,
	}
	var members []string
	for _, i := range chance.Perm(len(names))[:chance.IntN(12)] {
		members = append(members, fmt.Sprintf("%q:%s", names[i], nonsense(chance, depth-1)))
	}
	return "{" + strings.Join(members, ",") + "}"
}

// Whatever a server says, every request has exactly one answer, in every era and at
// every address.
func TestNonsense(t *testing.T) {
	g, _ := newGate(t)
	p := *g.policy
	p.Limits.MaxSessions, p.Limits.MaxSessionsPerCaller = 16, 16
	p.Servers = map[string]policy.Server{}
	for _, name := range []string{"nonsense", "nonsense-modern"} {
		p.Servers[name] = policy.Server{Timeout: time.Minute, IdleTimeout: time.Hour}
	}
	g = New(Rules{Policy: &p}, g.fleet, g.sessions)
	const meta = `"_meta":{"progressToken":"p","` + mcp.MetaRevision + `":"` + mcp.Revision2026July + `","` + mcp.MetaCapabilities +
		`":{"roots":{},"sampling":{"tools":{}},"elicitation":{"form":{},"url":{}}},"` + mcp.MetaLogLevel + `":"debug"}`
	requests := []string{
		`"method":"tools/list","params":{META}`, `"method":"prompts/list","params":{META}`, `"method":"resources/list","params":{META}`,
		`"method":"resources/templates/list","params":{META}`, `"method":"tools/call","params":{"name":"nonsense__a",META}`,
		`"method":"prompts/get","params":{"name":"nonsense-modern__a",META}`, `"method":"resources/read","params":{"uri":"a",META}`,
		`"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"a"},META}`, `"method":"server/discover","params":{META}`,
	}
	initialized := strings.Replace(initializing, `{"elicitation":{}}`, `{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{}}`, 1)
	for _, scope := range []policy.Scope{on("nonsense"), on("nonsense-modern"), {}} {
		for _, era := range []string{"stateless", "session"} {
			t.Run(scope.String()+" "+era, func(t *testing.T) {
				u := &user{t: t, gate: g, caller: caller("key:" + era), scope: scope}
				own := "," + meta
				if era == "session" {
					reply := u.do(initialized)
					if u.session = reply.Session; u.session == "" {
						t.Fatalf("got no session but %s", reply.Call.Take()[0].Raw())
					}
					u.do(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
					own = `,"_meta":{"progressToken":"p"}`
				}
				listen := fmt.Sprintf(`{"jsonrpc":"2.0","id":"l","method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["a"]}%s}}`, own)
				if u.session != "" {
					listen = `{"jsonrpc":"2.0","id":"l","method":"resources/subscribe","params":{"uri":"a"}}`
				}
				listening := u.do(listen).Call
				var asking sync.WaitGroup
				for i := range 100 {
					asking.Go(func() {
						text := strings.Replace(requests[i%len(requests)], ",META", own, 1)
						text = strings.Replace(text, "META", own[1:], 1)
						m, err := mcp.Parse(fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,%s}`, i, text))
						if err != nil {
							t.Error(err)
							return
						}
						reply, err := g.Do(t.Context(), Request{Caller: u.caller, Scope: scope, Stateless: era == "stateless", Session: u.session, Message: m})
						if err != nil {
							return // it has been answered by a refusal
						}
						one(t, u, reply.Call, fmt.Sprint(i))
					})
				}
				asking.Wait()
				listening.Cancel("enough")
				one(t, u, listening, `"l"`)
			})
		}
	}
}

// one waits for the answer of a call, refuses whatever the server asks meanwhile, and
// sees that there is but one.
func one(t *testing.T, u *user, call link.Call, id string) {
	for {
		<-call.Ready()
		messages := call.Take()
		for _, m := range messages {
			if m.Kind() == mcp.Request {
				refusal := mcp.NewError(m.ID(), -1, "no", nil)
				_, _ = u.gate.Do(t.Context(), Request{Caller: u.caller, Scope: u.scope, Session: u.session, Message: refusal})
			}
		}
		at := slices.IndexFunc(messages, func(m mcp.Message) bool { return m.Kind() == mcp.Response })
		if at < 0 {
			continue
		}
		if at != len(messages)-1 || string(messages[at].ID()) != id || len(call.Take()) != 0 {
			t.Errorf("%s: got more than its answer: %s", id, messages[at].Raw())
		}
		return
	}
}
