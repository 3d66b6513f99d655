package proxytest

import (
	"encoding/json"
	"os"
	"strconv"
)

// modern answers as a server of the stateless era alone.
func (s *server) modern(e envelope, line []byte) {
	var params struct {
		Name           string
		InputResponses json.RawMessage
		RequestState   string
		Meta           map[string]json.RawMessage `json:"_meta"`
	}
	_ = json.Unmarshal(e.Params, &params) // what is missing stays empty
	switch {
	case e.ID == nil:
		s.heard = string(line)
	case params.Meta["io.modelcontextprotocol/protocolVersion"] == nil:
		s.send(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32022,"message":"Unsupported protocol version","data":{"supported":["2026-07-28"]}}}`, e.ID)
	case e.Method == "server/discover":
		s.send(`{"jsonrpc":"2.0","id":%s,"result":{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true},"logging":{}},"ttlMs":0,"cacheScope":"private"}}`, e.ID)
	case e.Method == "tools/list":
		s.send(`{"jsonrpc":"2.0","id":%s,"result":{"resultType":"complete","tools":[{"name":"echo","inputSchema":{"type":"object"}}],"ttlMs":0,"cacheScope":"private"}}`, e.ID)
	case e.Method == "subscriptions/listen":
		s.send(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":%s},"notifications":{"toolsListChanged":true}}}`, e.ID)
		s.send(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":%s}}}`, e.ID)
	case params.Name == "input" && params.RequestState == "":
		s.send(`{"jsonrpc":"2.0","id":%s,"result":{"resultType":"input_required","requestState":"the server's own","inputRequests":{"who":{"method":"elicitation/create","params":{"mode":"form","message":"who?","requestedSchema":{"type":"object","properties":{}}}}}}}`, e.ID)
	case params.Name == "input":
		s.complete(e.ID, params.RequestState+": "+string(params.InputResponses))
	case params.Name == "pid":
		s.complete(e.ID, strconv.Itoa(os.Getpid()))
	case params.Name == "log":
		s.send(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"hello"}}`)
		s.complete(e.ID, "done")
	case params.Name == "heard":
		s.complete(e.ID, s.heard)
	case params.Name == "wait": // for ever
	case params.Name == "crash":
		os.Exit(3)
	case e.Method == "tools/call":
		s.complete(e.ID, string(line))
	default:
		s.send(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"Method not found"}}`, e.ID)
	}
}

func (s *server) complete(id json.RawMessage, text string) {
	quoted, _ := json.Marshal(text)
	s.send(`{"jsonrpc":"2.0","id":%s,"result":{"resultType":"complete","content":[{"type":"text","text":%s}]}}`, id, quoted)
}
