package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"mcpgateway/proxy/pins"
)

const toolStatuses = `
The exit status is 0 if %s, 1 on an error, and 2 if %s.`

func newToolsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "tools", Short: "See and approve what servers say of their tools", Example: "  mcp-gateway tools approve files"}
	cmd.AddCommand(newToolsListCommand(), newToolsCallCommand(), newToolsApproveCommand())
	return cmd
}

// listedTool is a tool in tools list -o json.
type listedTool struct {
	Server   string     `json:"server"`
	Tool     string     `json:"tool"`
	State    string     `json:"state"` // approved, approved before, changed, changed before, new, gone
	Approved *time.Time `json:"approved,omitempty"`
	By       string     `json:"by,omitempty"`
}

func newToolsListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [SERVER]",
		Short: "List the tools of servers, and which of them are approved", Example: "  mcp-gateway tools list files",
		Long: `Have the running gateway ask a server, or all of them, for their tools, and compare
those with the lock file: approved, changed, new, or gone.` +
			fmt.Sprintf(toolStatuses, "every tool is approved", "one is new, changed or gone"),
		Args: cobra.MaximumNArgs(1),
	}
	cmd.ValidArgsFunction = completing(1, knownServers)
	state, flags, form := stateFlag(cmd), newLockFlags(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := flags.path()
		if err != nil {
			return err
		}
		servers := args
		if len(args) == 0 {
			if servers, err = serversOf(cmd.Context(), *state); err != nil {
				return err
			}
		}
		lock, err := readLock(path)
		if err != nil {
			return err
		}
		l := toolListing{tools: []listedTool{}}
		for _, server := range servers {
			if err := l.add(cmd.Context(), *state, lock, server); err != nil {
				fmt.Fprintf(cmd.ErrOrStderr(), "mcp-gateway: %s: %v\n", shown(server), err)
				l.failed = true
			}
		}
		if err := form.print(cmd.OutOrStdout(), l.tools, l.print); err != nil {
			return err
		}
		return l.verdict()
	}
	return cmd
}

// serversOf asks for the names of all enabled servers.
func serversOf(ctx context.Context, state string) (names []string, err error) {
	var answer struct {
		Servers []struct{ Name string }
	}
	err = askProxy(ctx, state, "/servers", "", &answer)
	for _, s := range answer.Servers {
		names = append(names, s.Name)
	}
	return names, err
}

// toolListing is what was found of all servers that were asked.
type toolListing struct {
	tools              []listedTool
	failed, unapproved bool
}

func (l *toolListing) add(ctx context.Context, state string, lock pins.Lock, server string) error {
	review, err := reviewServer(ctx, state, lock, server)
	if err != nil {
		return err
	}
	for _, t := range review.tools {
		l.unapproved = l.unapproved || t.state != pins.OK
		listed := listedTool{Server: server, Tool: t.name, State: t.describeState()}
		if t.entry != nil {
			at := t.entry.Approved.UTC()
			listed.Approved, listed.By = &at, t.entry.By
		}
		l.tools = append(l.tools, listed)
	}
	return nil
}

func (l *toolListing) print(out io.Writer) error {
	table := newTable(out, "SERVER", "TOOL", "STATE", "APPROVED", "BY")
	for _, t := range l.tools {
		approved, by, state := "-", "-", bad(t.State)
		if t.Approved != nil {
			approved, by = t.Approved.Format("2006-01-02T15:04:05Z"), t.By
		}
		if t.State == string(pins.OK) {
			state = good(t.State)
		}
		table.row(t.Server, t.Tool, state, approved, by)
	}
	return table.flush()
}

func (l *toolListing) verdict() error {
	switch {
	case l.failed:
		return errReported
	case l.unapproved:
		return errFinding
	}
	return nil
}

// review is what is found of one server.
type review struct{ tools []reviewed }

// reviewed is one tool: what it is now, and what is approved.
type reviewed struct {
	name    string
	state   pins.Kind
	present []byte      // in canonical form; nil if it is gone
	entry   *pins.Entry // nil if it is new
	sticky  bool        // it is as approved now, and was something else before
}

func (t reviewed) describeState() string {
	if t.sticky {
		return string(t.state) + " before"
	}
	return string(t.state)
}

// reviewServer has the proxy ask a server, and compares its answer with the lock. Only
// what was seen before is taken from the proxy's own verdict, for it is the only one who
// knows.
func reviewServer(ctx context.Context, state string, lock pins.Lock, server string) (review, error) {
	var listing pins.Listing
	if err := askProxy(ctx, state, "/tools", server, &listing); err != nil {
		return review{}, err
	}
	var found review
	seen := map[string]bool{}
	for _, listed := range listing.Tools {
		if listed.State == pins.Gone {
			continue
		}
		if seen[listed.Name] {
			return review{}, fmt.Errorf("tool %s is listed more than once", quoted(listed.Name))
		}
		seen[listed.Name] = true
		t, err := reviewTool(lock[server], listed)
		if err != nil {
			return review{}, fmt.Errorf("tool %s: %s", quoted(listed.Name), shown(err.Error()))
		}
		found.tools = append(found.tools, t)
	}
	for _, name := range sortedKeys(lock[server]) {
		if entry := lock[server][name]; !seen[name] {
			found.tools = append(found.tools, reviewed{name: name, state: pins.Gone, entry: &entry})
		}
	}
	return found, nil
}

func reviewTool(approved map[string]pins.Entry, listed pins.Listed) (reviewed, error) {
	canonical, err := pins.Canonical(listed.Definition)
	if err != nil {
		return reviewed{}, err
	}
	if name, ok := pins.NameOf(canonical); !ok || name != listed.Name {
		return reviewed{}, errors.New("its definition is that of another tool")
	}
	t := reviewed{name: listed.Name, present: canonical, state: pins.New}
	entry, known := approved[listed.Name]
	switch {
	case !known:
		return t, nil
	case entry.SHA256 != pins.DigestOf(canonical):
		t.state = pins.Changed
	case listed.State == pins.Changed:
		t.state, t.sticky = pins.Changed, true
	default:
		t.state = pins.OK
	}
	t.entry = &entry
	return t, nil
}
