package proxytest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// envelope is what the server reads of a message.
type envelope struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
}

type server struct {
	out     io.Writer
	pending json.RawMessage // id of the call that waits for the client's answer
	asking  json.RawMessage // id of the call that waits for a cancellation of another
	heard   string          // the last cancellation
	visits  int             // calls of the tool "visit"
	told    []string        // methods of the requests that change what it sends
	listed  int             // how often the tools were
	all     []string        // what a mortal has heard: method and parameters
}

// serve is a server with a behaviour: "echo" behaves well, the others do not.
func serve(behaviour string) int {
	behaviour, _, _ = strings.Cut(behaviour, ".") // "echo.2" is another echo
	switch behaviour {
	case "exit":
		fmt.Fprintln(os.Stderr, "cannot read the secret file")
		return 7
	case "deaf":
		hang()
	case "flood":
		flood(100 << 20)
	case "closed":
		_, _ = bufio.NewReader(os.Stdin).ReadSlice('\n')
		os.Stdin.Close()
		os.Stdout.Close()
		hang()
	}
	s := &server{out: os.Stdout}
	lines := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return 0
		}
		var e envelope
		if err := json.Unmarshal(line, &e); err != nil {
			fmt.Fprintln(os.Stderr, "bad line:", err)
			return 9
		}
		s.misbehave(behaviour, e)
		s.handle(behaviour, e, line)
		if behaviour == "brief" && e.Method == "notifications/initialized" {
			return 4
		}
	}
}

// hang waits for ever, in a way that Go does not take for a deadlock.
func hang() { <-time.NewTimer(math.MaxInt64).C }

func flood(n int) {
	block := bytes.Repeat([]byte("x"), 64<<10)
	for range n / len(block) {
		if _, err := os.Stdout.Write(block); err != nil {
			os.Exit(5)
		}
	}
	hang()
}

func (s *server) misbehave(behaviour string, e envelope) {
	switch behaviour {
	case "mortal", "fickle", "once":
		s.mortal(behaviour, e)
	case "garbage":
		fmt.Fprintf(s.out, "Server listening on stdio\n\n{\"jsonrpc\":\n\x00\xff\n{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":1,\"result\":{}}\n[]\n")
	case "stderr":
		fmt.Fprintf(os.Stderr, "%s", bytes.Repeat([]byte("0123456789 abcdef\n"), 100_000))
		fmt.Fprintf(os.Stderr, "%s", bytes.Repeat([]byte("endless"), 100_000))
	case "crash":
		if e.Method == "tools/call" {
			fmt.Fprintln(os.Stderr, "panic: secret token hunter2")
			os.Exit(3)
		}
	}
}

// mortal ends when its tool says so. One that is fickle speaks another revision when it is
// started again, and one that lives once says nothing then.
func (s *server) mortal(behaviour string, e envelope) {
	s.all = append(s.all, e.Method+" "+string(e.Params))
	if behaviour != "mortal" && os.Getenv(againVariable) != "" && e.Method == "initialize" {
		if behaviour == "once" {
			hang()
		}
		s.send(`{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2024-11-05","capabilities":{},"serverInfo":{"name":"x","version":"1"}}}`, e.ID)
	}
	var params struct{ Name string }
	_ = json.Unmarshal(e.Params, &params) // what is missing stays empty
	switch {
	case e.Method != "tools/call":
	case params.Name == "die":
		os.Exit(3)
	case params.Name == "kill":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // it does not come back
	}
}

