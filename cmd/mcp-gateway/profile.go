package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"mcpgateway/policy/exposure"
	"mcpgateway/policy/profile"
	"mcpgateway/policy/view"
	"mcpgateway/runtime/config"
)

// defaultConfig is where an installed gateway has its configuration.
const defaultConfig = "/etc/mcp-gateway/mcp-gateway.yaml"

// profileFlags are what the profile commands have in common.
type profileFlags struct {
	config, folder string
	output         *output
}

func (f *profileFlags) add(cmd *cobra.Command, formats ...string) {
	cmd.Flags().StringVar(&f.config, "config", defaultConfig, "the gateway's configuration `FILE`")
	cmd.Flags().StringVar(&f.folder, "profiles", "", "read the host's own profiles from `DIR` (default: what the configuration says)")
	if len(formats) > 0 {
		f.output = outputFlag(cmd, formats[1:]...)
	}
}

// profiles reads the profiles of the gateway with that configuration. Without one
// there are those that come with the program.
func (f *profileFlags) profiles() (*profile.Set, error) {
	folder := f.folder
	if folder == "" && exists(f.config) {
		cfg, err := f.load()
		if err != nil {
			return nil, err
		}
		folder = cfg.Sandbox.Profiles
	}
	return profile.Load(folder)
}

// load reads the configuration to look at what does not depend on variables: one
// that is not set here, but in the daemon, is empty.
func (f *profileFlags) load() (*config.Config, error) {
	cfg, _, err := config.Load(f.config, func(name string) (string, bool) { return os.Getenv(name), true })
	return cfg, err
}

func (f *profileFlags) profile(name string) (*profile.Effective, error) {
	set, err := f.profiles()
	if err != nil {
		return nil, err
	}
	e, ok := set.Get(name)
	if !ok {
		return nil, fmt.Errorf("there is no profile %q: there are %s", name, strings.Join(set.Names(), ", "))
	}
	return e, nil
}

// completeProfiles offers the names of profiles for the first arguments.
func (f *profileFlags) completeProfiles(most int) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		set, err := f.profiles()
		if err != nil || len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []string
		for _, name := range set.Names() {
			e, _ := set.Get(name)
			names = append(names, cobra.CompletionWithDesc(name, e.Description))
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeServers offers the names of the configured servers.
func (f *profileFlags) completeServers(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	cfg, err := f.load()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return serverNames(cfg), cobra.ShellCompDirectiveNoFileComp
}

func newProfileCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "profile", Short: "Show, compare and audit sandbox profiles", Example: "  mcp-gateway profile show --server files"}
	cmd.AddCommand(newProfileListCommand(), newProfileShowCommand(), newProfileDiffCommand(), newProfileUnitCommand(), newProfileAuditCommand())
	return cmd
}

// listedProfile is a profile in profile list -o json.
type listedProfile struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Extends     []string `json:"extends"` // the one it extends, the one that extends, and so on
	Exposure    float64  `json:"exposure"`
}

func newProfileListCommand() *cobra.Command {
	var f profileFlags
	cmd := &cobra.Command{Use: "list", Short: "List the profiles and how much each leaves open", Example: "  mcp-gateway profile list -o json", Args: cobra.NoArgs}
	f.add(cmd, "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		set, err := f.profiles()
		if err != nil {
			return err
		}
		list := []listedProfile{}
		for _, name := range set.Names() {
			e, _ := set.Get(name)
			score, _ := exposure.Score(e.Profile)
			list = append(list, listedProfile{name, e.Description, append([]string{}, e.Chain[1:]...), score})
		}
		form := f.output
		return form.print(cmd.OutOrStdout(), list, func(out io.Writer) error {
			table := newTable(out, "NAME", "EXPOSURE", "EXTENDS", "DESCRIPTION")
			for _, p := range list {
				extends := "-"
				if len(p.Extends) > 0 {
					extends = p.Extends[0]
				}
				table.row(p.Name, fmt.Sprintf("%.1f", p.Exposure), extends, p.Description)
			}
			return table.flush()
		})
	}
	return cmd
}

// shownProfile is profile show -o json.
type shownProfile struct {
	Name        string            `json:"name"`
	Server      string            `json:"server,omitempty"`
	Description string            `json:"description"`
	Extends     []string          `json:"extends"`
	Lines       []view.Line       `json:"lines"`
	Exposure    float64           `json:"exposure"`
	Reasons     []exposure.Reason `json:"reasons"`
}

