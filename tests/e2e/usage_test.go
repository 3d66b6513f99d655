package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// usageLine is one line of mcp-gateway usage -o json.
type usageLine struct {
	Project, Server, Identity, Tool string
	Calls, Errors, Refused          int64
	BytesIn                         int64       `json:"bytes_in"`
	BytesOut                        int64       `json:"bytes_out"`
	CPU                             json.Number `json:"cpu_seconds"`
	Memory                          json.Number `json:"memory_gib_hours"`
}

// usage asks a gateway what was used, and returns the lines by what they are of.
func (g *gateway) usage(t *testing.T, by ...string) map[string]usageLine {
	t.Helper()
	var document struct{ Lines []usageLine }
	if err := json.Unmarshal([]byte(g.cli(t, "usage", "-o", "json", "--from", "-24h", "--by", strings.Join(by, ","))), &document); err != nil {
		t.Fatal(err)
	}
	lines := map[string]usageLine{}
	for _, line := range document.Lines {
		lines[strings.Join([]string{line.Project, line.Identity, line.Tool}, "/")] = line
	}
	return lines
}

// ledgered are servers of two projects, whose usage goes to a sink.
func ledgered(sink string) string {
	return "usage: {export: {url: " + sink + ", interval: 1s}}\nprojects: {acme: {}, globex: {}}\n" + servers(testserver("one", "project: acme"), testserver("two", "project: globex", "instances: shared"))
}

// counted is what a client counts itself.
type counted struct {
	mu    sync.Mutex
	calls map[string]int64
}

// load calls with two keys at two servers, and counts.
func (c *counted) load(t *testing.T, g *gateway, keys map[string]string) {
	t.Helper()
	var calling sync.WaitGroup
	for identity, key := range keys {
		for project, server := range map[string]string{"acme": "one", "globex": "two"} {
			calling.Go(func() {
				s := g.at(server)
				s.key = key
				s.open(t)
				for i := range 25 {
					tool, arguments := "echo", fmt.Sprintf(`{"text":"%d"}`, i)
					if i%5 == 0 {
						tool, arguments = "counters", "{}"
					}
					if a := s.call(t, tool, arguments); a.status != 200 {
						t.Errorf("got status %d: %s", a.status, a.message)
						return
					}
					c.mu.Lock()
					c.calls[strings.Join([]string{project, identity, tool}, "/")]++
					c.mu.Unlock()
				}
				s.end(t)
			})
		}
	}
	calling.Wait()
}

func (c *counted) compare(t *testing.T, g *gateway, when string) {
	t.Helper()
	lines := g.usage(t, "project", "identity", "tool")
	got := map[string]int64{}
	for name, line := range lines {
		if line.Calls > 0 {
			got[name] = line.Calls
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(c.calls) {
		t.Errorf("%s: got %v, want what the clients counted: %v", when, got, c.calls)
	}
}

// TestUsage has the ledger agree with its clients to the call, after the gateway was
// started again, and after its proxy was killed.
func TestUsage(t *testing.T) {
	t.Parallel()
	taken := events{}
	sink := httptest.NewServer(&taken)
	defer sink.Close()
	g := start(t, ledgered(sink.URL))
	keys := map[string]string{}
	for _, name := range []string{"ana", "bob"} {
		key := g.cli(t, "key", "create", name)
		keys["key:"+strings.Split(key, "_")[1]] = key
	}
	count := counted{calls: map[string]int64{}}
	count.load(t, g, keys)
	count.compare(t, g, "while it runs")

	table := g.cli(t, "usage", "--project", "acme", "--by", "server,tool")
	for _, want := range []string{"SERVER", "CALLS", "one", "echo", "TOTAL"} {
		if !strings.Contains(table, want) {
			t.Errorf("usage: got %s, want %q in it", table, want)
		}
	}
	if text := g.cli(t, "usage", "--by", "project", "--format", "csv"); !strings.HasPrefix(text, "project,calls,errors,refused,") || !strings.Contains(text, "\nacme,50,0,0,") {
		t.Errorf("usage as csv: got %s", text)
	}
	for _, line := range g.usage(t, "project") {
		if line.BytesIn == 0 || line.BytesOut == 0 || line.CPU == "0.000000" || line.Memory == "0.000000000" {
			t.Errorf("project %s: got %+v, want bytes, CPU and memory", line.Project, line)
		}
	}

	again := g.again(t, ledgered(sink.URL), func() {
		if err := g.cmd.Process.Signal(unix.SIGINT); err != nil {
			t.Fatal(err)
		}
	})
	count.compare(t, again, "after a restart")
	count.load(t, again, keys)
	third := again.again(t, ledgered(sink.URL), func() { again.signal(t, again.proxy, unix.SIGKILL) })
	count.compare(t, third, "after the proxy was killed")
	count.load(t, third, keys)
	count.compare(t, third, "in the end")
	eventually(t, "the sink has what the clients counted", func() bool { return fmt.Sprint(taken.calls()) == fmt.Sprint(count.calls) })
}

// events are the CloudEvents that a sink has taken, by what makes them one.
type events struct {
	mu  sync.Mutex
	all map[[2]string]usageLine
}

func (e *events) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var batch []struct {
		Source, ID string
		Data       usageLine
	}
	if err := json.NewDecoder(r.Body).Decode(&batch); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.all == nil {
		e.all = map[[2]string]usageLine{}
	}
	for _, one := range batch {
		e.all[[2]string{one.Source, one.ID}] = one.Data
	}
}

// calls adds up what was taken.
func (e *events) calls() map[string]int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	sums := map[string]int64{}
	for _, line := range e.all {
		if line.Calls > 0 {
			sums[strings.Join([]string{line.Project, line.Identity, line.Tool}, "/")] += line.Calls
		}
	}
	return sums
}

