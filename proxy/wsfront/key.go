package wsfront

import (
	"net/http"
	"strings"
)

const (
	headerProtocol = "Sec-Websocket-Protocol"

	// keyPrefix begins the subprotocol that is no protocol, but the credential of a
	// client that can set no other header: a web page.
	keyPrefix = "mcp.key."
)

// TakeKey moves an API key or a token that a web page offered as the subprotocol
// mcp.key.CREDENTIAL to the header where other clients put theirs. Nothing of it is
// left where the handshake could echo it. It must come before credentials are looked
// at, which finds out whether it is the only one.
func TakeKey(h http.Header) {
	offered := tokens(h, headerProtocol)
	if len(offered) == 0 {
		return
	}
	kept := offered[:0]
	for _, item := range offered {
		if key, ok := strings.CutPrefix(item, keyPrefix); ok {
			h.Add("Authorization", "Bearer "+key)
			continue
		}
		kept = append(kept, item)
	}
	h.Set(headerProtocol, strings.Join(kept, ", "))
}
