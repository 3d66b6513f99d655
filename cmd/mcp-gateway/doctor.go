package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"mcpgateway/runtime/config"
	"mcpgateway/runtime/doctor"
)

// uidsPerSandbox is how many ids of the pool each sandbox gets.
const uidsPerSandbox = 65536

func newDoctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what this host can enforce, what is missing, and how to get it",
		Long: `Say what this host can enforce, what is missing, and how to get it: kernel, control
groups, namespaces, users, and how the gateway is installed. No gateway need run,
and nothing is changed. Root sees more. The exit status is 0 if servers can run
here, 1 on an error, and 2 if something is missing that they need.`,
		Example: "  sudo mcp-gateway doctor\n  mcp-gateway doctor -o json",
		Args:    cobra.NoArgs,
	}
	state, form := stateFlag(cmd), outputFlag(cmd)
	file := cmd.Flags().String("config", defaultConfig, "the gateway's configuration `FILE`")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		d := examined{Findings: examine(cmd.Context(), *file, *state)}
		d.Good = !slices.ContainsFunc(d.Findings, func(f doctor.Finding) bool { return f.State == doctor.Missing })
		if err := form.print(cmd.OutOrStdout(), d, d.print); err != nil {
			return err
		}
		if !d.Good {
			return errFinding
		}
		return nil
	}
	return cmd
}

// examined is doctor -o json.
type examined struct {
	Good     bool             `json:"good"` // servers can run here
	Findings []doctor.Finding `json:"findings"`
}

// examine looks at the host, and then at the gateway on it.
func examine(ctx context.Context, file, state string) []doctor.Finding {
	installed := installation{config: file, state: state}
	about := installed.examine(ctx)
	pool := config.UIDPool{Start: 0x70000000, Count: 1024}
	if installed.read != nil {
		pool = installed.read.Sandbox.UIDPool
	}
	host := doctor.Host{Root: "/", Kernel: doctor.This{}, UIDPool: doctor.Range{First: pool.Start, Count: pool.Count * uidsPerSandbox}, Proxy: "mcp-gateway"}
	return slices.Concat(doctor.Examine(host), about)
}

// print writes the findings topic by topic, each with what to do below it.
func (d examined) print(out io.Writer) error {
	widest := 0
	for _, f := range d.Findings {
		widest = max(widest, utf8.RuneCountInString(f.Check))
	}
	colours, topic, count := showsColours(out), "", map[doctor.State]int{}
	for _, f := range d.Findings {
		if f.Topic != topic {
			topic = f.Topic
			fmt.Fprintf(out, "%s\n", topic)
		}
		count[f.State]++
		fmt.Fprintf(out, "  %s  %-*s  %s\n", stateCell(f.State).paint(colours), widest, f.Check, shown(f.What))
		if f.Fix != "" && f.State != doctor.OK {
			fmt.Fprintf(out, "  %-7s  %-*s  → %s\n", "", widest, "", shown(f.Fix))
		}
	}
	_, err := fmt.Fprintf(out, "\n%d ok, %d notes, %d warnings, %d missing\n", count[doctor.OK], count[doctor.Note], count[doctor.Warning], count[doctor.Missing])
	return err
}

func stateCell(state doctor.State) cell {
	text := fmt.Sprintf("%-7s", state)
	switch state {
	case doctor.OK:
		return good(text)
	case doctor.Missing:
		return bad(text)
	case doctor.Warning:
		return caution(text)
	}
	return clean(text)
}
