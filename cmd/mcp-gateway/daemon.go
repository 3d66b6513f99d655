package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"mcpgateway/runtime/peer"
)

// Where an installed gateway keeps its state and its control socket.
const (
	defaultState  = "/var/lib/mcp-gateway"
	defaultSocket = "/run/mcp-gateway/control.sock"
)

func stateFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("state", defaultState, "the gateway's state `DIR`, as given to up")
}

// controlSocket finds the control socket of the gateway with a state folder: up
// leaves a link to it there.
func controlSocket(state string) string {
	if link := filepath.Join(state, "control.sock"); exists(link) {
		return link
	}
	return defaultSocket
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// withDaemon runs do with a connection to the daemon.
func withDaemon(ctx context.Context, state string, do func(context.Context, *peer.Client) error) error {
	client, err := peer.Dial(ctx, controlSocket(state), peer.Notices{})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = client.Run(ctx) // it ends by cancel; if before, do has the error
	}()
	err = do(ctx, client)
	cancel()
	<-ended
	return err
}

func newReloadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Make the running gateway read its configuration and keys again", Example: "  mcp-gateway reload",
		Long: `Make the running gateway read its configuration and keys again. If the new
configuration has a mistake, it is reported and the old one stays in force.
Servers that are as they were go on; those that have changed are replaced when
their calls have ended.`,
		Args: cobra.NoArgs,
	}
	state := stateFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return withDaemon(cmd.Context(), *state, func(ctx context.Context, client *peer.Client) error {
			return client.Reload(ctx)
		})
	}
	return cmd
}
