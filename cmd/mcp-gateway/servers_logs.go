package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	neturl "net/url"
	"strconv"

	"mcpgateway/proxy/report"
)

// maxLogLine is the longest line of an answer, in bytes: one of a server has 512, each of
// which may be escaped.
const maxLogLine = 64 << 10

// readLogs has take take each line of a server's standard error, from the last n on. With
// follow it returns when no more will come.
func readLogs(ctx context.Context, state, server string, n int, follow bool, take func(report.Line) error) error {
	q := inquiry{method: http.MethodGet, path: serverPath(server, "logs"), query: neturl.Values{"tail": {strconv.Itoa(n)}}}
	if follow {
		q.query.Set("follow", "1")
	}
	response, err := q.send(ctx, state)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, maxLogLine)
	for lines.Scan() {
		var line report.Line
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("read the proxy's answer: %s", shown(err.Error()))
		}
		if err := take(line); err != nil {
			return err
		}
	}
	return lines.Err()
}

// writeLine writes one document on one line.
func writeLine(out io.Writer, document any) error {
	text, err := json.Marshal(document)
	if err != nil {
		return err
	}
	_, err = out.Write(append(visible(text), '\n'))
	return err
}
