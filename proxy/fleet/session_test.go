package fleet

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

const hello = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{"roots":{}},"clientInfo":{"name":"c","version":"1"}}}`

// opened opens a session with a process of its own, as a client does.
func opened(t *testing.T, f *Fleet, s *Spec) link.Session {
	t.Helper()
	session, answer, ok, err := f.Open(t.Context(), s, "key:a", parse(t, hello))
	if err != nil || !ok || session == nil {
		t.Fatalf("got %v, %s, %v, %v", session, answer.Raw(), ok, err)
	}
	if err := session.Send(t.Context(), parse(t, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		session.Close()
		<-session.Done()
	})
	return session
}

// ask passes a request on in a session and returns its response.
func ask(t *testing.T, session link.Session, method, params string) mcp.Message {
	t.Helper()
	call, err := session.Call(t.Context(), parse(t, `{"jsonrpc":"2.0","id":"mine","method":"`+method+`","params":{`+params+`}}`))
	if err != nil {
		t.Fatal(err)
	}
	return await(t, call)
}

func sessionPID(t *testing.T, session link.Session) string {
	t.Helper()
	return string(ask(t, session, "tools/call", `"name":"pid"`).Result())
}

// messages takes what an inbox holds, without the log messages.
func messages(inbox *link.Queue) (all []string) {
	for _, m := range inbox.Take() {
		all = append(all, m.Method())
	}
	return all
}

// A session outlives its process: the next request has another, which is told what the
// client had said, and the client is told to look again.
func TestSessionOutlivesItsProcess(t *testing.T) {
	fleet, _ := newFleet(t)
	told := watchEvents(fleet)
	session := opened(t, fleet, restarted("mortal"))
	inbox, stop, ok := session.Listen()
	if !ok {
		t.Fatal("nobody listens, and nobody may")
	}
	defer stop()
	first := sessionPID(t, session)
	ask(t, session, "logging/setLevel", `"level":"debug"`)
	ask(t, session, "resources/subscribe", `"uri":"file:///a"`)
	ask(t, session, "resources/subscribe", `"uri":"file:///b"`)
	ask(t, session, "resources/subscribe", `"uri":"file:///c"`)
	ask(t, session, "resources/unsubscribe", `"uri":"file:///b"`)
	if answer := ask(t, session, "tools/call", `"name":"die"`); answer.Failure() != mcp.FailureEnded || !strings.Contains(string(answer.Raw()), "exited with status 3") {
		t.Fatalf("the call in flight: got %s, want the cause", answer.Raw())
	}
	if got := messages(inbox); len(got) != 0 {
		t.Errorf("got %q before another process runs", got)
	}
	began := time.Now()
	second := sessionPID(t, session)
	if second == first || time.Since(began) > time.Second {
		t.Errorf("got process %s after %s, want another than %s within a second", second, time.Since(began), first)
	}
	if got, want := messages(inbox), []string{mcp.MethodToolsChanged, mcp.MethodResourcesChanged, mcp.MethodResourceUpdated, mcp.MethodResourceUpdated}; !slices.Equal(got, want) {
		t.Errorf("got %q told, want %q", got, want)
	}
	heard := string(ask(t, session, "tools/call", `"name":"heard-all"`).Result())
	for _, want := range []string{
		`initialize {\"protocolVersion\":\"2025-06-18\",\"capabilities\":{\"roots\":{}},\"clientInfo\":{\"name\":\"c\",\"version\":\"1\"}}|notifications/initialized |logging/setLevel {\"level\":\"debug\"}|`,
		`|resources/subscribe {\"uri\":\"file:///a\"}|resources/subscribe {\"uri\":\"file:///c\"}|tools/call`,
	} {
		if !strings.Contains(heard, want) {
			t.Errorf("the process heard %s, want %s", heard, want)
		}
	}
	if strings.Contains(heard, "file:///b") {
		t.Errorf("the process heard %s, want nothing of what the client unsubscribed", heard)
	}
	if got := told.count(Restarted, ""); got != 1 {
		t.Errorf("got %d restarts told, want 1", got)
	}
}

