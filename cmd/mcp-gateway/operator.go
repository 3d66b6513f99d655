package main

import (
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
	"time"

	"golang.org/x/sys/unix"
)

const (
	defaultOperator = "/run/mcp-gateway/operator.sock"
	operatorLink    = "operator.sock" // in the state folder

	operatorWait = 2 * time.Minute // for an answer: a server may have to start
	maxAnswer    = 64 << 20        // bytes of one
)

// operatorSocket finds the proxy's socket for operators, as controlSocket does.
func operatorSocket(state string) string {
	if link := filepath.Join(state, operatorLink); exists(link) {
		return link
	}
	return defaultOperator
}

// askProxy asks the proxy of a gateway, about one server unless it is "". What comes back is not to be believed: the proxy
// passes on what servers wrote, and may be captured.
func askProxy(ctx context.Context, state, path, server string, answer any) error {
	return askProxyFor(ctx, state, path, neturl.Values{"server": {server}}, answer)
}

// askProxyFor is askProxy with any parameters.
func askProxyFor(ctx context.Context, state, path string, parameters neturl.Values, answer any) error {
	socket := operatorSocket(state)
	client := http.Client{Timeout: operatorWait, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://operator"+path+"?"+parameters.Encode(), nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("ask the proxy at %s: the gateway does not run, or without that socket: start it (mcp-gateway up, or systemctl start mcp-gateway-proxy-operator.socket), or name its --state", socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("ask the proxy at %s: only root may: use sudo", socket)
	case err != nil:
		return fmt.Errorf("ask the proxy at %s: %w", socket, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("ask the proxy: %w", err)
	case len(body) > maxAnswer:
		return fmt.Errorf("ask the proxy: its answer has more than %d bytes", maxAnswer)
	case response.StatusCode != http.StatusOK:
		var failure struct{ Error string }
		_ = json.Unmarshal(body, &failure) // what is missing stays empty
		return fmt.Errorf("the proxy answered %d: %s", response.StatusCode, shown(failure.Error))
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return fmt.Errorf("read the proxy's answer: %s", shown(err.Error()))
	}
	return nil
}
