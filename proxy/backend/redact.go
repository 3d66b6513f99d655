package backend

import (
	"time"

	"mcpgateway/proxy/mcp"
)

// redact takes the server's own secrets out of a line of its output. The line as it
// was is overwritten.
func (c *Conn) redact(line []byte) []byte {
	out, n := c.secret.Message(line)
	if n == 0 {
		return line
	}
	clear(line)
	if len(line) > mcp.LongLine {
		c.long.hold(out)
	}
	c.redacted.Add(int64(n))
	if c.leaks.allow(time.Now(), logLinesASec) {
		c.log.Warn("server wrote secrets of its own, which were taken out", "count", n, "suppressed", c.leaks.reset())
	}
	return out
}
