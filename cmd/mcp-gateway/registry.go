package main

import (
	"context"
	neturl "net/url"
	"os/exec"
	"strings"
	"time"
)

// registryWait is how long npm has to say where it fetches programs from.
const registryWait = 10 * time.Second

// registry is where a program that fetches others gets them, "HOST:PORT", as npm is
// configured on this host; "" if that can't be found out.
func registry(command string) string {
	switch command {
	case "npx", "bunx", "pnpm", "yarn":
	default:
		return ""
	}
	ctx, cancel := context.WithTimeout(context.Background(), registryWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "config", "get", "registry")
	cmd.Dir = "/" // the folder of a cloned project may say another one
	text, err := cmd.Output()
	if err != nil {
		return ""
	}
	at, err := neturl.Parse(strings.TrimSpace(string(text)))
	switch {
	case err != nil || at.Hostname() == "":
		return ""
	case at.Port() != "":
		return at.Host
	case at.Scheme == "http":
		return at.Hostname() + ":80"
	}
	return at.Hostname() + ":443"
}
