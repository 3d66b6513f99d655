package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"mcpgateway/runtime/control"
	"mcpgateway/runtime/peer"
)

// breakersWait is short: the proxy knows its breakers without asking anybody.
const breakersWait = 2 * time.Second

func newPsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List the running sandboxes, and what is left alone because it fails",
		Long: `List the running sandboxes, as the daemon knows them. Behind them, the places of
instances whose circuit breaker is open or half-open, as the proxy knows them.`,
		Args: cobra.NoArgs,
	}
	state := stateFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		err := withDaemon(cmd.Context(), *state, func(ctx context.Context, client *peer.Client) error {
			list, err := client.List(ctx)
			if err != nil {
				return err
			}
			return printSandboxes(cmd.OutOrStdout(), list)
		})
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), breakersWait)
		defer cancel()
		var answer places
		if err := askProxy(ctx, *state, "/instances", "", &answer); err != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "mcp-gateway: circuit breakers: %v\n", err)
			return nil // the proxy may be down, and the list is good all the same
		}
		return printBreakers(cmd.OutOrStdout(), answer, time.Now())
	}
	return cmd
}

func printSandboxes(out io.Writer, list []control.Sandbox) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SANDBOX\tPROJECT\tSERVER\tPID\tUID\tSTATE\tMEMORY\tUP")
	for _, s := range list {
		state := "running"
		if s.Frozen {
			state = "frozen"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\t%s\t%.1fMiB\t%s\n",
			s.ID, s.Project, s.Server, s.PID, s.UID, state, float64(s.Usage.Memory)/(1<<20), time.Since(s.Started).Round(time.Second))
	}
	return table.Flush()
}

// places is what the proxy says of where instances are.
type places struct {
	Instances []struct {
		Server, Place, Breaker, Cause string
		Failures                      int
		Until                         time.Time
	}
}

// printBreakers writes a table of the breakers that keep callers away, if there are any.
func printBreakers(out io.Writer, known places, now time.Time) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	heading := "\nSERVER\tINSTANCE\tBREAKER\tFAILURES\tTRIED IN\tCAUSE\n"
	seen := map[[2]string]bool{} // a place can have several instances
	for _, i := range known.Instances {
		if at := [2]string{i.Server, i.Place}; i.Breaker != "closed" && !seen[at] {
			seen[at] = true
			fmt.Fprintf(table, "%s%s\t%s\t%s\t%d\t%s\t%s\n", heading, shown(i.Server), shown(i.Place), shown(i.Breaker), i.Failures,
				max(0, i.Until.Sub(now)).Round(time.Second), shown(i.Cause))
			heading = ""
		}
	}
	return table.Flush()
}
