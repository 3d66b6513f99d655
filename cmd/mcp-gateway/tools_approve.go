package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mcpgateway/proxy/pins"
	"mcpgateway/runtime/peer"
)

func newToolsApproveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "approve SERVER [TOOL…]",
		Short: "Show how tools differ from those approved, and approve them", Example: "  mcp-gateway tools approve files read_file",
		Long: `Have the running gateway ask a server for its tools, show what is new or changed,
line by line, ask, write that to the lock file and have the gateway reload. Without
the name of a tool all that differ are shown, and approved if you say so; a tool
that is gone is taken out of the file. Characters that don't show are written
as \u{200b}. What is written is what was shown, whatever the server says meanwhile.` +
			fmt.Sprintf(toolStatuses, "what was asked for is approved", "the answer was no"),
		Args: cobra.MinimumNArgs(1),
	}
	cmd.ValidArgsFunction = completing(1, knownServers)
	state, flags := stateFlag(cmd), newLockFlags(cmd)
	all := cmd.Flags().Bool("all", false, "approve all tools that differ; needed for --yes without the name of a tool")
	yes := cmd.Flags().Bool("yes", false, "don't ask")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		server, tools := args[0], args[1:]
		switch {
		case *all && len(tools) > 0:
			return misused("approve: name tools, or say --all, but not both")
		case *yes && !*all && len(tools) == 0:
			return misused("approve: with --yes, name the tools, or say --all")
		}
		path, err := flags.path()
		if err != nil {
			return err
		}
		a := approval{state: *state, lock: path, server: server, yes: *yes, in: cmd.InOrStdin(), out: cmd.OutOrStdout()}
		return a.run(cmd.Context(), tools)
	}
	return cmd
}

// approval is one run of the command.
type approval struct {
	state, lock, server string
	yes                 bool
	in                  io.Reader
	out                 io.Writer
}

func (a *approval) run(ctx context.Context, names []string) error {
	lock, err := readLock(a.lock)
	if err != nil {
		return err
	}
	found, err := reviewServer(ctx, a.state, lock, a.server)
	if err != nil {
		return err
	}
	chosen, err := choose(found, names)
	if err != nil {
		return err
	}
	if len(chosen) == 0 {
		fmt.Fprintf(a.out, "%s: nothing to approve\n", a.server)
		return nil
	}
	for _, t := range chosen {
		if err := a.show(t); err != nil {
			return err
		}
	}
	if !a.yes && !a.ask(len(chosen)) {
		fmt.Fprintln(a.out, "nothing was changed")
		return errFinding
	}
	if err := updateLock(a.lock, a.changes(chosen)); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s: %d approved in %s\n", a.server, len(chosen), a.lock)
	err = withDaemon(ctx, a.state, func(ctx context.Context, client *peer.Client) error { return client.Reload(ctx) })
	if err != nil {
		return fmt.Errorf("the lock file was written, but the gateway did not take it: %w", err)
	}
	return nil
}

// choose picks the tools to approve: those named, or all that differ.
func choose(found review, names []string) ([]reviewed, error) {
	var chosen []reviewed
	for _, t := range found.tools {
		if t.state != pins.OK && (len(names) == 0 || slices.Contains(names, t.name)) {
			chosen = append(chosen, t)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(found.tools, func(t reviewed) bool { return t.name == name }) {
			return nil, fmt.Errorf("the server has no tool %s, and none is approved", quoted(name))
		}
	}
	return chosen, nil
}

// show prints how a tool differs from what is approved.
func (a *approval) show(t reviewed) error {
	var before, after []string
	var err error
	if t.entry != nil {
		canonical, failed := pins.Canonical(t.entry.Definition)
		if failed == nil {
			before, failed = describe(canonical)
		}
		err = failed
	}
	if err == nil && t.present != nil {
		after, err = describe(t.present)
	}
	if err != nil {
		return fmt.Errorf("show tool %s: %s", quoted(t.name), shown(err.Error()))
	}
	fmt.Fprintf(a.out, "\n%s: tool %s is %s\n", a.server, quoted(t.name), t.describeState())
	if t.sticky {
		fmt.Fprintln(a.out, "    It is listed as it was approved now, but was listed in another form before.")
	}
	for _, line := range difference(before, after) {
		fmt.Fprintln(a.out, "  "+line)
	}
	return nil
}

func (a *approval) ask(n int) bool {
	fmt.Fprintf(a.out, "\nApprove these %d? [y/N] ", n)
	line, _ := bufio.NewReader(a.in).ReadString('\n') // an end without an answer is no
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes"
}

// changes says what becomes of the lock.
func (a *approval) changes(chosen []reviewed) func(pins.Lock) {
	now, by := time.Now().UTC(), approver()
	return func(lock pins.Lock) {
		if lock[a.server] == nil {
			lock[a.server] = map[string]pins.Entry{}
		}
		for _, t := range chosen {
			if t.present == nil {
				delete(lock[a.server], t.name)
				continue
			}
			lock[a.server][t.name] = pins.Entry{SHA256: pins.DigestOf(t.present), Approved: now, By: by, Definition: t.present}
		}
		if len(lock[a.server]) == 0 {
			delete(lock, a.server)
		}
	}
}

// approver is who runs the command, and on whose behalf if sudo says so: for people,
// not for proof.
func approver() string {
	name := fmt.Sprint(os.Getuid())
	if u, err := user.Current(); err == nil {
		name = cmp.Or(u.Username, name)
	}
	if on := os.Getenv("SUDO_USER"); on != "" && on != name {
		return fmt.Sprintf("%s (%.64s)", name, on)
	}
	return name
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
