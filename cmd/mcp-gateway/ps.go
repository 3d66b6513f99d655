package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"mcpgateway/runtime/control"
)

// breakersWait is short: the proxy knows its breakers without asking anybody.
const breakersWait = 2 * time.Second

func newPsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List the running sandboxes, and what is left alone because it fails", Example: "  mcp-gateway ps -o json",
		Long: `List the running sandboxes, as the daemon knows them. Behind them, the places of
instances whose circuit breaker is open or half-open, as the proxy knows them.`,
		Args: cobra.NoArgs,
	}
	state, form := stateFlag(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		list, err := listSandboxes(cmd.Context(), *state)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), breakersWait)
		defer cancel()
		var known places
		if err := askProxy(ctx, *state, "/instances", "", &known); err != nil {
			// The proxy may be down, and the list is good all the same.
			fmt.Fprintf(cmd.ErrOrStderr(), "mcp-gateway: circuit breakers: %v\n", err)
		}
		document := running{psSandboxes(list), known.breakers()}
		return form.print(cmd.OutOrStdout(), document, func(out io.Writer) error { return document.print(out, time.Now()) })
	}
	return cmd
}

// running is ps -o json.
type running struct {
	Sandboxes []psSandbox `json:"sandboxes"`
	Breakers  []psBreaker `json:"breakers"`
}

// psSandbox is a running sandbox in it.
type psSandbox struct {
	Sandbox string    `json:"sandbox"`
	Project string    `json:"project"`
	Server  string    `json:"server"`
	PID     int       `json:"pid"`
	UID     int       `json:"uid"`
	State   string    `json:"state"` // running, frozen
	Memory  int64     `json:"memory_bytes"`
	Started time.Time `json:"started"`
}

// psBreaker is a place of instances that is left alone because what fills it fails.
type psBreaker struct {
	Server   string    `json:"server"`
	Place    string    `json:"place"`
	Breaker  string    `json:"breaker"` // open, half-open
	Failures int       `json:"failures"`
	Until    time.Time `json:"until"`
	Cause    string    `json:"cause"`
}

func psSandboxes(list []control.Sandbox) []psSandbox {
	sandboxes := make([]psSandbox, len(list))
	for i, s := range list {
		state := "running"
		if s.Frozen {
			state = "frozen"
		}
		sandboxes[i] = psSandbox{s.ID, s.Project, s.Server, s.PID, s.UID, state, s.Usage.Memory, s.Started}
	}
	return sandboxes
}

// places is what the proxy says of where instances are.
type places struct {
	Instances []psBreaker
}

// breakers are those that keep callers away, one for each place.
func (p places) breakers() []psBreaker {
	list := []psBreaker{}
	seen := map[[2]string]bool{} // a place can have several instances
	for _, i := range p.Instances {
		if at := [2]string{i.Server, i.Place}; i.Breaker != "closed" && !seen[at] {
			seen[at] = true
			list = append(list, i)
		}
	}
	return list
}

// print writes the sandboxes, and the breakers behind them, if there are any.
func (r running) print(out io.Writer, now time.Time) error {
	table := newTable(out, "SANDBOX", "PROJECT", "SERVER", "PID", "UID", "STATE", "MEMORY", "UP")
	for _, s := range r.Sandboxes {
		state := good(s.State)
		if s.State == "frozen" {
			state = caution(s.State)
		}
		table.row(s.Sandbox, s.Project, s.Server, s.PID, s.UID, state, fmt.Sprintf("%.1fMiB", float64(s.Memory)/(1<<20)), now.Sub(s.Started).Round(time.Second))
	}
	if err := table.flush(); err != nil || len(r.Breakers) == 0 {
		return err
	}
	fmt.Fprintln(out)
	table = newTable(out, "SERVER", "INSTANCE", "BREAKER", "FAILURES", "TRIED IN", "CAUSE")
	for _, b := range r.Breakers {
		table.row(b.Server, b.Place, bad(b.Breaker), b.Failures, max(0, b.Until.Sub(now)).Round(time.Second), b.Cause)
	}
	return table.flush()
}
