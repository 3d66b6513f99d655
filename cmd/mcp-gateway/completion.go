package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"mcpgateway/runtime/config"
	"mcpgateway/runtime/keys"
)

// completionWait is how long a shell waits for names of a running gateway.
const completionWait = time.Second

func newCompletionCommand() *cobra.Command {
	shells := map[string]func(*cobra.Command, io.Writer) error{
		"bash": func(root *cobra.Command, out io.Writer) error { return root.GenBashCompletionV2(out, true) },
		"zsh":  (*cobra.Command).GenZshCompletion,
		"fish": func(root *cobra.Command, out io.Writer) error { return root.GenFishCompletion(out, true) },
	}
	names := sortedKeys(shells)
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print what makes a shell complete verbs, flags and names",
		Long: `Print what makes a shell complete verbs, flags, and the names of servers,
profiles, keys and sandboxes, which are those of the running gateway or of its
configuration.`,
		Example: "  source <(mcp-gateway completion bash)\n" +
			"  mcp-gateway completion bash > /etc/bash_completion.d/mcp-gateway\n" +
			"  mcp-gateway completion zsh > \"${fpath[1]}/_mcp-gateway\"\n" +
			"  mcp-gateway completion fish > ~/.config/fish/completions/mcp-gateway.fish",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: names,
		RunE: func(cmd *cobra.Command, args []string) error {
			return shells[args[0]](cmd.Root(), cmd.OutOrStdout())
		},
	}
}

// completing makes a completion of names that are looked up with the flags that were
// given, for the first most arguments, without those that are there already.
func completing(most int, names func(cmd *cobra.Command) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return slices.DeleteFunc(names(cmd), func(name string) bool { return slices.Contains(args, name) }), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFlag completes the value of a flag.
func completeFlag(cmd *cobra.Command, flag string, names func(cmd *cobra.Command) []string) {
	complete := func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return names(cmd), cobra.ShellCompDirectiveNoFileComp
	}
	if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
		panic(err)
	}
}

// flagOr is the value of a flag that a verb may have, or what it is by default.
func flagOr(cmd *cobra.Command, name, otherwise string) string {
	if f := cmd.Flags().Lookup(name); f != nil && f.Value.String() != "" {
		return f.Value.String()
	}
	return otherwise
}

// knownServers are the servers of the running gateway, or those of the configuration.
func knownServers(cmd *cobra.Command) []string {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionWait)
	defer cancel()
	if names, err := serversOf(ctx, flagOr(cmd, "state", defaultState)); err == nil {
		return slices.DeleteFunc(names, func(name string) bool { return shown(name) != name })
	}
	if cfg := knownConfig(cmd); cfg != nil {
		return serverNames(cfg)
	}
	return nil
}

// knownConfig is the configuration that a verb would read, nil if it can't.
func knownConfig(cmd *cobra.Command) *config.Config {
	cfg, err := loadOffline(flagOr(cmd, "config", defaultConfig))
	if err != nil {
		return nil
	}
	return cfg
}

func knownProjects(cmd *cobra.Command) []string {
	if cfg := knownConfig(cmd); cfg != nil {
		return slices.Sorted(maps.Keys(cfg.Projects))
	}
	return nil
}

// knownKeys are the ids of keys, with their names.
func knownKeys(cmd *cobra.Command) (ids []string) {
	stored, err := keys.Load(keyFile(flagOr(cmd, "state", defaultState)))
	if err != nil {
		return nil
	}
	for _, k := range stored {
		ids = append(ids, cobra.CompletionWithDesc(k.ID, shown(k.Name)))
	}
	return ids
}

// knownSandboxes are the running ones, with their servers.
func knownSandboxes(cmd *cobra.Command) (ids []string) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionWait)
	defer cancel()
	list, err := listSandboxes(ctx, flagOr(cmd, "state", defaultState))
	if err != nil {
		return nil
	}
	for _, s := range list {
		ids = append(ids, cobra.CompletionWithDesc(s.ID, fmt.Sprintf("of server %s", s.Server)))
	}
	return ids
}
