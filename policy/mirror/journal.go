package mirror

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"

	"mcpgateway/policy/journal"
)

// Journal starts a mirror that sends records to the journal in its native
// protocol: the line as the message, and each member as a field, MCPGW_EVENT
// and so on.
func Journal(socket string, log *slog.Logger) *Mirror {
	return start(target{
		name: "the journal",
		dial: func(ctx context.Context) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unixgram", socket)
		},
		format: appendJournal,
	}, log)
}

// appendJournal appends a datagram of the journal's native protocol.
func appendJournal(dst, line []byte) []byte {
	var members map[string]json.RawMessage
	var r record
	_ = json.Unmarshal(line, &members) // of our own making; else the line alone is sent
	_ = json.Unmarshal(line, &r)
	dst = journal.Append(dst, "MESSAGE", string(line))
	dst = journal.Append(dst, "PRIORITY", fmt.Sprint(r.severity()))
	dst = journal.Append(dst, "SYSLOG_IDENTIFIER", "mcp-gateway-audit")
	for _, name := range slices.Sorted(maps.Keys(members)) {
		value := string(members[name])
		var text string
		if json.Unmarshal(members[name], &text) == nil {
			value = text
		}
		dst = journal.Append(dst, "MCPGW_"+name, value)
	}
	return dst
}
