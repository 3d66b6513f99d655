package traffic

import (
	"bytes"
	"fmt"
)

// Era is one of the two kinds of MCP.
type Era string

// The revisions that are spoken.
const (
	Handshake Era = "2025-11-25"
	Stateless Era = "2026-07-28"
)

const (
	initialize  = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}`
	initialized = `{"jsonrpc":"2.0","method":"notifications/initialized"}`
	text        = "hello, bench"
	echoed      = `{"message":"` + text + `"}`
	meta        = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}`
)

// call is a request in an era, about 110 or 280 bytes long.
func (e Era) call(id int) []byte { return e.ask(id, echoed) }

func (e Era) ask(id int, arguments string) []byte {
	params := params(arguments)
	if e == Stateless {
		params += "," + meta
	}
	return fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{%s}}`, id, params)
}

// params are the members that both eras have.
func params(arguments string) string { return `"name":"echo","arguments":` + arguments }

// check tells the answer to a call from anything else, without the cost of a parser.
func check(answer []byte) error {
	if bytes.Contains(answer, []byte(text)) && !bytes.Contains(answer, []byte(`"isError":true`)) {
		return nil
	}
	return fmt.Errorf("unexpected answer: %.300q", answer)
}
