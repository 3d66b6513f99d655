package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// logged are members of a line.
type logged map[string]any

// lines are the lines of JSON so far of daemon and proxy that have all of these members.
func (g *gateway) lines(want logged) (found []logged) {
	for line := range strings.Lines(g.log.String()) {
		var l logged
		if json.Unmarshal([]byte(line), &l) == nil && l.has(want) {
			found = append(found, l)
		}
	}
	return found
}

func (l logged) has(want logged) bool {
	for name, value := range want {
		if l[name] != value {
			return false
		}
	}
	return true
}

// wantLine waits for a line.
func (g *gateway) wantLine(t *testing.T, want logged) (l logged) {
	t.Helper()
	eventually(t, fmt.Sprintf("there is a line with %v", want), func() bool {
		found := g.lines(want)
		if len(found) == 0 {
			return false
		}
		l = found[0]
		return true
	})
	return l
}

func requestID(a answer) string { return a.header.Get("Mcp-Gateway-Request-Id") }

// chatter is how many lines the server of the test writes to its standard error.
const chatter = 1000

// withLogging is a configuration whose server files talks much.
func withLogging(level string, stderrLines int) string {
	return fmt.Sprintf("logging: {level: %s, format: json, stderr_lines: %d}\nprojects: {team: {}}\n", level, stderrLines) + servers(
		entry("files", "project: team", fmt.Sprintf("mounts: [%q]", built.programs+":/srv/e2e"),
			fmt.Sprintf("command: /bin/sh\n    args: [-c, \"seq %d >&2; exec /srv/e2e/testserver\"]", chatter)),
		entry("dead", "command: /bin/false"))
}

// TestLogs follows requests through the logs of both processes.
func TestLogs(t *testing.T) {
	t.Parallel()
	const most = 5
	g := start(t, withLogging("info", most))
	session := g.at("files")
	id := requestID(session.open(t))
	session.end(t)

	started := g.wantLine(t, logged{"component": "proxy", "correlation": id, "server": "files", "project": "team", "level": "INFO", "msg": "instance started"})
	sandbox := started["sandbox"]
	g.wantLine(t, logged{"component": "proxy", "correlation": id, "sandbox": sandbox, "msg": "instance ended"})
	g.wantLine(t, logged{"component": "daemon", "correlation": id, "sandbox": sandbox, "server": "files", "project": "team", "msg": "server started"})
	ended := g.wantLine(t, logged{"component": "daemon", "correlation": id, "sandbox": sandbox, "server": "files", "project": "team", "msg": "server ended"})

	shown := g.lines(logged{"component": "proxy", "sandbox": sandbox, "server": "files", "project": "team", "stream": "stderr"})
	told, untold := 0, 0.0
	for _, l := range shown {
		if l["text"] != nil {
			told++
		}
		suppressed, _ := l["suppressed"].(float64)
		untold += suppressed
	}
	lived, _ := ended["lived"].(float64)
	if told < most || float64(told) > most*(lived+2) || told+int(untold) != chatter {
		t.Errorf("got %d lines and %v suppressed of the %d that were written in %v s", told, untold, chatter, lived)
	}

	dead := requestID(g.at("dead").post(t, initialize))
	failed := g.wantLine(t, logged{"component": "proxy", "correlation": dead, "level": "WARN", "msg": "call failed", "server": "dead"})
	if text, _ := failed["err"].(string); !strings.Contains(text, "exited with status 1") {
		t.Errorf("got %v", failed)
	}
	g.wantLine(t, logged{"component": "daemon", "correlation": dead, "server": "dead", "msg": "server ended"})

	stranger := g.at("files")
	stranger.key = ""
	a := stranger.post(t, initialize)
	if a.status != http.StatusUnauthorized {
		t.Errorf("got status %d without a key", a.status)
	}
	g.wantLine(t, logged{"component": "proxy", "correlation": requestID(a), "level": "INFO", "msg": "request refused", "status": "unauthenticated"})
}

// TestLogLevel changes the level, and what is shown of standard error, by the file alone.
func TestLogLevel(t *testing.T) {
	t.Parallel()
	g := start(t, withLogging("info", 5))
	session := g.open(t, "files")
	reload := func(level string, stderrLines int, done func() bool) {
		g.writeConfig(t, g.pool()+withLogging(level, stderrLines))
		eventually(t, "the gateway logs at "+level, done)
	}
	// A call that is gone well is told of at debug alone; the one after it fails, and is
	// told of at warn, too.
	room := time.Tick(100 * time.Millisecond) // the log takes 20 such lines a second
	tells := func() bool {
		<-room
		good := requestID(session.call(t, "echo", "{}"))
		bad := requestID(g.at("dead").post(t, initialize))
		g.wantLine(t, logged{"correlation": bad, "msg": "call failed"})
		return len(g.lines(logged{"correlation": good, "msg": "call ended", "level": "DEBUG", "method": "tools/call", "tool": "echo", "status": "ok", "server": "files"})) > 0
	}
	if tells() {
		t.Error("got a line of debug at info")
	}
	reload("debug", 5, tells)
	reload("warn", 0, func() bool { return !tells() })

	other := g.at("files")
	id := requestID(other.open(t))
	other.end(t)
	tells()
	if found := g.lines(logged{"correlation": id}); len(found) > 0 {
		t.Errorf("got %v at warn", found)
	}
	reload("info", 0, func() bool {
		id = requestID(other.open(t))
		other.end(t)
		tells()
		return len(g.lines(logged{"correlation": id, "msg": "instance started"})) > 0
	})
	g.wantLine(t, logged{"msg": "configuration loaded", "component": "daemon"})
	before := len(g.lines(logged{"stream": "stderr"}))
	id = requestID(other.open(t))
	other.end(t)
	g.wantLine(t, logged{"component": "proxy", "correlation": id, "msg": "instance ended"})
	if after := len(g.lines(logged{"stream": "stderr"})); after != before {
		t.Errorf("got %d lines of standard error, want none", after-before)
	}
}
