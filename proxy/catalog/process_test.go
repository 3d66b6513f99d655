package catalog

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/bridge"
	"mcpgateway/proxy/fleet"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
	"mcpgateway/proxy/proxytest"
)

func TestMain(m *testing.M) { os.Exit(proxytest.Main(m)) }

// processes is the catalogue of real server processes, started by a real fleet.
func processes(t *testing.T, servers ...string) *Catalog {
	t.Helper()
	opener := &proxytest.Opener{}
	instances := fleet.New(opener, nil, slog.New(slog.NewTextHandler(t.Output(), nil)))
	opener.Exited = instances.Exited
	lists := unhurried()
	t.Cleanup(func() {
		instances.Close()
		opener.Wait()
		lists.flights.Wait()
	})
	var members []Member
	for _, server := range servers {
		spec := &fleet.Spec{Replicas: 1, Spec: backend.Spec{
			Server: server, Gateway: "test", Timeout: time.Minute, IdleTimeout: time.Hour, MaxMessageBytes: 4 << 20,
		}}
		members = append(members, Member{server, instances.Server(spec, fleet.Owner{Subject: "key:a"})})
	}
	return New(members, lists, "key:a", "gateway")
}

const realMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{}},"progressToken":"p"}`

// Servers of both eras, and one that can't start, behind one address.
func TestOverRealProcesses(t *testing.T) {
	t.Parallel()
	c := processes(t, "echo", "modern", "exit")
	response := answerOf(t, c, request(mcp.MethodToolsList, `{`+realMeta+`}`))
	if got := keysOf(response, tools); got != "echo__echo modern__echo" {
		t.Errorf("got %s", got)
	}
	if got := unavailableIn(response); !strings.Contains(got, `"exit"`) || !strings.Contains(got, "status 7") {
		t.Errorf("got faults %s, want that exit has exited", got)
	}

	call, err := c.Do(t.Context(), request(mcp.MethodToolsCall, `{`+realMeta+`,"name":"echo__progress","arguments":{"n":2}}`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range next(call, 3) {
		got = append(got, m.Method()+string(m.At(m.Param("progressToken"))))
	}
	if want := `notifications/progress"p" notifications/progress"p" `; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}

	asked := answerOf(t, c, request(mcp.MethodToolsCall, `{`+realMeta+`,"name":"modern__input"}`))
	state := asked.At(asked.InResult("requestState"))
	if state == nil {
		t.Fatalf("got %s, want a state to come back with", asked.Raw())
	}
	retry := fmt.Sprintf(`{%s,"name":"modern__input","requestState":%s,"inputResponses":{"who":{"action":"decline"}}}`, realMeta, state)
	if got := answerOf(t, c, request(mcp.MethodToolsCall, retry)); !strings.Contains(string(got.Result()), `the server's own: {\"who\"`) {
		t.Errorf("got %s, want the server to have its state and the answer", got.Raw())
	}
}

func TestListenToRealProcesses(t *testing.T) {
	t.Parallel()
	c := processes(t, "echo", "modern")
	call, err := c.Do(t.Context(), request(mcp.MethodListen, `{`+realMeta+`,"notifications":{"toolsListChanged":true}}`))
	if err != nil {
		t.Fatal(err)
	}
	got := next(call, 2)
	want := []string{
		mcp.MethodAcknowledged + ` {` + tag + `,"notifications":{"toolsListChanged":true}}`,
		mcp.MethodToolsChanged + ` {` + tag + `}`,
	}
	for i, want := range want {
		if got := got[i].Method() + " " + string(got[i].Params()); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	call.Cancel("enough")
	if got := next(call, 1)[0]; got.Kind() != mcp.Response || !strings.Contains(errorOf(got), "enough") {
		t.Errorf("got %s, want that it was cancelled", got.Raw())
	}
}

// A client of the handshake era has the same servers, and hears of their changes.
func TestHandshakeClient(t *testing.T) {
	t.Parallel()
	session := bridge.NewSession(processes(t, "echo", "modern"), bridge.Info{IdleTimeout: time.Hour, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	defer session.Close()
	ask := func(method, params string) mcp.Message {
		t.Helper()
		call, err := session.Call(t.Context(), request(method, params))
		if err != nil {
			t.Fatal(err)
		}
		messages := next(call, 1)
		return messages[len(messages)-1]
	}
	hello := ask(mcp.MethodInitialize, `{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}`)
	if got := string(hello.At(hello.InResult("capabilities", "tools"))); got != `{"listChanged":true}` {
		t.Errorf("got %s", hello.Raw())
	}
	if err := session.Send(t.Context(), mcp.NewRequest(nil, mcp.MethodInitialized, nil)); err != nil {
		t.Fatal(err)
	}
	inbox, stop, ok := session.Listen()
	if !ok {
		t.Fatal("got no inbox")
	}
	defer stop()
	<-inbox.Ready()
	if got := inbox.Take(); len(got) != 1 || got[0].Method() != mcp.MethodToolsChanged {
		t.Errorf("got %v, want that modern's tools have changed", got)
	}
	if got := keysOf(ask(mcp.MethodToolsList, `{}`), tools); got != "echo__echo modern__echo" {
		t.Errorf("got %s", got)
	}
	if got := ask(mcp.MethodToolsCall, `{"name":"modern__echo"}`); !strings.Contains(string(got.Result()), `\"name\":\"echo\"`) {
		t.Errorf("got %s, want the server's own name", got.Raw())
	}
}

// next waits for the next messages of a call, at least n.
func next(call link.Call, n int) (messages []mcp.Message) {
	for len(messages) < n {
		<-call.Ready()
		messages = append(messages, call.Take()...)
	}
	return messages
}
