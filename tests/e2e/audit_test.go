package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"mcpgateway/proxy/grpcfront/gatewaypb"
)

// trail is a gateway with an audit log.
type trail struct {
	*gateway
	log  string
	user asker
}

func startAudited(t *testing.T, sections ...string) *trail {
	t.Helper()
	r := &trail{}
	r.gateway = startPrepared(t, func(g *gateway) {
		r.log = filepath.Join(g.dir, "audit.log")
		g.writeConfig(t, g.pool()+audited(g.dir)+"transports: {grpc: {enabled: true}, websocket: {enabled: true}, sse: {enabled: true}}\n"+strings.Join(sections, ""))
	})
	r.user = asker{r.gateway, r.cli(t, "key", "create", "ana")}
	return r
}

// of are the records of calls of a tool.
func (r *trail) of(t *testing.T, tool string) []record {
	t.Helper()
	return records(t, r.log, func(r record) bool { return r.Name == tool })
}

// wants waits for the one record of a tool's calls and for its status.
func (r *trail) wants(t *testing.T, tool, status string) (found record) {
	t.Helper()
	var all []record
	eventually(t, "the record of "+tool, func() bool { all = r.of(t, tool); return len(all) > 0 })
	if len(all) != 1 || all[0].Status != status || all[0].Event != "call" {
		t.Errorf("records of %s: got %+v, want one with status %s", tool, all, status)
	}
	return all[0]
}

// TestAuditOfCalls reads what the log says of calls of every kind and end.
func TestAuditOfCalls(t *testing.T) {
	t.Parallel()
	r := startAudited(t, servers(testserver("test", "timeout: 30s", "tools: {hang: {timeout: 300ms}}"), testserver("other")))
	a := r.user
	const trace = "0af7651916cd43dd8448eb211c80319c"

	// All that a record has.
	got := a.http(t, "/servers/test", "tools/call", `"name":"echo","arguments":{"n":1}`)
	a.http(t, "/servers/test", "tools/call", `"name":"echo","arguments":{"n":1}`)
	var all []record
	eventually(t, "two records", func() bool { all = r.of(t, "echo"); return len(all) == 2 })
	first := all[0]
	want := record{
		Sequence: first.Sequence, Event: "call", Correlation: got.correlation, Subject: first.Subject, User: "ana", Auth: "api-key",
		Source: "127.0.0.1", Transport: "http", Project: "default", Server: "test", Instance: first.Instance, Method: "tools/call", Name: "echo",
		Decision: "allow", Status: "ok", Duration: first.Duration, BytesIn: first.BytesIn, BytesOut: first.BytesOut, Digest: first.Digest,
	}
	if first != want || got.correlation == "" || !strings.HasPrefix(first.Subject, "key:") || first.Duration == 0 || first.BytesIn < 100 || first.BytesOut < 50 ||
		len(first.Digest) != 64 || first.Digest != all[1].Digest || first.Instance != all[1].Instance || !strings.Contains(r.cli(t, "ps"), first.Instance+" ") {
		t.Errorf("got %+v, want %+v", first, want)
	}

	// A trace, and each of the transports.
	a.http(t, "/servers/test", "tools/call", `"name":"status","arguments":{},"_meta":{`+statelessMeta+`,"traceparent":"00-`+trace+`-b7ad6b7169203331-01"}`)
	s := &session{url: r.addresses.HTTP + "/servers/test/mcp", key: a.key}
	s.open(t)
	s.post(t, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"counters","_meta":{"traceparent":"00-`+trace+`-b7ad6b7169203331-01"}}}`)
	if one := r.wants(t, "counters", "ok"); one.Trace != trace || one.Instance == first.Instance || one.Instance == "" {
		t.Errorf("in a session: got %+v", one)
	}
	if opened := records(t, r.log, func(r record) bool { return r.Method == "initialize" }); len(opened) != 1 || opened[0].Instance == "" || opened[0].Status != "ok" {
		t.Errorf("initialize: got %+v", opened)
	}
	a.socket(t, "/servers/test", "tools/call", `"name":"env","arguments":{}`)
	if one := r.wants(t, "env", "ok"); one.Transport != "websocket" || one.Correlation == "" {
		t.Errorf("websocket: got %+v", one)
	}
	a.grpc(t, "/servers/test", "tools/call", `"name":"list_dir","arguments":{"path":"/"}`)
	if one := r.wants(t, "list_dir", "ok"); one.Transport != "grpc" {
		t.Errorf("grpc: got %+v", one)
	}
	overREST := a.rest(t, "/servers/test/tools/big", `{"bytes":10}`)
	if one := r.wants(t, "big", "ok"); one.Transport != "rest" || one.Correlation != overREST.correlation || one.Correlation == "" {
		t.Errorf("rest: got %+v, want correlation %q", one, overREST.correlation)
	}
	merged := a.http(t, "", "tools/list", "")
	lists := func() []record {
		return records(t, r.log, func(r record) bool { return r.Correlation == merged.correlation })
	}
	eventually(t, "a merged list has a record for each server", func() bool { return len(lists()) == 2 })

	// Every end.
	a.http(t, "/servers/test", "tools/call", `"name":"read_file","arguments":{"path":"/none"}`)
	r.wants(t, "read_file", "tool-error")
	a.http(t, "/servers/test", "tools/call", `"name":"no-such-tool","arguments":{}`)
	r.wants(t, "no-such-tool", "error -32602")
	a.http(t, "/servers/test", "tools/call", `"name":"hang","arguments":{}`)
	r.wants(t, "hang", "timeout")
	a.http(t, "/servers/test", "tools/call", `"name":"exit","arguments":{}`)
	r.wants(t, "exit", "ended")
	r.leaves(t)
	r.batch(t)
	r.cancelled(t)
	s.end(t)
	r.refused(t)

	if text := r.cli(t, "audit", "verify"); !strings.Contains(text, "are as they were written") {
		t.Errorf("verify: got %s", text)
	}
}

// leaves has clients go away from calls: in the stateless era that cancels.
func (r *trail) leaves(t *testing.T) {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.addresses.HTTP+"/api/v1/servers/test/tools/sleep", strings.NewReader(`{"seconds":20}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = http.Header{"X-Api-Key": {r.user.key}, "Content-Type": {"application/json"}, "Accept": {"text/event-stream"}}
	response, err := http.DefaultClient.Do(request) // the first event has come
	if err != nil {
		t.Fatal(err)
	}
	leave()
	response.Body.Close()
	r.wants(t, "sleep", "cancelled")

	rpc, ctx := r.user.dial(t)
	ctx, leave = context.WithCancel(ctx)
	stream, err := rpc.CallStream(ctx, &gatewaypb.CallRequest{Scope: scoped("/servers/other"), Method: "tools/call", ParamsJson: `{"name":"sleep","arguments":{"seconds":20},"_meta":{"progressToken":1}}`})
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	leave()
	eventually(t, "the record of a call by gRPC that was left", func() bool {
		found := records(t, r.log, func(r record) bool { return r.Server == "other" && r.Name == "sleep" })
		return len(found) == 1 && found[0].Status == "cancelled" && found[0].Transport == "grpc"
	})
}

