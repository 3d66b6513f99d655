package daemon

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"os"
	"strings"
	"time"

	"mcpgateway/policy/redact"
	"mcpgateway/runtime/config"
	"mcpgateway/runtime/provider"
)

// noRefresh is how long the daemon waits to see whether a newer configuration wants
// secrets looked up again.
const noRefresh = time.Minute

func (o Options) fetch() config.Fetch {
	p := &provider.Provider{Credentials: os.Getenv("CREDENTIALS_DIRECTORY"), NotAs: o.ProxyUID}
	return p.Fetch
}

// refreshSecrets looks secrets up again and again, and has the configuration loaded
// anew when one has changed. What can't be looked up stays as it was.
func (d *Daemon) refreshSecrets(ctx context.Context) {
	failure := ""
	for {
		wait := d.current.Load().config.Secrets.Refresh
		if wait == 0 {
			wait = noRefresh
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		cfg := d.current.Load().config
		if cfg.Secrets.Refresh == 0 {
			continue
		}
		changed, err := cfg.SecretsChanged(d.options.fetch())
		if changed {
			slog.Info("a secret has changed")
			err = d.Reload()
		}
		if err == nil {
			failure = ""
		} else if text := err.Error(); text != failure { // the same is told once
			failure = text
			slog.Error("secrets not refreshed: the old ones stay", "err", err)
		}
	}
}

// matcher is what the proxy recognises a server's secrets by: those that come from
// elsewhere than the configuration, but for paths, which all the world writes. It is
// the same whenever it is made of the same; who has it learns nothing of the salt.
func matcher(name string, s config.Server, salt string) *redact.Matcher {
	var texts []string
	for _, value := range s.Env {
		for _, text := range value.Fetched() {
			if s.Redact && !isPath(text) {
				texts = append(texts, text)
			}
		}
	}
	return redact.New(sha256.Sum256([]byte("redact\x00"+name+"\x00"+salt)), texts)
}

// isPath reports whether a text names something below a folder that this host has. A
// key that begins with "/" does not.
func isPath(text string) bool {
	top, _, _ := strings.Cut(strings.TrimPrefix(text, "/"), "/")
	_, err := os.Lstat("/" + top)
	return strings.HasPrefix(text, "/") && err == nil
}
