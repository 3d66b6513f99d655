package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"mcpgateway/runtime/peer"
)

// sandboxCommand does something to the sandbox that its argument names.
func sandboxCommand(cmd *cobra.Command, do func(ctx context.Context, client *peer.Client, sandbox string) error) *cobra.Command {
	cmd.Args, cmd.ValidArgsFunction = cobra.ExactArgs(1), completing(1, knownSandboxes)
	state := stateFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return withDaemon(cmd.Context(), *state, func(ctx context.Context, client *peer.Client) error {
			return do(ctx, client, args[0])
		})
	}
	return cmd
}

func newFreezeCommand() *cobra.Command {
	return sandboxCommand(&cobra.Command{
		Use:   "freeze SANDBOX",
		Short: "Halt every process of a sandbox until it is thawed", Example: "  mcp-gateway freeze files-12",
		Long: `Halt every process of a sandbox (see ps) until it is thawed. The gateway does not
look whether somebody else froze it: calls to it time out meanwhile.`,
	}, func(ctx context.Context, client *peer.Client, sandbox string) error {
		return client.Freeze(ctx, sandbox)
	})
}

func newThawCommand() *cobra.Command {
	return sandboxCommand(&cobra.Command{Use: "thaw SANDBOX", Short: "Let a frozen sandbox go on", Example: "  mcp-gateway thaw files-12"},
		func(ctx context.Context, client *peer.Client, sandbox string) error { return client.Thaw(ctx, sandbox) })
}

func newReclaimCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reclaim SANDBOX",
		Short: "Take memory back that a sandbox can do without", Example: "  mcp-gateway reclaim files-12 --mib 100",
		Long: `Make the kernel take memory back that a sandbox can do without, mostly files that
it has read. Without cgroup v2 that is all of it, whatever --mib says.`,
	}
	mib := cmd.Flags().Int64("mib", 0, "take back so many `MIB`; 0 is all that can be had")
	return sandboxCommand(cmd, func(ctx context.Context, client *peer.Client, sandbox string) error {
		if *mib < 0 || *mib > 1<<40 {
			return fmt.Errorf("--mib %d is no amount of memory", *mib)
		}
		return client.Reclaim(ctx, sandbox, *mib<<20)
	})
}
