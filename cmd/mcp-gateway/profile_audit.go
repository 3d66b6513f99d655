package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"mcpgateway/images"
	"mcpgateway/policy/exposure"
	"mcpgateway/runtime/config"
	"mcpgateway/runtime/control"
	"mcpgateway/runtime/inspect"
	"mcpgateway/runtime/peer"
)

// auditVersion changes when the document of profile audit -o json changes so that
// a reader of the older one would misread it.
const auditVersion = 1

// auditDocument is profile audit -o json; docs/audit.md describes it.
type auditDocument struct {
	Version     int              `json:"version"`
	Time        time.Time        `json:"time"`
	Differences int              `json:"differences"`
	Sandboxes   []auditedSandbox `json:"sandboxes"`
}

// auditedSandbox is one running sandbox in it.
type auditedSandbox struct {
	Sandbox     string            `json:"sandbox"`
	Server      string            `json:"server"`
	Project     string            `json:"project"`
	Profile     string            `json:"profile"`
	PID         int               `json:"pid"`
	UID         int               `json:"uid"`
	Started     time.Time         `json:"started"`
	Differences int               `json:"differences"`
	Findings    []inspect.Finding `json:"findings"`
	Exposure    float64           `json:"exposure"`
	Reasons     []exposure.Reason `json:"reasons"`
}

func newProfileAuditCommand() *cobra.Command {
	var f profileFlags
	cmd := &cobra.Command{
		Use:   "audit SERVER|SANDBOX",
		Short: "Compare what the kernel says of running sandboxes with their profile", Example: "  mcp-gateway profile audit files\n  mcp-gateway profile audit --all -o json",
		Long: `Compare what the kernel says of the running sandboxes of a server, or of one
sandbox, with the profile that the configuration gives them now. The exit status
is 0 if every fact is as it should be, and 1 if one differs or can't be read. It
needs root and changes nothing.`,
		Args: cobra.MaximumNArgs(1),
	}
	f.add(cmd, "json")
	state := stateFlag(cmd)
	all := cmd.Flags().Bool("all", false, "audit every sandbox that runs")
	cmd.ValidArgsFunction = f.completeServers
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if (len(args) == 0) != *all {
			return misused("name either a server, or a sandbox of mcp-gateway ps, or say --all")
		}
		if os.Geteuid() != 0 {
			return errors.New("the kernel shows a process's namespaces and open files to root only: run it as root (sudo mcp-gateway profile audit …)")
		}
		running, err := listSandboxes(cmd.Context(), *state)
		if err != nil {
			return err
		}
		a := auditor{running: running, path: f.config}
		document, err := a.audit(slices.Concat(args, []string{""})[0])
		if err != nil {
			return err
		}
		form := f.output
		err = form.print(cmd.OutOrStdout(), document, func(out io.Writer) error { return writeAudit(out, document) })
		if err == nil && document.Differences > 0 {
			err = errReported
		}
		return err
	}
	return cmd
}

func listSandboxes(ctx context.Context, state string) (list []control.Sandbox, err error) {
	err = withDaemon(ctx, state, func(ctx context.Context, client *peer.Client) error {
		list, err = client.List(ctx)
		return err
	})
	return list, err
}

// auditor audits sandboxes of one gateway.
type auditor struct {
	running []control.Sandbox
	path    string // of the configuration
	config  *config.Config
	env     func(string) (string, bool) // the daemon's variables
}

// audit looks at the sandboxes of a server, the sandbox of that name, or with none
// at all of them.
func (a *auditor) audit(name string) (auditDocument, error) {
	document := auditDocument{Version: auditVersion, Time: time.Now().UTC().Truncate(time.Second), Sandboxes: []auditedSandbox{}}
	if err := a.load(); err != nil {
		return document, err
	}
	for _, s := range a.running {
		if name != "" && s.Server != name && s.ID != name {
			continue
		}
		audited, err := a.one(s)
		if errors.Is(err, inspect.ErrEnded) && s.ID != name {
			continue // as if it had never been on the list
		}
		if err != nil {
			return document, err
		}
		document.Sandboxes = append(document.Sandboxes, audited)
		document.Differences += audited.Differences
	}
	if len(document.Sandboxes) == 0 && name != "" {
		if _, err := lookupServer(a.config, name); err != nil {
			return document, err
		}
		return document, fmt.Errorf("no sandbox of server %q runs: it starts with the first request to it, or with the gateway if its configuration says eager: true", name)
	}
	return document, nil
}

// load reads the configuration with the variables that the daemon has: those of
// whoever calls this command may be others.
func (a *auditor) load() (err error) {
	a.env = os.LookupEnv
	if len(a.running) > 0 {
		if a.env, err = daemonEnvironment(a.running[0].PID); err != nil {
			return err
		}
	}
	a.config, _, err = config.Load(a.path, a.env)
	return err
}

// daemonEnvironment looks variables up as the daemon does, whose child every
// sandbox's first process is.
func daemonEnvironment(sandbox int) (func(string) (string, bool), error) {
	daemon, err := inspect.Parent(sandbox)
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(daemon), "environ"))
	if err != nil {
		return nil, err
	}
	variables := map[string]string{}
	for variable := range strings.SplitSeq(string(content), "\x00") {
		name, value, _ := strings.Cut(variable, "=")
		variables[name] = value
	}
	return func(name string) (string, bool) {
		value, ok := variables[name]
		return value, ok
	}, nil
}

