package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"mcpgateway/proxy/report"
	"mcpgateway/runtime/control"
)

func TestToolArguments(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, raw, in string
		words         []string
		want          string // "": it is misused
	}{
		{name: "none", want: `{}`},
		{name: "text", words: []string{"a=1", "b=x=y"}, want: `{"a":"1","b":"x=y"}`},
		{name: "JSON", words: []string{"a:=9007199254740993", "b:=[1]"}, want: `{"a":9007199254740993,"b":[1]}`},
		{name: "an object", raw: ` {"a":1.0} `, want: `{"a":1.0}`},
		{name: "standard input", raw: "-", in: `{"a":2}`, want: `{"a":2}`},
		{name: "a list", raw: `[]`},
		{name: "null", raw: `null`},
		{name: "both", raw: `{}`, words: []string{"a=1"}},
		{name: "no JSON", words: []string{"a:=x"}},
		{name: "no name", words: []string{"=x"}},
		{name: "no value", words: []string{"a"}},
		{name: "twice", words: []string{"a=1", "a=2"}},
		{name: "too much", raw: "-", in: strings.Repeat(" ", maxArguments+1)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := toolArguments(strings.NewReader(test.in), test.raw, test.words)
			if test.want == "" {
				if !isUnusable(err) {
					t.Errorf("got %s, %v, want a misuse", got, err)
				}
				return
			}
			if err != nil || string(got) != test.want {
				t.Errorf("got %s, %v, want %s", got, err, test.want)
			}
		})
	}
}

func TestPrintResult(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, result, want string }{
		{"text", `{"content":[{"type":"text","text":"a\\b\n\tc\n"}]}`, "a\\b\n\tc\n"},
		{"text that steers", `{"content":[{"type":"text","text":"\u001b[31m\u202e"}]}`, "\\u{1b}[31m\\u{202e}\n"},
		{"an image", `{"content":[{"type":"image","mimeType":"image/png","data":"AAAAAAAA"}]}`, "[image, image/png, 6 bytes]\n"},
		{"a resource", `{"content":[{"type":"resource","resource":{"uri":"file:///a","text":"inside"}}]}`, "inside\n"},
		{"a binary one", `{"content":[{"type":"resource","resource":{"uri":"file:///a","mimeType":"x/y","blob":"AAAA"}}]}`, "[resource file:///a, x/y, 3 bytes]\n"},
		{"a link", `{"content":[{"type":"resource_link","uri":"file:///a"}]}`, "[resource file:///a]\n"},
		{"nothing but structure", `{"content":[],"structuredContent":{"n":9007199254740993}}`, "{\n  \"n\": 9007199254740993\n}\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			if err := printResult(&out, json.RawMessage(test.result)); err != nil || out.String() != test.want {
				t.Errorf("got %q, %v, want %q", out.String(), err, test.want)
			}
		})
	}
}

func TestParseKeys(t *testing.T) {
	t.Parallel()
	tests := []struct {
		sent string
		want []string
	}{
		{"q", []string{"q"}},
		{"\x1b[A\x1b[Bj", []string{"up", "down", "j"}},
		{"\x1b", []string{"esc"}},
		{"\x03\r", []string{"ctrl-c", "enter"}},
		{"\x1b[1;5Pk", []string{"k"}},
		{"\x1b[", nil},
		{"\xff\x00é", nil},
		{"\x1b[6~G", []string{"page-down", "G"}},
	}
	for _, test := range tests {
		if got := parseKeys([]byte(test.sent)); !slices.Equal(got, test.want) {
			t.Errorf("%q: got %q, want %q", test.sent, got, test.want)
		}
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte("\x1b[A\x1bOq"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		for _, key := range parseKeys(sent) {
			if key == "" {
				t.Errorf("%q: got an empty key", sent)
			}
		}
	})
}

// found is what is known at a time: two servers, of which one has two sandboxes.
func found(at time.Time, total int64, cpu time.Duration) snapshot {
	sandbox := func(id string, memory int64) control.Sandbox {
		return control.Sandbox{ID: id, Server: "a", Usage: control.Usage{CPU: cpu, Memory: memory, PIDs: 3}, MemoryLimit: 64 << 20}
	}
	return snapshot{
		at: at, status: report.Status{Gateway: "g\x1b", Ready: true, Load: report.Load{Total: total}},
		servers: []report.Server{
			{Name: "a", State: report.Running, Load: report.Load{Total: total, P95: 12}},
			{Name: "b", State: report.Stopped},
		},
		sandboxes: []control.Sandbox{sandbox("a-1", 1<<20), sandbox("a-2", 2<<20)},
	}
}

