package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	neturl "net/url"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	defaultOperator = "/run/mcp-gateway/operator.sock"
	// containerOperator is where a proxy has it that can't write to the daemon's folder.
	containerOperator = "/run/mcp-gateway-proxy/operator.sock"
	operatorLink      = "operator.sock" // in the state folder

	operatorWait = 2 * time.Minute // for an answer: a server may have to start
	maxAnswer    = 64 << 20        // bytes of one
	maxFailure   = 64 << 10        // bytes of one that is none
)

// operatorSocket finds the proxy's socket for operators, as controlSocket does.
func operatorSocket(state string) string {
	for _, path := range []string{filepath.Join(state, operatorLink), defaultOperator, containerOperator} {
		if exists(path) {
			return path
		}
	}
	return defaultOperator
}

// inquiry is one thing that the proxy is asked, or told to do.
type inquiry struct {
	method, path string // GET, and one of the operator's routes
	query        neturl.Values
	body         any           // as JSON; nil: none
	wait         time.Duration // for the whole answer; 0: as long as it comes
}

// notRunningError says that there is nobody to ask.
type notRunningError struct{ socket string }

func (e *notRunningError) Error() string {
	return fmt.Sprintf("ask the proxy at %s: the gateway does not run, or without that socket: start it (mcp-gateway up, or systemctl start mcp-gateway-proxy-operator.socket), or name its --state", e.socket)
}

// send asks the proxy of a gateway. What comes back is not to be believed: the proxy
// passes on what servers wrote, and may be captured.
func (q inquiry) send(ctx context.Context, state string) (*http.Response, error) {
	socket := operatorSocket(state)
	client := http.Client{Timeout: q.wait, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	var body io.Reader
	if q.body != nil {
		document, err := json.Marshal(q.body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(document)
	}
	request, err := http.NewRequestWithContext(ctx, q.method, "http://operator"+q.path+"?"+q.query.Encode(), body)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED):
		return nil, &notRunningError{socket}
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("ask the proxy at %s: only root may: use sudo", socket)
	case err != nil:
		return nil, fmt.Errorf("ask the proxy at %s: %w", socket, err)
	case response.StatusCode == http.StatusOK:
		return response, nil
	}
	defer response.Body.Close()
	content, _ := io.ReadAll(io.LimitReader(response.Body, maxFailure)) // what is missing stays empty
	var failure struct{ Error string }
	_ = json.Unmarshal(content, &failure)
	return nil, fmt.Errorf("the proxy answered %d: %s", response.StatusCode, shown(failure.Error))
}

// read reads the whole answer.
func (q inquiry) read(ctx context.Context, state string, answer any) error {
	response, err := q.send(ctx, state)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("ask the proxy: %w", err)
	case len(body) > maxAnswer:
		return fmt.Errorf("ask the proxy: its answer has more than %d bytes", maxAnswer)
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return fmt.Errorf("read the proxy's answer: %s", shown(err.Error()))
	}
	return nil
}

// askProxy asks the proxy of a gateway for what it knows, about one server unless it is "".
func askProxy(ctx context.Context, state, path, server string, answer any) error {
	var parameters neturl.Values
	if server != "" {
		parameters = neturl.Values{"server": {server}}
	}
	return askProxyFor(ctx, state, path, parameters, answer)
}

// askProxyFor is askProxy with any parameters.
func askProxyFor(ctx context.Context, state, path string, parameters neturl.Values, answer any) error {
	return inquiry{method: http.MethodGet, path: path, query: parameters, wait: operatorWait}.read(ctx, state, answer)
}

// serverPath is the route of a server.
func serverPath(server string, more ...string) string {
	return "/" + strings.Join(append([]string{"servers", neturl.PathEscape(server)}, more...), "/")
}