// All who come while there is no process wait for one.
func TestConcurrentRequestsWaitForOneRestart(t *testing.T) {
	fleet, opener := newFleet(t)
	session := opened(t, fleet, restarted("mortal"))
	ask(t, session, "tools/call", `"name":"die"`)
	started := len(opener.Opened())
	var mu sync.Mutex
	pids := map[string]bool{}
	var asking sync.WaitGroup
	for range 20 {
		asking.Go(func() {
			one := sessionPID(t, session)
			mu.Lock()
			defer mu.Unlock()
			pids[one] = true
		})
	}
	asking.Wait()
	if len(pids) != 1 || len(opener.Opened()) != started+1 {
		t.Errorf("got %d processes that answer and %d started, want one", len(pids), len(opener.Opened())-started)
	}
}

// What the dead process asked, nobody has to answer; who does is not heard by the next one.
func TestQuestionsDieWithTheirProcess(t *testing.T) {
	fleet, _ := newFleet(t)
	session := opened(t, fleet, restarted("mortal"))
	asks, err := session.Call(t.Context(), parse(t, `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"ask"}}`))
	if err != nil {
		t.Fatal(err)
	}
	<-asks.Ready() // and nobody looks at it
	ask(t, session, "tools/call", `"name":"die"`)
	if got := asks.Take(); len(got) != 1 || got[0].Failure() != mcp.FailureEnded {
		t.Errorf("got %d messages, %s first, want the failure alone", len(got), got[0].Raw())
	}
	answer := parse(t, `{"jsonrpc":"2.0","id":"ask-1","result":{"of":"the dead"}}`)
	if err := session.Send(t.Context(), answer); err != nil {
		t.Errorf("an answer while there is no process: got %v", err)
	}
	sessionPID(t, session)
	again, err := session.Call(t.Context(), parse(t, `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"ask"}}`))
	if err != nil {
		t.Fatal(err)
	}
	<-again.Ready()
	question := again.Take()[0]
	for _, m := range []mcp.Message{answer, parse(t, `{"jsonrpc":"2.0","id":`+string(question.ID())+`,"result":{"of":"the living"}}`)} {
		if err := session.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	if got := string(await(t, again).Result()); !strings.Contains(got, "the living") {
		t.Errorf("got %s, want the answer to this very question", got)
	}
}

// Sessions end with their process if the configuration says so, but not for a new
// configuration.
func TestOnCrashEndSession(t *testing.T) {
	fleet, _ := newFleet(t)
	s := restarted("mortal")
	s.OnCrash = policy.OnCrashEndSession
	fleet.Reconcile(of(s))
	session := opened(t, fleet, s)
	first := sessionPID(t, session)
	s.Revision = "2"
	fleet.Reconcile(of(s))
	if sessionPID(t, session) == first {
		t.Error("a new call went to the old process")
	}
	ask(t, session, "tools/call", `"name":"die"`)
	_, err := session.Call(t.Context(), parse(t, `{"jsonrpc":"2.0","id":3,"method":"ping"}`))
	var ended *link.EndedError
	if !errors.As(err, &ended) || !strings.Contains(err.Error(), "exited with status 3") || session.Err() == nil {
		t.Errorf("got %v, want the end of the session", err)
	}
	<-session.Done()
}

// Another process may not be what the client has shaken hands with.
func TestOtherRevisionEndsTheSession(t *testing.T) {
	fleet, _ := newFleet(t)
	session := opened(t, fleet, restarted("fickle"))
	ask(t, session, "tools/call", `"name":"die"`)
	_, err := session.Call(t.Context(), parse(t, `{"jsonrpc":"2.0","id":3,"method":"ping"}`))
	var ended *link.EndedError
	if !errors.As(err, &ended) || !strings.Contains(err.Error(), `speaks revision "2024-11-05" now, not 2025-06-18 as before: initialize again`) {
		t.Errorf("got %v, want the end of the session and its reason", err)
	}
	<-session.Done()
	if rows := fleet.Rows(); len(rows) != 1 || rows[0].Ends != 1 {
		t.Errorf("got %+v, want the crash alone", rows)
	}
}

// A session outlives a crash loop, too, and goes on when an operator says so.
func TestSessionInACrashLoop(t *testing.T) {
	fleet, _ := newFleet(t)
	session := opened(t, fleet, restarted("mortal"))
	for range 3 {
		ask(t, session, "tools/call", `"name":"die"`)
	}
	ping := parse(t, `{"jsonrpc":"2.0","id":3,"method":"ping"}`)
	_, err := session.Call(t.Context(), ping)
	if err == nil || !strings.Contains(err.Error(), "3 times in a row") || session.Err() != nil {
		t.Fatalf("got %v, the session's end %v, want a crash loop alone", err, session.Err())
	}
	fleet.Start("mortal")
	sessionPID(t, session)
	fleet.Stop("mortal")
	var stopped *StoppedError
	if _, err := session.Call(t.Context(), ping); !errors.As(err, &stopped) {
		t.Errorf("got %v, want that it was stopped", err)
	}
	fleet.Start("mortal")
	sessionPID(t, session)
}

// A session that nobody uses ends, with or without a process.
func TestIdleSessionEnds(t *testing.T) {
	for _, die := range []bool{false, true} {
		fleet, opener := newFleet(t)
		s := restarted("mortal")
		s.IdleTimeout = 50 * time.Millisecond
		session := opened(t, fleet, s)
		if die {
			ask(t, session, "tools/call", `"name":"die"`)
		}
		<-session.Done()
		if session.Err() == nil {
			t.Errorf("died %v: got no reason", die)
		}
		waitFor(t, func() bool { return opener.Running() == 0 })
	}
}

// A listener keeps a session that has no process at the moment.
func TestListenerKeepsTheSession(t *testing.T) {
	fleet, _ := newFleet(t)
	s := restarted("mortal")
	s.IdleTimeout = 50 * time.Millisecond
	session := opened(t, fleet, s)
	_, stop, _ := session.Listen()
	ask(t, session, "tools/call", `"name":"die"`)
	<-time.NewTimer(4 * s.IdleTimeout).C
	if session.Err() != nil {
		t.Errorf("got %v while somebody listens", session.Err())
	}
	sessionPID(t, session)
	stop()
	<-session.Done()
}

// Who ends a session does not wait for its restart.
func TestCloseEndsARestart(t *testing.T) {
	fleet, _ := newFleet(t)
	session := opened(t, fleet, restarted("once"))
	ask(t, session, "tools/call", `"name":"die"`)
	failed := make(chan error)
	go func() {
		_, err := session.Call(t.Context(), parse(t, `{"jsonrpc":"2.0","id":3,"method":"ping"}`)) // it does not start
		failed <- err
	}()
	waitFor(t, func() bool { return fleet.Waiting()["once"] == 1 })
	session.Close()
	var ended *link.EndedError
	if err := <-failed; !errors.As(err, &ended) {
		t.Errorf("got %v, want the end of the session", err)
	}
	<-session.Done()
}

// A new process that does not start is a failure of its own; the session goes on.
func TestRestartThatFails(t *testing.T) {
	fleet, opener := newFleet(t)
	told := watchEvents(fleet)
	s := restarted("mortal")
	session := opened(t, fleet, s)
	ask(t, session, "tools/call", `"name":"die"`)
	opener.Refuse("mortal", errors.New("no room"))
	if _, err := session.Call(t.Context(), parse(t, `{"jsonrpc":"2.0","id":3,"method":"ping"}`)); err == nil || !strings.Contains(err.Error(), `start server "mortal": no room`) {
		t.Errorf("got %v, want why it did not start", err)
	}
	if got := told.count(NotStarted, ""); got != 1 {
		t.Errorf("got %d failed starts told, want 1", got)
	}
	opener.Refuse("mortal", nil)
	sessionPID(t, session)
	if rows := fleet.Rows(); len(rows) != 1 || rows[0].Ends != 2 {
		t.Errorf("got %+v, want two ends", rows)
	}
}

// An initialize that is too long to keep makes a session that ends with its process.
func TestLongInitializeIsNotKept(t *testing.T) {
	fleet, _ := newFleet(t)
	long := strings.Replace(hello, `"name":"c"`, `"name":"`+strings.Repeat("c", maxRemembered)+`"`, 1)
	session, _, _, err := fleet.Open(t.Context(), restarted("mortal"), "key:a", parse(t, long))
	if err != nil {
		t.Fatal(err)
	}
	ask(t, session, "tools/call", `"name":"die"`)
	<-session.Done()
}

// What a session remembers is bounded.
func TestSettingsAreBounded(t *testing.T) {
	t.Parallel()
	var s settings
	subscribe := func(method, uri string) {
		s.note(mcp.NewRequest([]byte("1"), method, []byte(`{"uri":`+string(mcp.Quote(uri))+`}`)))
	}
	for i := range maxSubscriptions + 10 {
		subscribe(mcp.MethodSubscribe, strings.Repeat("x", i+1))
	}
	subscribe(mcp.MethodUnsubscribe, "x")
	subscribe(mcp.MethodSubscribe, strings.Repeat("y", maxURIBytes+1))
	s.note(mcp.NewRequest([]byte("1"), mcp.MethodSetLevel, []byte(`{"level":"`+strings.Repeat("x", maxRemembered)+`"}`)))
	if got := len(s.requests()); got != maxSubscriptions-1 {
		t.Errorf("got %d requests, want %d", got, maxSubscriptions-1)
	}
}

var _ link.Session = (*session)(nil)

// The ends of instances have causes that are counted.
func TestEndsAreTold(t *testing.T) {
	fleet, opener := newFleet(t)
	opener.OOM = map[string]bool{"mortal.oom": true}
	told := watchEvents(fleet)
	for server, cause := range map[string]backend.Cause{"mortal": backend.CauseExit, "mortal.oom": backend.CauseOOM} {
		session := opened(t, fleet, spec(server))
		ask(t, session, "tools/call", `"name":"die"`)
		waitFor(t, func() bool { return told.count(Ended, cause) == 1 })
	}
	session := opened(t, fleet, spec("mortal.signal"))
	ask(t, session, "tools/call", `"name":"kill"`)
	waitFor(t, func() bool { return told.count(Ended, backend.CauseSignal) == 1 })
	idle := opened(t, fleet, spec("mortal.closed"))
	idle.Close()
	waitFor(t, func() bool { return told.count(Ended, backend.CauseStopped) == 1 })
}

// One caller's sessions that have a process each leave room for others', and give theirs
// back when they end, or do not come to be.
func TestOneCallersSessionsAreBounded(t *testing.T) {
	fleet, opener := newFleet(t)
	s := spec("echo")
	s.MaxPerCaller = 2
	first := opened(t, fleet, s)
	opened(t, fleet, s)
	another := func(subject string) (link.Session, error) {
		session, _, _, err := fleet.Open(t.Context(), s, subject, parse(t, hello))
		return session, err
	}
	if _, err := another("key:a"); !errors.Is(err, link.ErrBusy) {
		t.Errorf("got error %v, want %v", err, link.ErrBusy)
	}
	other, err := another("key:b")
	if err != nil {
		t.Fatal(err)
	}
	other.Close()
	first.Close()
	opener.Fail = map[string]error{"exit": errors.New("no such command")}
	missing := spec("exit")
	missing.MaxPerCaller = 2
	if _, _, _, err := fleet.Open(t.Context(), missing, "key:a", parse(t, hello)); err == nil {
		t.Error("got a session of a server that does not start")
	}
	opened(t, fleet, s)
	if got := fleet.alones; len(got) != 1 || got["key:a"] != 2 {
		t.Errorf("got %v, want two of the one caller", got)
	}
}
