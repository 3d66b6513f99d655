package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"mcpgateway/images"
	"mcpgateway/runtime/clients"
	"mcpgateway/runtime/config"
	"mcpgateway/runtime/document"
)

// installedSecrets is where references to secrets lead, unless the operator says.
const installedSecrets = "/etc/mcp-gateway/secrets"

func newImportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import FILE…",
		Short: "Make the gateway's configuration of MCP clients' files",
		Long: `Make the gateway's configuration of the files of MCP clients: Claude Desktop's
claude_desktop_config.json, Claude Code's .mcp.json, VS Code's mcp.json, Cursor's and
Windsurf's. It is printed, or added to a configuration, which is shown and asked for
first. No secret is copied into it: what to set is said, or written as --secrets-dir
says. The exit status is 2 if the answer was no.`,
		Example: "  mcp-gateway import ~/.config/Claude/claude_desktop_config.json\n" +
			"  sudo mcp-gateway import .mcp.json --into /etc/mcp-gateway/mcp-gateway.yaml",
		Args: cobra.MinimumNArgs(1),
	}
	i := importing{}
	f := cmd.Flags()
	f.StringVar(&i.into, "into", "", "add the servers to this configuration `FILE`")
	f.StringVar(&i.secrets, "secrets-dir", "", "write secrets to files of mode 0600 in `DIR` (default: refer to "+installedSecrets+")")
	f.BoolVar(&i.dry, "dry-run", false, "say what would be changed, and change nothing")
	f.BoolVar(&i.yes, "yes", false, "don't ask")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		i.in, i.out, i.problems = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
		return i.run(args)
	}
	return cmd
}

// importing is one run of the command.
type importing struct {
	into, secrets string
	dry, yes      bool
	in            io.Reader
	out, problems io.Writer
}

func (i *importing) run(files []string) error {
	entries, err := i.convert(files)
	if err != nil {
		return err
	}
	if i.into == "" {
		if _, err := io.WriteString(i.out, clients.Document(entries)); err != nil {
			return err
		}
	} else if err := i.add(entries); err != nil {
		return err
	}
	return i.writeSecrets(entries)
}

// convert reads all files. A name can be had once.
func (i *importing) convert(files []string) (all []clients.Entry, err error) {
	from := map[string]string{}
	for _, file := range files {
		path, err := filepath.Abs(file)
		if err != nil {
			return nil, err
		}
		content, err := readBounded(path, clients.MaxSize)
		if err != nil {
			return nil, fmt.Errorf("import: %w", err)
		}
		parsed, err := clients.Parse(path, content)
		if err != nil {
			return nil, errors.New(shown("import: " + err.Error()))
		}
		host, err := i.host()
		if err != nil {
			return nil, err
		}
		entries, skipped := parsed.Convert(host)
		for _, s := range skipped {
			fmt.Fprintf(i.problems, "mcp-gateway: %s: server %s is left out: %s\n", file, quoted(s.Name), shown(s.Reason))
		}
		for _, e := range entries {
			if other, taken := from[e.Name]; taken {
				return nil, fmt.Errorf("import: server %q is in %s and in %s: rename one of them", e.Name, other, file)
			}
			from[e.Name] = file
		}
		all = append(all, entries...)
	}
	return all, nil
}

// readBounded reads a file of at most so many bytes, and one more to tell.
func readBounded(path string, most int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, most+1))
}

func (i *importing) host() (clients.Host, error) {
	image, err := images.Host("/etc")
	if err != nil {
		return clients.Host{}, err
	}
	h := clients.Host{Secrets: installedSecrets, Lookup: os.LookupEnv, Registry: registry}
	if i.secrets != "" {
		if h.Secrets, err = filepath.Abs(i.secrets); err != nil {
			return h, err
		}
	}
	if h.Home, err = os.UserHomeDir(); err != nil {
		h.Home = "/root"
	}
	h.Mount = func(command string) (folder, problem string) {
		_, err := image.Find(command, nil)
		var hidden *images.NotVisibleError
		switch {
		case err == nil:
			return "", ""
		case errors.As(err, &hidden) && hidden.Mount != "":
			return hidden.Mount, ""
		}
		return "", "this host has no " + command + ": install it"
	}
	return h, nil
}

