package backend

import (
	"bytes"
	"io"
	"log/slog"
	"strconv"
	"time"
)

// drainStderr reads a server's standard error until it ends, so that the server
// never blocks on it. Lines go to the log, cut and at a bounded rate; the last
// bytes are returned for the log entry of the server's end. Nothing of it goes
// to a client: it may hold what the server keeps to itself.
func drainStderr(r io.Reader, log *slog.Logger) (tail []byte) {
	lines := cutter{log: log}
	buffer := make([]byte, 4<<10)
	for {
		n, err := r.Read(buffer)
		tail = append(tail, buffer[:n]...)
		if over := len(tail) - maxStderrTail; over > 0 {
			tail = append(tail[:0], tail[over:]...)
		}
		lines.write(buffer[:n])
		if err != nil {
			lines.flush()
			return tail
		}
	}
}

// cutter makes lines of a stream and cuts those that are too long.
type cutter struct {
	log      *slog.Logger
	throttle throttle
	line     []byte
}

func (c *cutter) write(data []byte) {
	for len(data) > 0 {
		part, rest, whole := bytes.Cut(data, []byte("\n"))
		c.line = append(c.line, part[:min(len(part), maxLoggedLine-len(c.line))]...)
		if whole {
			c.flush()
		}
		data = rest
	}
}

func (c *cutter) flush() {
	if len(c.line) > 0 && c.throttle.allow(time.Now()) {
		c.log.Info("server wrote to its standard error", "text", quote(c.line), "suppressed", c.throttle.reset())
	}
	c.line = c.line[:0]
}

// throttle lets a bounded number of lines a second into the log and counts the
// others.
type throttle struct {
	second     int64
	lines      int
	suppressed int
}

func (t *throttle) allow(now time.Time) bool {
	if second := now.Unix(); second != t.second {
		t.second, t.lines = second, 0
	}
	if t.lines >= logLinesASec {
		t.suppressed++
		return false
	}
	t.lines++
	return true
}

// reset returns how many lines were kept out of the log since the last call.
func (t *throttle) reset() int {
	suppressed := t.suppressed
	t.suppressed = 0
	return suppressed
}

// quote makes untrusted text safe for the log: on one line, and cut.
func quote(text []byte) string {
	return strconv.Quote(string(text[:min(len(text), maxLoggedLine)]))
}
