package logs

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"mcpgateway/policy/journal"
)

// journalled sends lines of JSON to the journal, as fields.
type journalled struct {
	name     string
	socket   int
	path     string
	fallback io.Writer // gets the lines that the journal does not take
}

// openJournal returns nil unless a file is the stream to the journal which the service
// manager has named by its device and inode.
func openJournal(name string, file *os.File) *journalled {
	var st unix.Stat_t
	if unix.Fstat(int(file.Fd()), &st) != nil || os.Getenv("JOURNAL_STREAM") != fmt.Sprintf("%d:%d", st.Dev, st.Ino) {
		return nil
	}
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	return &journalled{name: name, socket: socket, path: journal.Socket, fallback: file}
}

// Write sends one line. It is not connected: the journal may be started again.
func (j *journalled) Write(line []byte) (int, error) {
	if err := unix.Sendto(j.socket, fields(j.name, line), unix.MSG_NOSIGNAL, &unix.SockaddrUnix{Name: j.path}); err != nil {
		return j.fallback.Write(line)
	}
	return len(line), nil
}

// fields makes a datagram of a line. The message has everything, for people; what it
// quotes is on one line.
func fields(name string, line []byte) []byte {
	var members map[string]json.RawMessage
	_ = json.Unmarshal(line, &members) // of slog's making
	var out []byte
	message := text(members["msg"])
	for _, key := range slices.Sorted(maps.Keys(members)) {
		if key == "time" || key == "level" || key == "msg" { // the journal has its own
			continue
		}
		out = journal.Append(out, "MCP_"+key, text(members[key]))
		message += fmt.Sprintf(" %s=%s", key, members[key])
	}
	priorities := map[string]string{"DEBUG": "7", "INFO": "6", "WARN": "4", "ERROR": "3"} // syslog(3)
	out = journal.Append(out, "PRIORITY", priorities[text(members["level"])])
	return journal.Append(journal.Append(out, "SYSLOG_IDENTIFIER", name), "MESSAGE", message)
}

func text(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) != nil {
		return string(value)
	}
	return text
}