func (s *server) handle(behaviour string, e envelope, line []byte) {
	switch {
	case behaviour == "silent" || behaviour == "garbage-only":
	case behaviour == "modern":
		s.modern(e, line)
	case e.Method == "initialize":
		s.send(`{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":%q,"capabilities":{"tools":{"listChanged":true},"logging":{},"resources":{"subscribe":true,"x":1e3}},"serverInfo":{"name":%q,"version":"1.0"},"instructions":"be kind","big":9007199254740993}}`, e.ID, negotiate(e.Params), behaviour)
	case e.Method == "ping":
		s.send(`{"jsonrpc":"2.0","id":%s,"result":{}}`, e.ID)
	case e.Method == "tools/list" && behaviour == "listless":
		s.send(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32603,"message":"No list today"}}`, e.ID)
	case e.Method == "tools/list" && behaviour == "mirror":
		s.mirror(e)
	case e.Method == "tools/list":
		s.send(`{"jsonrpc":"2.0","id":%s,"result":{"tools":[{"name":"echo","description":"says it again","inputSchema":{"type":"object"}}]}}`, e.ID)
	case e.Method == "resources/read":
		s.send(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32002,"message":"Resource not found"}}`, e.ID)
	case e.Method == "resources/subscribe", e.Method == "resources/unsubscribe", e.Method == "logging/setLevel":
		s.told = append(s.told, e.Method)
		s.send(`{"jsonrpc":"2.0","id":%s,"result":{}}`, e.ID)
	case e.Method == "tools/call":
		s.call(e, line)
	case e.Method == "notifications/cancelled":
		s.heard = string(line)
		s.tellCancelled()
	case e.Method == "" && s.pending != nil: // the client's answer
		s.text(s.pending, string(line))
		s.pending = nil
	case e.ID != nil && e.Method != "":
		s.send(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"Method not found"}}`, e.ID)
	}
}

// mirror lists a tool whose calls repeat a parameter in a header: another one each
// time.
func (s *server) mirror(e envelope) {
	s.listed++
	s.send(`{"jsonrpc":"2.0","id":%s,"result":{"tools":[{"name":"again","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region%d"}}}}]}}`, e.ID, s.listed)
}

// negotiate gives the revision that the client asks for, if it is of the handshake
// era, else that era's last.
func negotiate(params json.RawMessage) string {
	var asked struct{ ProtocolVersion string }
	_ = json.Unmarshal(params, &asked) // what is missing stays empty
	switch asked.ProtocolVersion {
	case "2024-11-05", "2025-03-26", "2025-06-18":
		return asked.ProtocolVersion
	}
	return "2025-11-25"
}

// call runs a tool.
func (s *server) call(e envelope, line []byte) {
	var params struct {
		Name      string
		Arguments struct{ N int }
		Meta      struct{ ProgressToken json.RawMessage } `json:"_meta"`
	}
	_ = json.Unmarshal(e.Params, &params) // what is missing stays empty
	switch params.Name {
	case "progress":
		for i := range params.Arguments.N {
			s.send(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d}}`, params.Meta.ProgressToken, i+1)
		}
		s.text(e.ID, "done")
	case "slow": // works for N tenths of a second, and says so
		for i := range params.Arguments.N {
			<-time.NewTimer(time.Second / 10).C
			s.send(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d}}`, params.Meta.ProgressToken, i+1)
		}
		s.text(e.ID, "done")
	case "ask":
		s.pending = e.ID
		s.send(`{"jsonrpc":"2.0","id":"ask-1","method":"sampling/createMessage","params":{"messages":[],"maxTokens":9007199254740993}}`)
	case "ask-twice":
		s.pending = e.ID
		s.send(`{"jsonrpc":"2.0","id":"ask-1","method":"sampling/createMessage","params":{"messages":[]}}`)
		s.send(`{"jsonrpc":"2.0","id":"ask-2","method":"roots/list"}`)
	case "log":
		s.send(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"hello"}}`)
		s.send(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
		s.text(e.ID, "done")
	case "heard-all":
		s.text(e.ID, strings.Join(s.all, "|"))
	case "told":
		s.text(e.ID, strings.Join(s.told, " "))
	case "touch":
		s.send(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///a/b"}}`)
		s.send(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///other"}}`)
		s.text(e.ID, "done")
	case "debug":
		s.send(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"debug","data":"little"}}`)
		s.send(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"much"}}`)
		s.text(e.ID, "done")
	case "visit":
		s.visits++
		if s.visits > 1 {
			s.text(e.ID, "welcome")
			return
		}
		s.send(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32042,"message":"visit first","data":{"elicitations":[{"mode":"url","elicitationId":"e1","url":"https://example.com/","message":"sign in"}]}}}`, e.ID)
	case "ping":
		s.pending = e.ID
		s.send(`{"jsonrpc":"2.0","id":"ping-1","method":"ping"}`)
	case "wait": // for ever
	case "notify-then-wait":
		s.send(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1}}`, params.Meta.ProgressToken)
	case "cancelled":
		s.asking = e.ID
		s.tellCancelled()
	case "big":
		s.text(e.ID, strings.Repeat("x", params.Arguments.N))
	case "pid":
		s.text(e.ID, strconv.Itoa(os.Getpid()))
	default:
		s.text(e.ID, string(line))
	}
}

// tellCancelled answers the call of the tool "cancelled" with the cancellation
// that came before or after it.
func (s *server) tellCancelled() {
	if s.asking != nil && s.heard != "" {
		s.text(s.asking, s.heard)
		s.asking, s.heard = nil, ""
	}
}

func (s *server) text(id json.RawMessage, text string) {
	quoted, _ := json.Marshal(text)
	s.send(`{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":%s}],"exact":1e3,"big":9007199254740993},"x-server":"kept"}`, id, quoted)
}

func (s *server) send(format string, args ...any) {
	fmt.Fprintf(s.out, format+"\n", args...)
}
