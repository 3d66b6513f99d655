// Package journal writes the native protocol of systemd's journal: a datagram of
// fields. It opens no socket.
//
// Runs in: daemon, proxy.
package journal

import (
	"encoding/binary"
	"strings"
)

// Socket is where the journal takes datagrams.
const Socket = "/run/systemd/journal/socket"

// maxName is the longest name of a field that the journal takes.
const maxName = 64

// Append appends a field to a datagram. The value may be anything, and stays what it is.
// Of the name small letters become capitals, and what no name has becomes "_"; it must
// begin with a letter.
func Append(dst []byte, name, value string) []byte {
	for _, c := range []byte(name[:min(len(name), maxName)]) {
		switch {
		case 'a' <= c && c <= 'z':
			c -= 'a' - 'A'
		case (c < 'A' || c > 'Z') && (c < '0' || c > '9'):
			c = '_'
		}
		dst = append(dst, c)
	}
	if !strings.Contains(value, "\n") {
		return append(append(append(dst, '='), value...), '\n')
	}
	// Else the value has its length before it, so that nothing in it is taken for a field.
	dst = binary.LittleEndian.AppendUint64(append(dst, '\n'), uint64(len(value)))
	return append(append(dst, value...), '\n')
}
