// Mcp-gateway is the operator's command: it checks configurations, makes API keys
// and runs a whole gateway in the foreground.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func main() {
	status, line := exitStatus(newCommand().Execute())
	if line != "" {
		fmt.Fprintln(os.Stderr, "mcp-gateway:", line)
	}
	os.Exit(status)
}

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "mcp-gateway",
		Short:         "Run MCP servers in sandboxes and reach them over the network",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(newUpCommand(), newCheckCommand(), newKeyCommand(), newTokenCommand(), newToolsCommand(), newReloadCommand(), newPsCommand(),
		newFreezeCommand(), newThawCommand(), newReclaimCommand(), newProfileCommand(), newAuditCommand(), newPolicyCommand())
	return root
}