// add adds servers to a configuration, if that still loads then, and if it is wanted.
func (i *importing) add(entries []clients.Entry) error {
	if strings.EqualFold(filepath.Ext(i.into), ".toml") {
		return fmt.Errorf("import: %s is TOML: import without --into, and add what is printed by hand", i.into)
	}
	unlock, err := lockFolder(filepath.Dir(i.into))
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	defer unlock()
	before, err := document.ReadFile(i.into)
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	after, err := clients.Add(before, entries)
	if err != nil {
		return fmt.Errorf("import: %s: %w", i.into, err)
	}
	if err := i.loads(before, after, len(entries)); err != nil {
		return err
	}
	for _, line := range difference(strings.Split(string(before), "\n"), strings.Split(string(after), "\n")) {
		fmt.Fprintln(i.out, line)
	}
	if i.dry {
		return nil
	}
	if !i.yes && !i.ask(len(entries)) {
		fmt.Fprintln(i.out, "nothing was changed")
		return errFinding
	}
	return i.replace(after)
}

// loads makes sure that what is written is read as what was there and what is added.
func (i *importing) loads(before, after []byte, added int) error {
	env := func(string) (string, bool) { return placeholder, true }
	old, _, err := config.Parse(i.into, before, env)
	if err != nil {
		return fmt.Errorf("import: %s does not load as it is: %w", i.into, err)
	}
	made, _, err := config.Parse(i.into, after, env)
	if err != nil {
		return fmt.Errorf("import: what would be written does not load: import without --into, and add it by hand: %w", err)
	}
	if len(made.Servers) != len(old.Servers)+added {
		return fmt.Errorf("import: %s would have %d servers instead of %d: import without --into, and add them by hand", i.into, len(made.Servers), len(old.Servers)+added)
	}
	return nil
}

func (i *importing) ask(n int) bool {
	fmt.Fprintf(i.out, "\nAdd these %d servers to %s? [y/N] ", n, i.into)
	line, _ := bufio.NewReader(i.in).ReadString('\n') // an end without an answer is no
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes"
}

// replace writes the configuration with the mode and the owner that it has.
func (i *importing) replace(content []byte) error {
	path, err := filepath.EvalSymlinks(i.into)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if err := replaceFileAs(path, content, info.Mode().Perm()); err != nil {
		return fmt.Errorf("write %s: %w", i.into, err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	if err := os.Chown(path, int(owner.Uid), int(owner.Gid)); err != nil {
		return fmt.Errorf("write %s: %w", i.into, err)
	}
	fmt.Fprintf(i.out, "%s is written; mcp-gateway check %s says what else there is to do\n", i.into, i.into)
	return nil
}

// writeSecrets writes those whose values are known, if a folder was named, and says which
// others are to be written.
func (i *importing) writeSecrets(entries []clients.Entry) error {
	write := i.secrets != "" && !i.dry
	if write {
		if err := os.MkdirAll(i.secrets, 0o700); err != nil {
			return fmt.Errorf("write secrets: %w", err)
		}
	}
	for _, e := range entries {
		for _, s := range e.Secrets {
			if !write || !s.Known {
				fmt.Fprintf(i.problems, "mcp-gateway: server %s needs its %s: write %s to %s (root, mode 0600)\n", e.Name, quoted(s.Variable), shown(s.About), s.File)
				continue
			}
			if old, err := os.ReadFile(s.File); err == nil && !bytes.Equal(old, []byte(s.Value)) {
				return fmt.Errorf("write secrets: %s is there, and holds something else: remove it, or name another --secrets-dir", s.File)
			}
			if err := replaceFile(s.File, []byte(s.Value)); err != nil {
				return fmt.Errorf("write secrets: %w", err)
			}
			fmt.Fprintf(i.problems, "mcp-gateway: %s is written: it has %s\n", s.File, shown(s.About))
		}
	}
	return nil
}
