package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"mcpgateway/runtime/config"
)

// throwAwayLife bounds a throw-away key even if the gateway that made it was
// killed before it could revoke it.
const throwAwayLife = 24 * time.Hour

type upOptions struct {
	config, state, readyFile, proxyUser string
	withKey                             bool
	problems                            io.Writer // standard error
}

func newUpCommand() *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run daemon and proxy in the foreground", Example: "  mcp-gateway up --config mcp-gateway.yaml --with-key",
		Long: `Run daemon and proxy in the foreground, without a service manager: the daemon as
root, the proxy as an unprivileged user. For development, tests and containers.
It says when the gateway is ready, and stops everything on Ctrl-C or SIGTERM.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.problems = cmd.ErrOrStderr()
			return up(cmd.Context(), cmd.OutOrStdout(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.config, "config", "", "read the configuration from `FILE`")
	f.StringVar(&o.state, "state", "", "keep API keys and assigned ports in `DIR` (default: a temporary one)")
	f.StringVar(&o.readyFile, "ready-file", "", "write the addresses to `FILE` as JSON once the gateway is ready")
	f.StringVar(&o.proxyUser, "proxy-user", "", "run the proxy as `USER` (default: mcp-gateway if there is one, else nobody)")
	f.BoolVar(&o.withKey, "with-key", false, "make a key that ends with this gateway, and print it")
	if err := cmd.MarkFlagRequired("config"); err != nil {
		panic(err)
	}
	return cmd
}

// up runs a gateway until a signal comes, ctx ends, or a part of it does.
func up(ctx context.Context, out io.Writer, o upOptions) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("up makes namespaces and cgroups: run it as root (sudo mcp-gateway up …)")
	}
	unix.Umask(0o022) // the proxy's user must reach what is made for it
	// The children end with the thread that started them (PR_SET_PDEATHSIG).
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	cfg, _, err := config.Load(o.config, os.LookupEnv) // the daemon tells of its warnings
	if err != nil {
		return err
	}
	if err := policyMistakes(cfg); err != nil {
		return err
	}
	if texts := contradictions(cfg); len(texts) > 0 {
		return errors.New(strings.Join(texts, "\n"))
	}
	g, err := newGateway(o, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.cleanUp()) }()
	if err := g.start(); err != nil {
		return errors.Join(err, g.stop())
	}
	if err := g.waitReady(ctx); err != nil {
		if ctx.Err() != nil {
			err = nil
		}
		return errors.Join(err, g.stop())
	}
	if o.state != "" { // not before: who does not get ready takes nothing from who runs
		if err := rememberPorts(filepath.Join(o.state, portsFile), g.ports); err != nil {
			return errors.Join(err, g.stop())
		}
	}
	if o.readyFile != "" {
		if err := writeReadyFile(o.readyFile, g.addresses); err != nil {
			return errors.Join(err, g.stop())
		}
	}
	welcome(out, g.addresses, cfg)
	select {
	case <-ctx.Done():
		fmt.Fprintln(out, "stopping")
	case end := <-g.ends:
		err = end.error()
	}
	return errors.Join(err, g.stop())
}

func writeReadyFile(path string, a addresses) error {
	content, err := json.Marshal(a)
	if err == nil {
		err = replaceFile(path, append(content, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write ready file: %w", err)
	}
	return nil
}

// account is the user that the proxy runs as.
type account struct {
	name     string
	uid, gid uint32
}

func lookupAccount(name string) (account, error) {
	candidates := []string{"mcp-gateway", "nobody"}
	if name != "" {
		candidates = []string{name}
	}
	for _, candidate := range candidates {
		found, err := user.Lookup(candidate)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(found.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(found.Gid, 10, 32)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return account{}, fmt.Errorf("proxy user %q: %w", candidate, err)
		}
		if uid == 0 {
			return account{}, fmt.Errorf("proxy user %q is root: the proxy reads untrusted bytes: name an unprivileged user", candidate)
		}
		return account{candidate, uint32(uid), uint32(gid)}, nil
	}
	return account{}, fmt.Errorf("proxy user: this host has none of %q: create one (useradd --system mcp-gateway)", candidates)
}
