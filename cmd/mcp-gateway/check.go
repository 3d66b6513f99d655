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
)

func newCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Read a configuration and report every mistake in it",
		Long: `Read a configuration as the daemon would and report every mistake in it, each
with file:line:column. Nothing is started. The exit status is 0 if it loads, with
or without warnings, and 1 if not.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return check(cmd.OutOrStdout(), cmd.ErrOrStderr(), args[0])
		},
	}
}

func check(out, problems io.Writer, path string) error {
	cfg, warnings, err := config.Load(path, os.LookupEnv)
	for _, w := range warnings {
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