func newProfileShowCommand() *cobra.Command {
	var f profileFlags
	cmd := &cobra.Command{
		Use:   "show [NAME]",
		Short: "Show a profile: every key, its value and where that comes from", Example: "  mcp-gateway profile show strict\n  mcp-gateway profile show --server files -o toml",
		Long: `Show a profile: every key, its value and where that comes from. With --server it
is the one that a server runs under, with what the configuration itself sets.`,
		Args: cobra.MaximumNArgs(1),
	}
	f.add(cmd, "json", "toml")
	server := cmd.Flags().String("server", "", "show what the `SERVER` of the configuration runs under")
	cmd.ValidArgsFunction = f.completeProfiles(1)
	if err := cmd.RegisterFlagCompletionFunc("server", f.completeServers); err != nil {
		panic(err)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if (len(args) == 0) == (*server == "") {
			return misused("name either a profile or a --server: see mcp-gateway profile list")
		}
		var e *profile.Effective
		var err error
		if *server == "" {
			e, err = f.profile(args[0])
		} else {
			e, err = f.serverProfile(*server)
		}
		if err != nil {
			return err
		}
		return showProfile(cmd.OutOrStdout(), f.output.format, *server, e)
	}
	return cmd
}

// serverProfile is the profile that a server runs under, with what its
// configuration sets.
func (f *profileFlags) serverProfile(name string) (*profile.Effective, error) {
	cfg, err := f.load()
	if err != nil {
		return nil, err
	}
	server, err := lookupServer(cfg, name)
	if err != nil {
		return nil, err
	}
	return server.Sandbox, nil
}

func showProfile(out io.Writer, format, server string, e *profile.Effective) error {
	score, reasons := exposure.Score(e.Profile)
	switch format {
	case "json":
		return writeJSON(out, shownProfile{
			e.Name, server, e.Description, append([]string{}, e.Chain[1:]...), view.Lines(e), score, append([]exposure.Reason{}, reasons...),
		})
	case "toml":
		_, err := io.WriteString(out, view.Text(e))
		return err
	}
	fmt.Fprintf(out, "%s: %s\n", strings.Join(e.Chain, " < "), printable(e.Description))
	fmt.Fprintln(out)
	table := newTable(out, "KEY", "VALUE", "ORIGIN")
	for _, l := range view.Lines(e) {
		table.row(l.Key, clean(printable(l.Value)), l.Origin)
	}
	if err := table.flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	return writeExposure(out, score, reasons)
}

// writeExposure says how much is open and why.
func writeExposure(out io.Writer, score float64, reasons []exposure.Reason) error {
	fmt.Fprintf(out, "exposure %.1f of 10\n", score)
	table := newTable(out)
	for _, r := range reasons {
		table.row(fmt.Sprintf("  %.2f", r.Points), r.Key, r.Text)
	}
	return table.flush()
}

// comparedProfiles is profile diff -o json.
type comparedProfiles struct {
	A       string        `json:"a"`
	B       string        `json:"b"`
	Changes []view.Change `json:"changes"`
}

func newProfileDiffCommand() *cobra.Command {
	var f profileFlags
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Compare two profiles: what the second sets otherwise, and which way", Example: "  mcp-gateway profile diff default strict",
		Long: `Compare two profiles: what the second sets otherwise. "weaker" stands where it lets
a server do more, "stricter" where less, and "other" where neither can be said.`,
		Args: cobra.ExactArgs(2),
	}
	f.add(cmd, "json")
	cmd.ValidArgsFunction = f.completeProfiles(2)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a, err := f.profile(args[0])
		if err != nil {
			return err
		}
		b, err := f.profile(args[1])
		if err != nil {
			return err
		}
		changes := append([]view.Change{}, view.Diff(a, b)...)
		form := f.output
		return form.print(cmd.OutOrStdout(), comparedProfiles{a.Name, b.Name, changes}, func(out io.Writer) error {
			table := newTable(out, "KEY", strings.ToUpper(a.Name), strings.ToUpper(b.Name), "WAY")
			for _, c := range changes {
				way := map[int]cell{1: bad("weaker"), 0: caution("other"), -1: good("stricter")}[c.Weaker]
				table.row(c.Key, clean(printable(c.A)), clean(printable(c.B)), way)
			}
			return table.flush()
		})
	}
	return cmd
}

func newProfileUnitCommand() *cobra.Command {
	var f profileFlags
	cmd := &cobra.Command{
		Use:   "unit NAME",
		Short: "Write a profile as a systemd unit, for others to judge", Example: "  mcp-gateway profile unit strict > strict.service",
		Long: `Write a profile as a systemd unit that confines a command as far as systemd can.
The gateway does not use it: it is for others to read and to judge, as with

  mcp-gateway profile unit strict > strict.service
  systemd-analyze security --offline=true ./strict.service`,
		Args: cobra.ExactArgs(1),
	}
	f.add(cmd)
	command := cmd.Flags().String("command", "/usr/bin/server", "confine this `COMMAND`")
	cmd.ValidArgsFunction = f.completeProfiles(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		e, err := f.profile(args[0])
		if err != nil {
			return err
		}
		_, err = io.WriteString(cmd.OutOrStdout(), exposure.Unit(e, *command))
		return err
	}
	return cmd
}
