package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"mcpgateway/tests/traffic"
)

// peerGateway is another gateway before the same server, its authentication off.
type peerGateway struct {
	*program
	name, url string
}

// npmPeers are those that npm has. PORT and SERVER are replaced, as in BENCH_PEER_CMD.
var npmPeers = []struct{ name, command string }{
	{"mcp-proxy", "node_modules/.bin/mcp-proxy --host 127.0.0.1 --port PORT --server stream -- SERVER"},
	{"supergateway", "node_modules/.bin/supergateway --stdio SERVER --outputTransport streamableHttp --stateful --port PORT --logLevel none"},
}

func startPeers(ctx context.Context, o options, dir, echo string) (peers []*peerGateway, err error) {
	defer func() {
		if err != nil {
			for _, p := range peers {
				err = errors.Join(err, p.stop())
			}
			peers = nil
		}
	}()
	dir = filepath.Join(dir, "peers")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	if o.peers {
		install := exec.CommandContext(ctx, "npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "mcp-proxy", "supergateway")
		install.Dir = dir
		if out, err := install.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("install peers: %w: %s", err, out)
		}
		for _, n := range npmPeers {
			p, err := startPeer(ctx, dir, n.name, n.command, echo)
			if err != nil {
				return peers, err
			}
			peers = append(peers, p)
		}
	}
	if o.peerCmd != "" {
		p, err := startPeer(ctx, dir, "BENCH_PEER_CMD", o.peerCmd, echo)
		if err != nil {
			return peers, err
		}
		peers = append(peers, p)
	}
	return peers, nil
}

func startPeer(ctx context.Context, dir, name, command, echo string) (*peerGateway, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	line := strings.NewReplacer("PORT", strconv.Itoa(port), "SERVER", echo).Replace(command)
	words := strings.Fields(line)
	path := "/mcp"
	if last := words[len(words)-1]; strings.HasPrefix(last, "path=/") {
		path, words = strings.TrimPrefix(last, "path="), words[:len(words)-1]
	}
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir = dir
	p := &peerGateway{name: name, url: fmt.Sprintf("http://127.0.0.1:%d%s", port, path)}
	if p.program, err = startProgram(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	var last error
	err = p.eventually(ctx, name+" answers", func() (bool, error) {
		session, err := p.open(0)
		if last = err; err != nil {
			return false, nil
		}
		return true, session.Close()
	})
	if err != nil {
		return nil, errors.Join(err, last, p.stop())
	}
	return p, nil
}

// freePort is one that nobody has at the moment.
func freePort() (int, error) {
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return 0, err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	return port, listener.Close()
}

func (p *peerGateway) open(int) (traffic.Session, error) {
	return traffic.HTTP(p.url, "", traffic.Handshake)
}

func (p *peerGateway) line() line {
	return line{System: p.name, Transport: "http", Era: string(traffic.Handshake), root: p.pid(), open: p.open}
}
