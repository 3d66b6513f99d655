package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"mcpgateway/images"
	"mcpgateway/runtime/config"
	"mcpgateway/runtime/document"
	"mcpgateway/runtime/provider"
)

func newCheckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Read a configuration and report every mistake in it", Example: "  mcp-gateway check /etc/mcp-gateway/mcp-gateway.yaml",
		Long: `Read a configuration as the daemon would and report every mistake in it, each
with file:line:column. No server is started, and without --secrets no file,
credential or helper is asked for a secret. The exit status is 0 if it loads, with
or without warnings, and 1 if not.`,
		Args: cobra.ExactArgs(1),
	}
	secrets := cmd.Flags().Bool("secrets", false, "look secrets up as the daemon would, and run its helpers (root)")
	form := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *secrets && os.Geteuid() != 0 {
			return errors.New("--secrets runs helpers as other users: run it as root")
		}
		var fetch config.Fetch
		if *secrets {
			fetch = (&provider.Provider{Credentials: os.Getenv("CREDENTIALS_DIRECTORY")}).Fetch
		}
		return check(cmd.OutOrStdout(), cmd.ErrOrStderr(), args[0], fetch, form)
	}
	return cmd
}

// checked is check -o json: what is to be said of a configuration.
type checked struct {
	File     string   `json:"file"`
	Loads    bool     `json:"loads"`
	Servers  []string `json:"servers"`
	Warnings []remark `json:"warnings"`
	Mistakes []remark `json:"mistakes"`

	config *config.Config // nil if it has mistakes of its own
}

// remark is something about a place of a file, or about the file.
type remark struct {
	Position string `json:"position"` // file:line:column, or file
	Text     string `json:"text"`
}

func (c *checked) warn(position string, texts ...string) {
	for _, text := range texts {
		c.Warnings = append(c.Warnings, remark{position, text})
	}
}

func (c *checked) fail(position string, texts ...string) {
	for _, text := range texts {
		c.Mistakes = append(c.Mistakes, remark{position, text})
	}
}

func check(out, problems io.Writer, path string, fetch config.Fetch, form *output) error {
	c, err := judge(path, fetch)
	if err != nil {
		return err
	}
	err = form.print(out, c, func(out io.Writer) error {
		c.print(out, problems)
		return nil
	})
	if err == nil && !c.Loads {
		err = errReported
	}
	return err
}

func (c *checked) print(out, problems io.Writer) {
	colours := showsColours(problems)
	for _, w := range c.Warnings {
		fmt.Fprintf(problems, "%s: %s: %s\n", w.Position, caution("warning").paint(colours), w.Text)
	}
	for _, m := range c.Mistakes {
		fmt.Fprintf(problems, "%s: %s\n", m.Position, m.Text)
	}
	if !c.Loads {
		fmt.Fprintf(problems, "%s: %d mistakes\n", c.File, len(c.Mistakes))
		return
	}
	fmt.Fprintf(out, "%s: loads: %d servers\n", c.File, len(c.Servers))
}

// judge reads a configuration and says all there is to be said of it. Its error is that
// it could not be read.
func judge(path string, fetch config.Fetch) (*checked, error) {
	c := &checked{File: path}
	read := config.Read(path, os.LookupEnv, fetch)
	for _, w := range read.Warnings {
		c.warn(w.Position, w.Text)
	}
	if mistakes, ok := errors.AsType[document.Errors](read.Err); ok {
		for _, m := range mistakes {
			c.fail(m.Position, m.Text)
		}
		return c, nil
	}
	if read.Err != nil {
		return nil, read.Err
	}
	cfg := read.Config
	c.config = cfg
	c.Servers = serverNames(cfg)
	if n := cfg.Unfetched(); n > 0 {
		c.warn(path, fmt.Sprintf("%d references to secrets were not looked up: check --secrets does, as root", n))
	}
	for _, u := range cfg.Unsupported() {
		c.warn(u.Position, u.Text)
	}
	invisible, err := invisibleCommands(cfg)
	if err != nil {
		return nil, err
	}
	c.warn(path, append(plain(cfg), invisible...)...)
	c.Warnings = append(c.Warnings, unknownNames(cfg)...)
	c.Mistakes = mistakesOf(path, policyMistakes(cfg))
	if len(c.Mistakes) == 0 {
		c.fail(path, contradictions(cfg)...)
	}
	c.Loads = len(c.Mistakes) == 0
	return c, nil
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