// again ends a gateway in some way and starts one on the same state.
func (g *gateway) again(t *testing.T, sections string, end func()) *gateway {
	t.Helper()
	g.killed = true
	end()
	g.wait(t)
	eventually(t, "no process of the gateway runs", func() bool { return len(g.all()) == 0 })
	if err := os.RemoveAll(filepath.Join(g.dir, "ready.json")); err != nil {
		t.Fatal(err)
	}
	return startPrepared(t, func(next *gateway) {
		next.dir = g.dir
		next.writeConfig(t, next.pool()+sections)
		next.cmd = exec.Command(filepath.Join(built.bin, "mcp-gateway"), "up", "--config", next.config(), "--state", next.state(),
			"--ready-file", filepath.Join(next.dir, "ready.json"), "--with-key")
	}, sections)
}

// TestQuota has a project that may make few calls.
func TestQuota(t *testing.T) {
	t.Parallel()
	const most = 7
	g := start(t, fmt.Sprintf("projects: {acme: {quota: {calls_per_day: %d, warn_percent: 50}}, globex: {}}\n", most)+
		servers(testserver("one", "project: acme", "instances: shared"), testserver("two", "project: globex", "instances: shared")))
	one := asker{g, g.addresses.Key}
	var mu sync.Mutex
	fates := map[string]int{}
	var calling sync.WaitGroup
	for range 4 {
		calling.Go(func() {
			for range 5 {
				got := one.http(t, "/servers/one", "tools/call", `"name":"echo","arguments":{}`)
				mu.Lock()
				fates[got.kind]++
				mu.Unlock()
			}
		})
	}
	calling.Wait()
	if fates["ok"] != most || fates["429"] != 20-most {
		t.Errorf("got %v, want %d good ones and 429 for the others", fates, most)
	}
	got := one.http(t, "/servers/one", "tools/call", `"name":"echo","arguments":{}`)
	if want := `has used up its quota of 7 calls a day: it begins anew at `; !strings.Contains(got.text, want) || got.header.Get("Retry-After") == "" {
		t.Errorf("got %q, Retry-After %q, want %q", got.text, got.header.Get("Retry-After"), want)
	}
	if got := one.rest(t, "/servers/one/tools/echo", "{}"); got.kind != "429" {
		t.Errorf("by rest: got %s %s", got.kind, got.text)
	}
	g.checkWellAt(t, one, "two")
	eventually(t, "both alerts are in the log", func() bool {
		log := g.log.String()
		return strings.Contains(log, "a quota is used up: calls are refused")
	})
	lines := g.usage(t, "project")
	if acme := lines["acme//"]; acme.Calls != most || acme.Refused != 22-most {
		t.Errorf("got %+v, want %d calls and %d refused", acme, most, 22-most)
	}
}
