package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mcpgateway/proxy/report"
)

func newServersCommand() *cobra.Command {
	list := newServersListCommand("servers")
	list.Long = `Show what every server does, as "servers list" does, or do something about one of
them. "ps" has the sandboxes, "top" both, as they change.`
	list.Example = "  mcp-gateway servers\n  mcp-gateway servers restart files"
	list.Use = "servers [VERB]"
	list.AddCommand(newServersListCommand("list"), newServersShowCommand(), newServersInspectCommand(),
		newServersActCommand("start", "Let a server be used, and start an instance to see that it works",
			`Lift what keeps a server from being used: that an operator stopped it, a crash loop,
or an open circuit breaker. If it has no instance, start one and wait until it has
answered; if it does not, say why. The first caller gets that instance.`),
		newServersActCommand("stop", "Refuse the calls of a server until it is started",
			`Refuse the calls of a server, with an error that says so, until "servers start".
Its instances end when the calls that they have in flight have. A restart of the
gateway forgets it: "enabled: false" in the configuration is for good.`),
		newServersActCommand("restart", "Replace the instances of a server, and lose no call",
			`Have new instances take the place of all that a server has, which end when the calls
that they have in flight have. Replicas of a shared server are replaced one after the
other; the first that does not start is the last. One that is stopped is started.`),
		newServersLogsCommand())
	return list
}

func newServersListCommand(use string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: "Show what every server does: state, calls, errors, latency",
		Long: `Show what every server does. Calls, errors and latencies are those of the last five
minutes; RESTARTS counts instances that had to be started again since the gateway
began. States: running, idle (the next call starts it), stopped (by an operator),
failing (a circuit breaker is open), crash-loop (not started any more), draining.`,
		Example: "  mcp-gateway servers list\n  mcp-gateway servers list -o json | jq '.servers[].load.p95_ms'",
		Args:    cobra.NoArgs,
	}
	state, form := stateFlag(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var answer report.Servers
		if err := askProxy(cmd.Context(), *state, "/servers", "", &answer); err != nil {
			return err
		}
		return form.print(cmd.OutOrStdout(), answer, func(out io.Writer) error { return printServers(out, answer.Servers, time.Now()) })
	}
	return cmd
}

func printServers(out io.Writer, servers []report.Server, now time.Time) error {
	t := newTable(out, "SERVER", "PROJECT", "STATE", "SINCE", "INSTANCES", "RESTARTS", "CALLS", "ERRORS", "P50", "P95", "LAST ERROR")
	for _, s := range servers {
		failure := "-"
		if s.LastError != nil {
			failure = fmt.Sprintf("%s ago: %s", age(now.Sub(s.LastError.Time)), cut(s.LastError.Reason, 60))
		}
		t.row(s.Name, s.Project, serverStateCell(s.State), sinceOf(s, now), s.Instances, s.Restarts, s.Load.Calls, errorsCell(s.Load.Errors),
			milliseconds(s.Load.P50), milliseconds(s.Load.P95), failure)
	}
	return t.flush()
}

func sinceOf(s report.Server, now time.Time) string {
	if s.Since.IsZero() {
		return "-"
	}
	return age(now.Sub(s.Since))
}

func serverStateCell(s report.State) cell {
	switch s {
	case report.Running:
		return good(string(s))
	case report.Failing, report.CrashLoop:
		return bad(string(s))
	case report.Stopped, report.Draining:
		return caution(string(s))
	case report.Idle:
	}
	return clean(shown(string(s)))
}

func errorsCell(n int64) cell {
	if n > 0 {
		return bad(fmt.Sprint(n))
	}
	return clean("0")
}

func newServersShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show SERVER",
		Short:   "Show what one server does",
		Example: "  mcp-gateway servers show files",
		Args:    cobra.ExactArgs(1),
	}
	state, form := stateFlag(cmd), outputFlag(cmd)
	cmd.ValidArgsFunction = completing(1, knownServers)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		d, err := serverDetail(cmd.Context(), *state, args[0])
		if err != nil {
			return err
		}
		return form.print(cmd.OutOrStdout(), d, func(out io.Writer) error { return printServer(out, d, time.Now()) })
	}
	return cmd
}

func serverDetail(ctx context.Context, state, server string) (d report.Detail, err error) {
	err = askProxy(ctx, state, serverPath(server), "", &d)
	return d, err
}

