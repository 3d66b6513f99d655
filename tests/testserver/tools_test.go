package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEchoKeepsBytes(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, arguments string }{
		{"big integer", `{"n":9007199254740993}`},
		{"number forms", `{"a":1.50,"b":1e400,"c":-0}`},
		{"space and order", `{ "b" : 1,  "a": [ ] }`},
		{"duplicate key", `{"a":1,"a":2}`},
		{"escapes and markup", `{"a":"\u003c<&>\ud83d\ude00 \u2028"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := ready(t)
			p.sendCall("1", "echo", tt.arguments)
			a := p.answer()
			if got := string(a.Result.StructuredContent); got != tt.arguments {
				t.Errorf("structuredContent: got %s, want %s", got, tt.arguments)
			}
			if got := a.Result.Content[0].Text; got != tt.arguments {
				t.Errorf("text: got %s, want %s", got, tt.arguments)
			}
		})
	}
}

func TestRequestIDsKeepTheirBytes(t *testing.T) {
	t.Parallel()
	p := ready(t)
	for _, id := range []string{`9007199254740993`, `1.50`, `"a\u0062"`} {
		p.sendCall(id, "echo", `{}`)
		if got := string(p.answer().ID); got != id {
			t.Errorf("got id %s, want %s", got, id)
		}
	}
}

func TestFileTools(t *testing.T) {
	t.Parallel()
	p := ready(t)
	file := filepath.Join(t.TempDir(), "a")
	if text, failed := p.call("write_file", fmt.Sprintf(`{"path":%q,"content":"hello","mode":"4750"}`, file)); text != "4750" || failed {
		t.Fatalf("write_file: got %q, %v, want 4750", text, failed)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := info.Mode(), os.FileMode(0o750)|os.ModeSetuid; got != want {
		t.Errorf("mode on disk: got %v, want %v", got, want)
	}
	if text, failed := p.call("read_file", fmt.Sprintf(`{"path":%q}`, file)); text != "hello" || failed {
		t.Errorf("read_file: got %q, %v, want hello", text, failed)
	}
	if text, failed := p.call("chmod", fmt.Sprintf(`{"path":%q,"mode":"600"}`, file)); text != "600" || failed {
		t.Errorf("chmod: got %q, %v, want 600", text, failed)
	}
	p.sendCall("1", "list_dir", fmt.Sprintf(`{"path":%q}`, filepath.Dir(file)))
	var listed struct{ Entries []entry }
	if err := json.Unmarshal(p.answer().Result.StructuredContent, &listed); err != nil {
		t.Fatal(err)
	}
	want := entry{Name: "a", Mode: "-rw-------", UID: uint32(os.Getuid()), GID: listed.Entries[0].GID, Size: 5}
	if len(listed.Entries) != 1 || listed.Entries[0] != want {
		t.Errorf("list_dir: got %+v, want [%+v]", listed.Entries, want)
	}
}

func TestToolErrorsSayWhy(t *testing.T) {
	t.Parallel()
	p := ready(t)
	tests := []struct{ name, tool, arguments, want string }{
		{"no such file", "read_file", `{"path":"/no/such"}`, "open /no/such: no such file or directory"},
		{"no such folder", "list_dir", `{"path":"/no/such"}`, "open /no/such: no such file or directory"},
		{"bad mode", "chmod", `{"path":"/no/such","mode":"9"}`, `parse mode "9"`},
		{"mistyped argument", "read_file", `{"pth":"/"}`, `unknown field "pth"`},
		{"nothing to run", "run", `{}`, "argv is empty"},
		{"no such program", "run", `{"argv":["/no/such"]}`, "no such file or directory"},
		{"refused", "connect", `{"network":"unix","address":"/no/such"}`, "connect: no such file or directory"},
		{"too big", "big", `{"bytes":-1}`, "bytes -1 are not in"},
		{"too long", "sleep", `{"seconds":1e9}`, "are not in 0 to 3600"},
		{"no sampling", "sample", `{"prompt":"hi"}`, "does not offer sampling"},
	}
	for _, tt := range tests { // one server after the other: its answers come in turn
		text, failed := p.call(tt.tool, tt.arguments)
		if !failed || !strings.Contains(text, tt.want) {
			t.Errorf("%s: got %q, %v, want error with %q", tt.name, text, failed, tt.want)
		}
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	p := ready(t)
	tests := []struct{ name, arguments, want string }{
		{"output of both streams", `{"argv":["sh","-c","echo out; echo err >&2"]}`, `{"output":"out\nerr\n","status":0}`},
		{"input", `{"argv":["cat"],"stdin":"in"}`, `{"output":"in","status":0}`},
		{"status", `{"argv":["sh","-c","exit 7"]}`, `{"output":"","status":7}`},
		{"signal", `{"argv":["sh","-c","kill -9 $$"]}`, `{"output":"","status":137}`},
	}
	for _, tt := range tests {
		p.sendCall("1", "run", tt.arguments)
		if got := string(p.answer().Result.StructuredContent); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestProcessTools(t *testing.T) {
	t.Parallel()
	p := ready(t)
	if text, _ := p.call("status", `{}`); !strings.Contains(text, fmt.Sprintf("Pid:\t%d\n", p.cmd.Process.Pid)) {
		t.Errorf("status: got %q, want the server's own", text)
	}
	if text, _ := p.call("env", `{}`); !strings.Contains("\n"+text+"\n", "\n"+beServer+"=1\n") {
		t.Errorf("env: got %q, want %s in it", text, beServer)
	}
	if text, _ := p.call("big", `{"bytes":3000000}`); len(text) != 3_000_000 {
		t.Errorf("big: got %d bytes, want 3000000", len(text))
	}
}

func TestConnect(t *testing.T) {
	t.Parallel()
	address := filepath.Join(t.TempDir(), "socket")
	listener, err := net.Listen("unix", address)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	p := ready(t)
	text, failed := p.call("connect", fmt.Sprintf(`{"network":"unix","address":%q}`, address))
	if want := "connected to " + address; text != want || failed {
		t.Errorf("got %q, %v, want %q", text, failed, want)
	}
}

func TestSleepReportsProgress(t *testing.T) {
	t.Parallel()
	p := ready(t)
	p.send(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"sleep","arguments":{"seconds":0.01},"_meta":{"progressToken":"t"}}}`)
	for step := 1; step <= 10; step++ {
		want := fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":%d,"total":10}}`, step)
		if got := p.receive(); got != want {
			t.Errorf("note %d: got %s, want %s", step, got, want)
		}
	}
	if a := p.answer(); string(a.ID) != "1" || a.Result.Content[0].Text != "slept 10ms" {
		t.Errorf("got %+v, want the answer after the notes", a)
	}
}

func TestSample(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, reply string
		want        string
		failed      bool
	}{
		{"answer", `"result":{"model":"m","n":9007199254740993}`, `{"model":"m","n":9007199254740993}`, false},
		{"refusal", `"error":{"code":-1,"message":"no"}`, `ask the client: {"code":-1,"message":"no"}`, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := start(t)
			p.handshake(`{"sampling":{}}`)
			p.sendCall("1", "sample", `{"prompt":"hi"}`)
			var asked struct {
				ID     json.RawMessage
				Method string
			}
			if err := json.Unmarshal([]byte(p.receive()), &asked); err != nil {
				t.Fatal(err)
			}
			if asked.Method != "sampling/createMessage" {
				t.Fatalf("got method %q, want sampling/createMessage", asked.Method)
			}
			p.send(`{"jsonrpc":"2.0","id":` + string(asked.ID) + `,` + tt.reply + `}`)
			a := p.answer()
			if got := a.Result.Content[0].Text; got != tt.want || a.Result.IsError != tt.failed {
				t.Errorf("got %s, %v, want %s, %v", got, a.Result.IsError, tt.want, tt.failed)
			}
		})
	}
}
