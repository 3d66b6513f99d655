package mirror

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
)

// JournalSocket is where the journal takes records.
const JournalSocket = "/run/systemd/journal/socket"

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
	dst = appendField(dst, "MESSAGE", string(line))
	dst = appendField(dst, "PRIORITY", fmt.Sprint(r.severity()))
	dst = appendField(dst, "SYSLOG_IDENTIFIER", "mcp-gateway-audit")
	for _, name := range slices.Sorted(maps.Keys(members)) {
		value := string(members[name])
		var text string
		if json.Unmarshal(members[name], &text) == nil {
			value = text
		}
		dst = appendField(dst, "MCPGW_"+strings.ToUpper(name), value)
	}
	return dst
}

// appendField appends a field; one with a line's end in it has its length before it.
func appendField(dst []byte, name, value string) []byte {
	if !strings.Contains(value, "\n") {
		return append(append(append(append(dst, name...), '='), value...), '\n')
	}
	dst = append(append(dst, name...), '\n')
	dst = binary.LittleEndian.AppendUint64(dst, uint64(len(value)))
	return append(append(dst, value...), '\n')
}