// batch has several calls come in one body, of the revision that has this.
func (r *trail) batch(t *testing.T) {
	t.Helper()
	s := &session{url: r.addresses.HTTP + "/servers/test/mcp", key: r.user.key}
	a := s.post(t, strings.Replace(initialize, "2025-11-25", "2025-03-26", 1))
	s.id = a.header.Get("Mcp-Session-Id")
	s.post(t, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	calls := make([]string, 3)
	for i := range calls {
		calls[i] = fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"chmod","arguments":{"path":"/none%[1]d","mode":"0"}}}`, i)
	}
	a = s.do(t, http.MethodPost, "["+strings.Join(calls, ",")+"]", map[string]string{"Mcp-Protocol-Version": "2025-03-26"})
	var found []record
	eventually(t, "three records of a batch", func() bool { found = r.of(t, "chmod"); return len(found) >= 3 })
	if len(found) != 3 || found[0].Digest == found[1].Digest || found[0].Correlation != a.header.Get("Mcp-Gateway-Request-Id") {
		t.Errorf("batch: got %d %s, %+v", a.status, a.message, found)
	}
	s.do(t, http.MethodDelete, "", map[string]string{"Mcp-Protocol-Version": "2025-03-26"})
}

// cancelled has a client cancel a call, and a session end with one in flight that
// nobody reads any more.
func (r *trail) cancelled(t *testing.T) {
	t.Helper()
	s := &session{url: r.addresses.HTTP + "/servers/other/mcp", key: r.user.key}
	s.open(t)
	asked := 0
	begin := func(id string) (leave context.CancelFunc) {
		ctx, cancel := context.WithCancel(t.Context())
		body := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":"sleep","arguments":{"seconds":20}}}`, id)
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header = http.Header{"X-Api-Key": {s.key}, "Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}, "Mcp-Session-Id": {s.id}, "Mcp-Protocol-Version": {"2025-11-25"}}
		go func() {
			if response, err := http.DefaultClient.Do(request); err == nil {
				response.Body.Close()
			}
		}()
		eventually(t, "the call has begun", func() bool { asked++; return s.calls(t) > asked })
		asked++ // the call itself
		return cancel
	}
	statuses := func() (found []string) {
		for _, one := range records(t, r.log, func(one record) bool { return one.Server == "other" && one.Name == "sleep" && one.Transport == "http" }) {
			found = append(found, one.Status)
		}
		return found
	}
	defer begin("7")()
	s.post(t, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`)
	eventually(t, "the record of a call that was cancelled", func() bool { return strings.Join(statuses(), " ") == "cancelled" })
	begin("8")()
	s.end(t)
	eventually(t, "the record of a call whose session has ended", func() bool { return len(statuses()) > 1 })
	if got := strings.Join(statuses(), " "); got != "cancelled ended" && got != "cancelled unread" {
		t.Errorf("got %s", got)
	}
}

// refused are the records of what is not passed on, and of who is not known.
func (r *trail) refused(t *testing.T) {
	t.Helper()
	narrow := asker{r.gateway, r.cli(t, "key", "create", "narrow", "--server", "other")}
	got := narrow.http(t, "/servers/test", "tools/call", `"name":"echo","arguments":{}`)
	stranger := asker{r.gateway, "mcpgw_nobody_nothing"}.http(t, "/servers/test", "tools/list", "")
	for _, tt := range []struct{ correlation, event, status string }{{got.correlation, "denied", "unknown"}, {stranger.correlation, "auth-failed", "unauthenticated"}} {
		var found []record
		eventually(t, "a record of "+tt.event, func() bool {
			found = records(t, r.log, func(r record) bool { return r.Correlation == tt.correlation })
			return len(found) > 0
		})
		if len(found) != 1 || tt.correlation == "" || found[0].Event != tt.event || found[0].Decision != "deny" || found[0].Status != tt.status {
			t.Errorf("%s: got %+v", tt.event, found)
		}
	}
}

// TestAuditLosesNothing counts the records of many calls, and reads the daemon's.
func TestAuditLosesNothing(t *testing.T) {
	t.Parallel()
	r := startAudited(t, servers(testserver("test", "instances: shared"), testserver("greedy", "resources: {max_memory_mb: 32}")))
	const callers, each = 8, 50
	done := make(chan struct{})
	for range callers {
		go func() {
			defer func() { done <- struct{}{} }()
			for range each {
				r.user.http(t, "/servers/test", "tools/call", `"name":"echo","arguments":{}`)
			}
		}()
	}
	for range callers {
		<-done
	}
	eventually(t, "a record of each call", func() bool { return len(r.of(t, "echo")) == callers*each })

	r.user.http(t, "/servers/greedy", "tools/call", `"name":"memory","arguments":{"n":500}`)
	r.wants(t, "memory", "ended")
	r.writeConfig(t, strings.Replace(string(mustRead(t, r.config())), "version:", "# changed\nversion:", 1)+"rate_limit: {enabled: true, requests_per_second: 1000}\n")
	r.cli(t, "reload")
	daemon := filepath.Join(r.dir, "audit-daemon.log")
	for _, want := range []string{`"event":"sandbox-started"`, `"event":"sandbox-ended"`, `"oom":true`, `"event":"configuration-applied"`, `"event":"administrator"`, `"event":"proxy-connected"`} {
		eventually(t, "the daemon's log has "+want, func() bool { return strings.Contains(string(mustRead(t, daemon)), want) })
	}
	if text := r.cli(t, "audit", "verify"); !strings.Contains(text, "are as they were written") {
		t.Errorf("verify: got %s", text)
	}
	if got := len(r.of(t, "echo")); got != callers*each {
		t.Errorf("got %d records, want %d", got, callers*each)
	}
}

// TestAuditOnAFullDisk fills the disk that the log is on.
func TestAuditOnAFullDisk(t *testing.T) {
	t.Parallel()
	for _, rule := range []string{"block", "drop"} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			disk := folder(t)
			if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=256k,mode=755"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
					t.Error(err)
				}
			})
			g := start(t, audited(disk, "on_full: "+rule), servers(testserver("test", "instances: shared")))
			user := asker{g, g.addresses.Key}
			call := func() string {
				return user.http(t, "/servers/test", "tools/call", `"name":"echo","arguments":{}`).kind
			}
			answered := 0
			if got := call(); got != "ok" {
				t.Fatalf("got %s", got)
			}
			answered++
			fillDisk(t, filepath.Join(disk, "ballast"))
			if rule == "drop" {
				for range 40 {
					if got := call(); got != "ok" {
						t.Fatalf("got %s on a full disk, want that calls go on", got)
					}
				}
			} else {
				eventually(t, "calls are refused", func() bool {
					switch got := call(); got {
					case "ok":
						answered++
						return false
					case "503":
						return true
					default:
						t.Fatalf("got %s, want 503", got)
						return false
					}
				})
			}
			if err := os.Remove(filepath.Join(disk, "ballast")); err != nil {
				t.Fatal(err)
			}
			eventually(t, "calls are let in again", func() bool { return call() == "ok" })
			answered++
			log := filepath.Join(disk, "audit.log")
			if rule == "drop" {
				eventually(t, "the log says what it lacks", func() bool {
					call()
					return strings.Contains(string(mustRead(t, log)), `"event":"gap"`)
				})
			} else {
				eventually(t, "a record of each call that was answered", func() bool {
					return len(records(t, log, func(r record) bool { return r.Name == "echo" && r.Status == "ok" })) == answered
				})
			}
			if text := g.cli(t, "audit", "verify"); !strings.Contains(text, "are as they were written") {
				t.Errorf("verify: got %s", text)
			}
		})
	}
}

// fillDisk writes a file until there is no room for a byte more.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for size := 4096; size > 0; {
		if _, err := file.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}
