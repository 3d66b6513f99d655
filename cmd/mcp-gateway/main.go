// Mcp-gateway is the operator's command: it checks configurations, makes API keys
// and runs a whole gateway in the foreground.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func main() {
	if err := newCommand().Execute(); err != nil {
		var own *exitError
		if errors.As(err, &own) {
			os.Exit(own.status)
		}
		if !errors.Is(err, errReported) {
			fmt.Fprintln(os.Stderr, "mcp-gateway:", err)
		}
		if isUnusable(err) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

// errReported ends the program with status 1 after everything was said.
var errReported = errors.New("reported")

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
