package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mcpgateway/images"
	"mcpgateway/runtime/config"
	"mcpgateway/runtime/document"
	"mcpgateway/runtime/provider"
)

func newCheckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Read a configuration and report every mistake in it",
		Long: `Read a configuration as the daemon would and report every mistake in it, each
with file:line:column. No server is started, and without --secrets no file,
credential or helper is asked for a secret. The exit status is 0 if it loads, with
or without warnings, and 1 if not.`,
		Args: cobra.ExactArgs(1),
	}
	secrets := cmd.Flags().Bool("secrets", false, "look secrets up as the daemon would, and run its helpers (root)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *secrets && os.Geteuid() != 0 {
			return errors.New("--secrets runs helpers as other users: run it as root")
		}
		var fetch config.Fetch
		if *secrets {
			fetch = (&provider.Provider{Credentials: os.Getenv("CREDENTIALS_DIRECTORY")}).Fetch
		}
		return check(cmd.OutOrStdout(), cmd.ErrOrStderr(), args[0], fetch)
	}
	return cmd
}

func check(out, problems io.Writer, path string, fetch config.Fetch) error {
	read := config.Read(path, os.LookupEnv, fetch)
	cfg, err := read.Config, read.Err
	for _, w := range read.Warnings {
		fmt.Fprintf(problems, "%s: warning: %s\n", w.Position, w.Text)
	}
	var mistakes document.Errors
	if errors.As(err, &mistakes) {
		fmt.Fprintln(problems, mistakes)
		fmt.Fprintf(problems, "%s: %d mistakes\n", path, len(mistakes))
		return errReported
	}
	if err != nil {
		return err
	}
	if n := cfg.Unfetched(); n > 0 {
		fmt.Fprintf(problems, "%s: warning: %d references to secrets were not looked up: check --secrets does, as root\n", path, n)
	}
	for _, u := range cfg.Unsupported() {
		fmt.Fprintf(problems, "%s: warning: %s\n", u.Position, u.Text)
	}
	invisible, err := invisibleCommands(cfg)
	if err != nil {
		return err
	}
	for _, text := range append(plain(cfg), invisible...) {
		fmt.Fprintf(problems, "%s: warning: %s\n", path, text)
	}
	for _, text := range unknownNames(cfg) {
		fmt.Fprintln(problems, text)
	}
	if err := policyMistakes(cfg); err != nil {
		lines := mistakeLines(err)
		fmt.Fprintln(problems, strings.Join(lines, "\n"))
		fmt.Fprintf(problems, "%s: %d mistakes\n", path, len(lines))
		return errReported
	}
	if texts := contradictions(cfg); len(texts) > 0 {
		for _, text := range texts {
			fmt.Fprintf(problems, "%s: %s\n", path, text)
		}
		fmt.Fprintf(problems, "%s: %d mistakes\n", path, len(texts))
		return errReported
	}
	fmt.Fprintf(out, "%s: loads: %d servers\n", path, len(cfg.Servers))
	return nil
}

// invisibleCommands says which servers could not start on this host, and why.
func invisibleCommands(cfg *config.Config) ([]string, error) {
	image, err := images.Host("/etc") // the image's own one keeps the same alternatives
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(cfg.Servers)) {
		server := cfg.Servers[name]
		if !server.Enabled {
			continue
		}
		var mounts []images.Bind
		for _, m := range server.Sandbox.Filesystem.Mounts {
			mounts = append(mounts, images.Bind{Source: m.Source, Target: m.Target})
		}
		if _, err := image.Find(server.Command, mounts); err != nil {
			texts = append(texts, fmt.Sprintf("start server %q: %v", name, err))
		}
	}
	return texts, nil
}