func (a *auditor) one(s control.Sandbox) (auditedSandbox, error) {
	server, err := lookupServer(a.config, s.Server)
	if err != nil {
		return auditedSandbox{}, fmt.Errorf("sandbox %q is of a server that is not in %s: %w", s.ID, a.path, err)
	}
	subject, err := a.subject(server, s)
	if err != nil {
		return auditedSandbox{}, err
	}
	findings, err := inspect.Inspect(subject)
	if err != nil {
		return auditedSandbox{}, err
	}
	result := auditedSandbox{
		Sandbox: s.ID, Server: s.Server, Project: s.Project, Profile: server.Sandbox.Name, PID: s.PID, UID: s.UID, Started: s.Started, Findings: findings,
	}
	var reasons []exposure.Reason
	for _, f := range findings {
		if f.Difference() {
			result.Differences++
			reasons = append(reasons, exposure.Reason{Key: f.Section, Text: fmt.Sprintf("%s: is %s, not %s", f.Fact, f.Got, f.Want), Points: f.Points})
			result.Exposure += f.Points
		}
	}
	score, open := exposure.Score(server.Sandbox.Profile)
	result.Reasons = append(append([]exposure.Reason{}, reasons...), open...)
	result.Exposure = math.Min(10, math.Round((result.Exposure+score)*10)/10)
	return result, nil
}

// subject is what a sandbox is expected to be.
func (a *auditor) subject(server config.Server, s control.Sandbox) (inspect.Subject, error) {
	image, err := images.Host("/etc")
	if err != nil {
		return inspect.Subject{}, err
	}
	p := server.Sandbox.Profile
	subject := inspect.Subject{ID: s.ID, Project: s.Project, PID: s.PID, UID: s.UID, Profile: p, Environment: a.variables(server)}
	for _, b := range image.Binds {
		if b.Target == "/etc" {
			b.Source = "" // made by the gateway
		}
		subject.Mounts = append(subject.Mounts, inspect.Mount{Source: b.Source, Target: b.Target})
	}
	for _, l := range image.Links {
		subject.Links = append(subject.Links, l.Name)
	}
	for _, m := range p.Filesystem.Mounts {
		subject.Mounts = append(subject.Mounts, inspect.Mount{Source: m.Source, Target: m.Target, Writable: m.Access == "rw", NoExec: m.NoExec, Mapped: m.Access == "rw"})
	}
	for _, d := range server.AllowedDirectories {
		m, err := directoryMount(d)
		if err != nil {
			return inspect.Subject{}, err
		}
		subject.Mounts = append(subject.Mounts, m)
	}
	for _, other := range a.running {
		if other.ID != s.ID {
			subject.Others = append(subject.Others, other.PID)
		}
	}
	return subject, nil
}

// directoryMount is how an allowed directory is to show: as its owner's, and never
// writable as the host's root.
func directoryMount(d config.Directory) (inspect.Mount, error) {
	info, err := os.Stat(d.Path)
	if err != nil {
		return inspect.Mount{}, err
	}
	owned := d.Owner != "" || info.Sys().(*syscall.Stat_t).Uid != 0
	return inspect.Mount{
		Source: d.Path, Target: d.Path, NoExec: true, Mapped: owned,
		Writable: owned && d.Access != config.AccessReadOnly,
	}, nil
}

// variables are the names of those that a server starts with: a few that the
// gateway makes, those of its configuration, and what is passed on of the daemon's.
func (a *auditor) variables(server config.Server) []string {
	names := slices.AppendSeq([]string{"PATH", "HOME", "TMPDIR", "USER", "LANG"}, maps.Keys(server.Env))
	for _, name := range server.Sandbox.Environment.Pass {
		if _, ok := a.env(name); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// writeAudit writes an audit for people.
func writeAudit(out io.Writer, document auditDocument) error {
	for i, s := range document.Sandboxes {
		if i > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "sandbox %s: server %s, project %s, profile %s, process %d\n", s.Sandbox, s.Server, s.Project, s.Profile, s.PID)
		if err := writeFindings(out, s.Findings); err != nil {
			return err
		}
		hidden := 0
		for _, f := range s.Findings {
			if f.Result == inspect.NotVisible {
				hidden++
			}
		}
		fmt.Fprintf(out, "\n%d facts: %d ok, %d differ, %d not visible\n", len(s.Findings), len(s.Findings)-s.Differences-hidden, s.Differences, hidden)
		if err := writeExposure(out, s.Exposure, s.Reasons); err != nil {
			return err
		}
	}
	if len(document.Sandboxes) == 0 {
		fmt.Fprintln(out, "no sandbox runs: a server starts with the first request to it")
	}
	return nil
}

// writeFindings writes a line for each fact, with one width for all sections.
func writeFindings(out io.Writer, findings []inspect.Finding) error {
	widest := 0
	for _, f := range findings {
		widest = max(widest, utf8.RuneCountInString(f.Fact))
	}
	section, colours := "", showsColours(out)
	for _, f := range findings {
		if f.Section != section {
			section = f.Section
			fmt.Fprintf(out, "\n%s\n", section)
		}
		got := f.Got
		if f.Difference() {
			got = fmt.Sprintf("%s (want %s; %s)", f.Got, f.Want, f.Where)
		}
		result := good(fmt.Sprintf("%-11s", f.Result))
		switch {
		case f.Difference():
			result.colour = bad("").colour
		case f.Result == inspect.NotVisible:
			result.colour = caution("").colour
		}
		if _, err := fmt.Fprintf(out, "  %s  %-*s  %s\n", result.paint(colours), widest, f.Fact, printable(got)); err != nil {
			return err
		}
	}
	return nil
}

func serverNames(cfg *config.Config) []string { return slices.Sorted(maps.Keys(cfg.Servers)) }

func lookupServer(cfg *config.Config, name string) (config.Server, error) {
	server, ok := cfg.Servers[name]
	if !ok {
		return server, fmt.Errorf("there is no server %q: there are %s", name, strings.Join(serverNames(cfg), ", "))
	}
	return server, nil
}