func printServer(out io.Writer, d report.Detail, now time.Time) error {
	t := newTable(out)
	row := func(name string, value any) { t.row(clean(name), value) }
	row("server", d.Name)
	row("project", d.Project)
	row("state", serverStateCell(d.State))
	if d.Reason != "" {
		row("reason", d.Reason)
	}
	row("since", sinceOf(d.Server, now))
	row("restarts", d.Restarts)
	row("last 5 minutes", loadOf(d.Load))
	row("calls in flight", d.Load.InFlight)
	if d.LastError != nil {
		row("last error", bad(fmt.Sprintf("%s ago, %s: %s", age(now.Sub(d.LastError.Time)), d.LastError.Status, d.LastError.Reason)))
	}
	shared := string(d.Settings.Instances)
	if shared == "" {
		shared = "per session, or per identity"
	}
	row("instances", shared)
	row("time limit", d.Settings.Timeout.String())
	if err := t.flush(); err != nil {
		return err
	}
	if len(d.Sandboxes) > 0 {
		fmt.Fprintln(out)
		t = newTable(out, "SANDBOX", "STATE", "CALLS IN FLIGHT", "UP")
		for _, s := range d.Sandboxes {
			state := good("running")
			if s.Draining {
				state = caution("draining")
			}
			t.row(s.Sandbox, state, s.InFlight, age(now.Sub(s.Started)))
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	if len(d.Places) == 0 {
		return nil
	}
	fmt.Fprintln(out)
	return printPlaces(out, d.Places, now)
}

// actWait is how long a server may take to be started or replaced.
const actWait = 10 * time.Minute

func newServersActCommand(verb, short, long string) *cobra.Command {
	cmd := &cobra.Command{Use: verb + " SERVER…", Short: short, Long: long, Example: "  mcp-gateway servers " + verb + " files", Args: cobra.MinimumNArgs(1)}
	state, form := stateFlag(cmd), outputFlag(cmd)
	cmd.ValidArgsFunction = completing(1<<20, knownServers)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		outcomes := []outcome{}
		failed := false
		for _, server := range args {
			done, err := actOn(cmd.Context(), *state, server, verb)
			if err != nil {
				fmt.Fprintf(cmd.ErrOrStderr(), "mcp-gateway: %s %s: %v\n", verb, shown(server), err)
				failed = true
				continue
			}
			outcomes = append(outcomes, outcome{server, done})
		}
		if err := form.print(cmd.OutOrStdout(), outcomes, func(out io.Writer) error { return printOutcomes(out, outcomes) }); err != nil {
			return err
		}
		if failed {
			return errReported
		}
		return nil
	}
	return cmd
}

// outcome is what became of a server in servers start, stop and restart -o json.
type outcome struct {
	Server string `json:"server"`
	report.Done
}

func actOn(ctx context.Context, state, server, verb string) (done report.Done, err error) {
	q := inquiry{method: http.MethodPost, path: serverPath(server, verb), query: map[string][]string{"timeout": {actWait.String()}}, wait: actWait + operatorWait}
	err = q.read(ctx, state, &done)
	return done, err
}

func printOutcomes(out io.Writer, outcomes []outcome) error {
	for _, o := range outcomes {
		text := fmt.Sprintf("%s: %s", o.Server, o.State)
		if len(o.Sandboxes) > 0 {
			text += ": " + strings.Join(o.Sandboxes, ", ")
		}
		if o.Ending > 0 {
			text += fmt.Sprintf("; %d instances end when their calls have", o.Ending)
		}
		if _, err := fmt.Fprintln(out, shown(text)); err != nil {
			return err
		}
	}
	return nil
}

func newServersLogsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "logs SERVER",
		Short: "Show what a server wrote to its standard error",
		Long: `Show the last lines that the instances of a server wrote to their standard error,
without the server's secrets. The gateway keeps the last 1,000 lines of each server,
or 256 KiB, in memory. With -o json, each line is a JSON document.`,
		Example: "  mcp-gateway servers logs files -n 20\n  mcp-gateway servers logs -f files",
		Args:    cobra.ExactArgs(1),
	}
	state, form := stateFlag(cmd), outputFlag(cmd)
	follow := cmd.Flags().BoolP("follow", "f", false, "go on with what comes, until Ctrl-C")
	lines := cmd.Flags().IntP("lines", "n", 100, "begin with the last `N` lines")
	cmd.ValidArgsFunction = completing(1, knownServers)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *lines < 0 {
			return misused("--lines %d is no number of lines: use 0 or more", *lines)
		}
		show := func(line report.Line) error { return printLine(cmd.OutOrStdout(), form, line) }
		err := readLogs(cmd.Context(), *state, args[0], *lines, *follow, show)
		if *follow && err == nil {
			return errors.New("the gateway, or the server's place in its configuration, has ended")
		}
		return err
	}
	return cmd
}

func printLine(out io.Writer, form *output, line report.Line) error {
	if form.format == "json" {
		return writeLine(out, line)
	}
	if line.Missed > 0 {
		fmt.Fprintf(out, "(%d lines were missed)\n", line.Missed)
	}
	_, err := fmt.Fprintf(out, "%s %s %s\n", line.Time.Local().Format("2006-01-02T15:04:05.000"), shown(line.Sandbox), shown(line.Text))
	return err
}