func TestTopRates(t *testing.T) {
	t.Parallel()
	at := time.Unix(100, 0)
	before, now := found(at, 10, time.Second), found(at.Add(2*time.Second), 30, 2*time.Second)
	rows := now.rows(before)
	if len(rows) != 3 || rows[0].CPU != 50 || rows[0].PerSecond != 10 || rows[2].Server != "b" || rows[2].Sandbox != "" {
		t.Errorf("got %+v", rows)
	}
	if sum := now.summary(before, rows); sum.CPU != 100 || sum.Memory != 3<<20 || sum.PerSecond != 10 {
		t.Errorf("got %+v", sum)
	}
}

func TestTopScreen(t *testing.T) {
	t.Parallel()
	at := time.Unix(100, 0)
	s := topScreen{width: 100, height: 20}
	s.take(found(at, 0, 0))
	s.take(found(at.Add(time.Second), 5, time.Second))
	steps := []struct {
		key    string
		action topAction
		shows  string
	}{
		{"g", topNothing, "> a       a-1"},
		{"j", topNothing, "> a       a-2"},
		{"down", topNothing, "> b       -"},
		{"j", topNothing, "> b       -"},
		{"s", topNothing, "by memory"},
		{"home", topNothing, "> a       a-2"},
		{"r", topNothing, "restart server a?"},
		{"n", topNothing, "nothing was done"},
		{"r", topNothing, "restart server a?"},
		{"y", topRestart, "restarting a"},
		{"?", topNothing, "CPU% is of one core"},
		{"q", topNothing, "g\\u{1b}: ready"},
		{"enter", topLook, "asking about a"},
		{"esc", topNothing, "> a"},
		{"q", topQuit, "> a"},
	}
	for i, step := range steps {
		if got := s.key(step.key); got != step.action {
			t.Errorf("%d: %s: got action %d, want %d", i, step.key, got, step.action)
		}
		if view := strings.Join(s.view(), "\n"); !strings.Contains(view, step.shows) {
			t.Errorf("%d: %s: got\n%s\nwant %s", i, step.key, view, step.shows)
		}
	}
	s.take(snapshot{err: errors.New("the proxy\x1b is down")})
	if view := strings.Join(s.view(), "\n"); !strings.Contains(view, `the proxy\u{1b} is down`) || !strings.Contains(view, "a-1") {
		t.Errorf("got\n%s\nwant the error, and what was known", view)
	}
}

// Whatever its size, the screen is no larger.
func TestTopFits(t *testing.T) {
	t.Parallel()
	s := topScreen{colours: true}
	s.take(found(time.Unix(100, 0), 0, 0))
	d := report.Detail{Server: report.Server{Name: "a", Reason: strings.Repeat("why ", 100)}}
	for _, mode := range []topMode{topList, topHelp, topDetail, topConfirm} {
		for _, size := range [][2]int{{1, 1}, {3, 2}, {20, 5}, {80, 24}, {300, 100}} {
			s.mode, s.width, s.height, s.now.detail = mode, size[0], size[1], &d
			s.now.lines = slices.Repeat([]report.Line{{Text: strings.Repeat("long \x1b", 100)}}, 200)
			view := s.view()
			if len(view) > max(2, s.height) {
				t.Errorf("mode %d, %v: got %d lines", mode, size, len(view))
			}
			for _, line := range view {
				if strings.Contains(line, "long \x1b") {
					t.Errorf("mode %d: got %q", mode, line)
				}
			}
		}
	}
}

func TestAge(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		1500 * time.Millisecond: "2s", 61 * time.Second: "1m1s", 70 * time.Second: "1m10s", 0: "0s", 2 * time.Minute: "2m", 3*time.Hour + 20*time.Second: "3h", 90 * time.Minute: "1h30m", 50 * time.Hour: "2d2h",
	} {
		if got := age(d); got != want {
			t.Errorf("%s: got %q, want %q", d, got, want)
		}
	}
}

func TestServersNeedAGateway(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"servers"}, {"servers", "show", "a"}, {"servers", "logs", "a"}, {"servers", "start", "a"}, {"tools", "call", "a", "b"}, {"top", "--once"}} {
		_, problems, status := runCommand(append(args, "--state", t.TempDir())...)
		if status != 1 || strings.Count(problems, "\n") != 1 {
			t.Errorf("%v: got %d %q, want 1 and one line", args, status, problems)
		}
	}
	if _, _, status := runCommand("status", "--state", t.TempDir()); status != statusNotReady {
		t.Errorf("status: got %d, want %d", status, statusNotReady)
	}
}
