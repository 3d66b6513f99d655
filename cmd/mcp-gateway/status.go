package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mcpgateway/proxy/report"
)

// statusNotReady is the exit status of status if the gateway is not ready or does not run,
// as that of systemctl status is.
const statusNotReady = 3

func newStatusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the gateway at a glance: what runs, what is slow, what is broken",
		Long: `Show the running gateway at a glance: whether it is ready, what is in force, how
many servers run, the calls and errors of the last five minutes, and what is left
alone because it fails. Of one that does not run it shows where it listened. The exit status is 0 if it is ready, 3 if it is not or does
not run, and 1 on an error.`,
		Example: "  mcp-gateway status\n  mcp-gateway status -o json | jq .servers",
		Args:    cobra.NoArgs,
	}
	state, form := stateFlag(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var s report.Status
		err := askProxy(cmd.Context(), *state, "/status", "", &s)
		places := rememberedPorts(portsOf(*state), cmd.ErrOrStderr())
		if _, ok := errors.AsType[*notRunningError](err); ok {
			fmt.Fprintln(cmd.ErrOrStderr(), "mcp-gateway:", err)
			sayPlaces(cmd.ErrOrStderr(), places)
			return &exitError{statusNotReady}
		}
		if err != nil {
			return err
		}
		markAssigned(s.Listeners, places)
		if err := form.print(cmd.OutOrStdout(), s, func(out io.Writer) error { return printStatus(out, s, time.Now()) }); err != nil {
			return err
		}
		if !s.Ready {
			return &exitError{statusNotReady}
		}
		return nil
	}
	return cmd
}

// maxPlaces is how many places that are left alone status shows: it fits one screen.
const maxPlaces = 8

func printStatus(out io.Writer, s report.Status, now time.Time) error {
	t := newTable(out)
	row := func(name string, cells ...any) { t.row(append([]any{clean(name)}, cells...)...) }
	ready := good("ready")
	if !s.Ready {
		ready = bad("not ready: " + s.NotReady)
	}
	row("gateway", fmt.Sprintf("%s %s, up %s", s.Gateway, s.Version, age(now.Sub(s.Started))))
	row("state", ready)
	row("configuration", configurationOf(s, now))
	for i, l := range s.Listeners {
		name := ""
		if i == 0 {
			name = "listens"
		}
		row(name, listenerText(l.Transport, l.Address, l.Assigned))
	}
	row("servers", serversIn(s))
	row("sessions", fmt.Sprintf("%d, with %d calls in flight", s.Sessions, s.Load.InFlight))
	row("last 5 minutes", loadOf(s.Load))
	for _, warning := range s.Warnings {
		row("warning", caution(warning))
	}
	if err := t.flush(); err != nil || len(s.Places) == 0 {
		return err
	}
	fmt.Fprintln(out)
	return printPlaces(out, s.Places, now)
}

func configurationOf(s report.Status, now time.Time) cell {
	text := fmt.Sprintf("generation %d, in force for %s", s.Generation, age(now.Sub(s.Applied)))
	if s.LastReload != nil && !s.LastReload.Good {
		return bad(fmt.Sprintf("%s; the reload %s ago was refused: mcp-gateway reload says why", text, age(now.Sub(s.LastReload.Time))))
	}
	return clean(text)
}

// serversIn is "3: 1 running, 2 idle".
func serversIn(s report.Status) cell {
	all := 0
	var parts []string
	wrong := false
	for _, state := range report.States() {
		n := s.Servers[state]
		all += n
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
			wrong = wrong || state == report.CrashLoop || state == report.Failing
		}
	}
	text := fmt.Sprintf("%d, %d instances: %s", all, s.Instances, strings.Join(parts, ", "))
	if wrong {
		return caution(text)
	}
	return clean(text)
}

func loadOf(l report.Load) cell {
	text := fmt.Sprintf("%d calls, %d errors, %d refused", l.Calls, l.Errors, l.Refused)
	if l.P95 > 0 {
		text += fmt.Sprintf("; half within %s, 95%% within %s", milliseconds(l.P50), milliseconds(l.P95))
	}
	if l.Errors > 0 {
		return caution(text)
	}
	return clean(text)
}

// printPlaces writes what is left alone because it fails, and why.
func printPlaces(out io.Writer, places []report.Place, now time.Time) error {
	t := newTable(out, "SERVER", "INSTANCE", "STATE", "FAILURES", "TRIED IN", "CAUSE")
	for i, p := range places {
		if i == maxPlaces {
			t.row(fmt.Sprintf("and %d more: mcp-gateway status -o json", len(places)-i))
			break
		}
		again := "-"
		if !p.Until.IsZero() {
			again = age(max(0, p.Until.Sub(now)))
		}
		t.row(p.Server, cut(p.Place, 40), bad(p.State), p.Failures, again, cut(p.Cause, 120))
	}
	return t.flush()
}

// cut shortens a text to so many characters.
func cut(text string, most int) string {
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	return string(runes[:most-1]) + "…"
}

// age is a duration as people say it, in at most two units.
func age(d time.Duration) string {
	if d < 48*time.Hour {
		unit := time.Second
		if d >= time.Hour {
			unit = time.Minute
		}
		text := d.Round(unit).String()
		if strings.HasSuffix(text, "m0s") {
			text = strings.TrimSuffix(text, "0s")
		}
		if strings.HasSuffix(text, "h0m") {
			text = strings.TrimSuffix(text, "0m")
		}
		return text
	}
	return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

// milliseconds is a coarse latency; "-" for none.
func milliseconds(ms float64) string {
	switch {
	case ms == 0:
		return "-"
	case ms >= 10_000:
		return fmt.Sprintf("%.0fs", ms/1000)
	case ms >= 1000:
		return fmt.Sprintf("%.1fs", ms/1000)
	case ms >= 10:
		return fmt.Sprintf("%.0fms", ms)
	}
	return fmt.Sprintf("%.1fms", ms)
}
