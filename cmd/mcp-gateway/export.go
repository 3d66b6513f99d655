package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"mcpgateway/runtime/clients"
	"mcpgateway/runtime/config"
)

func newExportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export --client CLIENT [SERVER…]",
		Short: "Print what an MCP client needs to reach the gateway's servers",
		Long: `Print the part of an MCP client's configuration file that connects it to servers of
this gateway, or to all that are enabled, over Streamable HTTP. What else is to be
done is said on standard error. It has no key in it unless you give one.`,
		Example: "  mcp-gateway export --client claude-code files > .mcp.json\n" +
			"  mcp-gateway export --client vscode --url https://mcp.example.com",
	}
	var t clients.Target
	f := cmd.Flags()
	state := stateFlag(cmd)
	client := f.String("client", "", "for this `CLIENT`: "+orList(clients.Names()))
	file := f.String("config", defaultConfig, "the gateway's configuration `FILE`")
	f.StringVar(&t.URL, "url", "", "the gateway's `URL` (default: as its configuration says)")
	f.StringVar(&t.KeyEnv, "key-env", "", "have the client take its key from this `VARIABLE`")
	f.StringVar(&t.Key, "key", "", "write this `KEY` into it")
	cmd.MarkFlagsMutuallyExclusive("key", "key-env")
	if err := cmd.MarkFlagRequired("client"); err != nil {
		panic(err)
	}
	completeFlag(cmd, "client", func(*cobra.Command) []string { return clients.Names() })
	cmd.ValidArgsFunction = completing(1<<10, knownServers)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !slices.Contains(clients.Names(), *client) {
			return misused("client %s is not known: use %s", quoted(*client), orList(clients.Names()))
		}
		t.Servers = args
		if err := complete(&t, *file, *state, cmd.ErrOrStderr()); err != nil {
			return err
		}
		text, notes, err := clients.Snippet(*client, t)
		if err != nil {
			return err
		}
		for _, note := range notes {
			fmt.Fprintf(cmd.ErrOrStderr(), "mcp-gateway: %s\n", note)
		}
		_, err = cmd.OutOrStdout().Write(text)
		return err
	}
	return cmd
}

// complete takes from the configuration what was not said.
func complete(t *clients.Target, file, state string, problems io.Writer) error {
	if t.URL != "" && len(t.Servers) > 0 && !exists(file) {
		return nil
	}
	cfg, err := loadOffline(file)
	if err != nil {
		return fmt.Errorf("export: %w\n(name the configuration with --config, or the --url and the servers)", err)
	}
	for _, name := range t.Servers {
		if _, err := lookupServer(cfg, name); err != nil {
			return err
		}
	}
	if len(t.Servers) == 0 {
		t.Servers = slices.DeleteFunc(serverNames(cfg), func(name string) bool { return !cfg.Servers[name].Enabled })
	}
	if t.URL == "" {
		h := cfg.Transports.HTTP // with the port that it was assigned
		if h.Port == 0 {
			h.Port = rememberedPorts(portsOf(state), problems)["http"].Port
		}
		t.URL, err = publicURL(&h)
	}
	return err
}

// publicURL is where clients reach a gateway, as its configuration knows it.
func publicURL(h *config.HTTP) (string, error) {
	switch address, err := netip.ParseAddr(h.Address); {
	case h.PublicURL != "":
		return h.PublicURL, nil
	case !h.Enabled:
		return "", errors.New("export: transports.http is not enabled: clients connect over it")
	case err != nil || address.IsUnspecified() || h.Port == 0:
		return "", errors.New("export: the configuration does not say where clients reach the gateway: give --url, such as https://mcp.example.com")
	}
	return url("http", net.JoinHostPort(h.Address, strconv.Itoa(h.Port)), h.TLS.PEM), nil
}
