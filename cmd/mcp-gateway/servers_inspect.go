package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"mcpgateway/policy/exposure"
	"mcpgateway/policy/view"
	"mcpgateway/proxy/pins"
	"mcpgateway/proxy/report"
	"mcpgateway/runtime/control"
)

// inspected is servers inspect: what the proxy, the daemon, the server itself and the
// configuration's file say of a server. What could not be had has its error.
type inspected struct {
	Server          report.Detail     `json:"server"`
	Sandboxes       []control.Sandbox `json:"sandboxes"` // with what they use, and may use
	SandboxesError  string            `json:"sandboxes_error,omitempty"`
	Tools           []pins.Listed     `json:"tools"`
	ToolsError      string            `json:"tools_error,omitempty"`
	Configured      *configuredServer `json:"configured,omitempty"`
	ConfiguredError string            `json:"configured_error,omitempty"`
}

// configuredServer is what the configuration's file says of a server: the daemon's half,
// which may have changed since it was loaded.
type configuredServer struct {
	File             string      `json:"file"`
	Enabled          bool        `json:"enabled"`
	Image            string      `json:"image"`
	Command          string      `json:"command"`
	Args             []string    `json:"args"`
	Env              []string    `json:"env"` // names: the values may be secrets
	WorkingDirectory string      `json:"working_directory"`
	Profile          string      `json:"profile"`
	Sandbox          []view.Line `json:"sandbox"` // every key of the profile, and where its value comes from
	Exposure         float64     `json:"exposure"`
}

func newServersInspectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect SERVER",
		Short: "Print all that is known of a server, as JSON",
		Long: `Print all that is known of a server, as JSON: what the proxy enforces and has seen,
its sandboxes with what they use and may use, its tools (which starts an instance if
there is none), and what the configuration's file says, without the values of its
environment. Durations of the settings are in nanoseconds.`,
		Example: "  mcp-gateway servers inspect files | jq .server.settings",
		Args:    cobra.ExactArgs(1),
	}
	state := stateFlag(cmd)
	config := cmd.Flags().String("config", defaultConfig, "the gateway's configuration `FILE`")
	cmd.ValidArgsFunction = completing(1, knownServers)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		detail, err := serverDetail(cmd.Context(), *state, args[0])
		if err != nil {
			return err
		}
		all := inspected{Server: detail}
		all.askDaemon(cmd.Context(), *state)
		all.askServer(cmd.Context(), *state)
		all.readFile(*config)
		return writeJSON(cmd.OutOrStdout(), all)
	}
	return cmd
}

func (i *inspected) askDaemon(ctx context.Context, state string) {
	list, err := listSandboxes(ctx, state)
	if err != nil {
		i.SandboxesError = err.Error()
		return
	}
	for _, s := range list {
		if s.Server == i.Server.Name {
			i.Sandboxes = append(i.Sandboxes, s)
		}
	}
}

func (i *inspected) askServer(ctx context.Context, state string) {
	var listing pins.Listing
	if err := askProxy(ctx, state, "/tools", i.Server.Name, &listing); err != nil {
		i.ToolsError = err.Error()
		return
	}
	i.Tools = listing.Tools
}

func (i *inspected) readFile(path string) {
	cfg, err := loadOffline(path)
	if err != nil {
		i.ConfiguredError = err.Error()
		return
	}
	s, ok := cfg.Servers[i.Server.Name]
	if !ok {
		i.ConfiguredError = fmt.Sprintf("%s has no server %q", path, i.Server.Name)
		return
	}
	score, _ := exposure.Score(s.Sandbox.Profile)
	i.Configured = &configuredServer{
		File: path, Enabled: s.Enabled, Image: s.Image, Command: s.Command, Args: s.Args, Env: sortedKeys(s.Env),
		WorkingDirectory: s.WorkingDirectory, Profile: s.Profile, Sandbox: view.Lines(s.Sandbox), Exposure: score,
	}
}
