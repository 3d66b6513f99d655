package catalog

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"mcpgateway/proxy/backend"
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
		spec := fleet.Spec{Replicas: 1, Spec: backend.Spec{
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

// next waits for the next messages of a call, at least n.
func next(call link.Call, n int) (messages []mcp.Message) {
	for len(messages) < n {
		<-call.Ready()
		messages = append(messages, call.Take()...)
	}
	return messages
}
