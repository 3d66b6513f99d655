package wsfront

import (
	"net/http"
	"strings"
	"testing"
)

// Whatever a client offers, no key stays where a handshake could echo it, and no
// key is made of nothing.
func FuzzTakeKey(f *testing.F) {
	f.Add("mcp, mcp.key.mcpgw_a_b", "mcp.key.,mcp.key.x , ,chat")
	f.Fuzz(func(t *testing.T, first, second string) {
		h := http.Header{headerProtocol: {first, second}}
		TakeKey(h)
		for _, item := range tokens(h, headerProtocol) {
			if strings.HasPrefix(item, keyPrefix) {
				t.Errorf("left: %q", item)
			}
		}
		for _, header := range h.Values("Authorization") {
			key := strings.TrimPrefix(header, "Bearer ")
			if !strings.Contains(first+"\n"+second, keyPrefix+key) {
				t.Errorf("made: %q", key)
			}
		}
		isHandshake(http.Header{"Upgrade": {first, second}})
	})
}
