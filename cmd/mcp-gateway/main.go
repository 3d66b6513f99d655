// Mcp-gateway is the operator's command: it checks configurations, makes API keys
// and runs a whole gateway in the foreground.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"mcpgateway/runtime/release"
)

func main() {
	if filepath.Base(os.Args[0]) == generatorName {
		generate(os.Args[1:])
		return
	}
	status, line := exitStatus(newCommand().Execute())
	if line != "" {
		fmt.Fprintln(os.Stderr, "mcp-gateway:", line)
	}
	os.Exit(status)
}

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "mcp-gateway VERB",
		Short: "Run MCP servers in sandboxes and reach them over the network",
		Long: `Run MCP servers in sandboxes and reach them over the network.
"mcp-gateway VERB --help" says what a verb does, "mcp-gateway help VERB" all of it.
Exit status: 0 good, 1 error, 2 not understood, or the answer is no.`,
		Version: release.Version(),
		Example: "  mcp-gateway check mcp-gateway.yaml && mcp-gateway up --config mcp-gateway.yaml\n" +
			"  mcp-gateway ps -o json",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	addGroups(root, []verbGroup{
		{"run", "Run", []*cobra.Command{newUpCommand(), newReloadCommand()}},
		{"look", "Look", []*cobra.Command{newStatusCommand(), newServersCommand(), newTopCommand(), newPsCommand()}},
		{"sandboxes", "Sandboxes", []*cobra.Command{newFreezeCommand(), newThawCommand(), newReclaimCommand()}},
		{"configure", "Configure", []*cobra.Command{newDoctorCommand(), newCheckCommand(), newProfileCommand(), newImageCommand(), newImportCommand(), newExportCommand()}},
		{"access", "Access", []*cobra.Command{newKeyCommand(), newTokenCommand(), newPolicyCommand(), newToolsCommand()}},
		{"records", "Records", []*cobra.Command{newAuditCommand(), newUsageCommand()}},
		{"shell", "This command", []*cobra.Command{newCompletionCommand(), newManCommand()}},
	})
	root.SetHelpCommand(newHelpCommand())
	root.SetHelpCommandGroupID("shell")
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { fmt.Fprint(cmd.OutOrStdout(), help(cmd)) })
	root.SetFlagErrorFunc(flagMistake)
	root.InitDefaultHelpCmd()
	strict(root)
	return root
}
