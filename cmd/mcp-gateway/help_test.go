package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// runCommand runs the whole command in this process.
func runCommand(args ...string) (out, problems string, status int) {
	var stdout, stderr bytes.Buffer
	root := newCommand()
	root.SetOut(&stdout)
	root.SetErr(&stderr)
	root.SetArgs(args)
	status, line := exitStatus(root.Execute())
	if line != "" {
		stderr.WriteString("mcp-gateway: " + line + "\n")
	}
	return stdout.String(), stderr.String(), status
}

// eachCommand calls do for every command that people can see.
func eachCommand(cmd *cobra.Command, do func(*cobra.Command)) {
	do(cmd)
	for _, below := range cmd.Commands() {
		if !below.Hidden {
			eachCommand(below, do)
		}
	}
}

func TestHelpFitsAScreen(t *testing.T) {
	t.Parallel()
	eachCommand(newCommand(), func(cmd *cobra.Command) {
		args := append(strings.Fields(cmd.CommandPath())[1:], "--help")
		out, _, status := runCommand(args...)
		lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
		if status != 0 || len(lines) > screenLines {
			t.Errorf("%v: status %d, %d lines, want 0 and at most %d", args, status, len(lines), screenLines)
		}
		for _, line := range lines {
			if n := utf8.RuneCountInString(line); n > screenColumns {
				t.Errorf("%v: %d columns: %s", args, n, line)
			}
		}
		if cmd.Example == "" || !strings.Contains(out, cmd.Example) {
			t.Errorf("%v: shows no example", args)
		}
	})
}

// Every visible verb is in the root's help, and every flag in that of its verb.
func TestHelpIsComplete(t *testing.T) {
	t.Parallel()
	root, _, _ := runCommand("--help")
	eachCommand(newCommand(), func(cmd *cobra.Command) {
		if cmd.HasParent() && !cmd.Parent().HasParent() && cmd.Name() != "help" && !strings.Contains(root, "  "+cmd.Name()) {
			t.Errorf("verb %s is not in the root's help", cmd.Name())
		}
		short := help(cmd)
		for name := range strings.FieldsSeq(flagNames(cmd)) {
			if strings.HasPrefix(name, "--") && !strings.Contains(short, name) {
				t.Errorf("%s: flag %s is not in its help", cmd.CommandPath(), name)
			}
		}
	})
}

func TestMisuse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ args, want string }{
		{"chekc x", `mcp-gateway has no verb "chekc": did you mean check? (mcp-gateway --help lists them)`},
		{"key lst", `mcp-gateway key has no verb "lst": did you mean list?`},
		{"key \x1b", `mcp-gateway key has no verb "\u{1b}" (`},
		{"help nobody", `mcp-gateway has no verb "nobody"`},
		{"key list --stat x", "mcp-gateway key list: unknown flag --stat: did you mean --state? (see mcp-gateway key list --help)"},
		{"key list -x", "mcp-gateway key list: unknown shorthand flag: 'x' in -x (see"},
		{"key list -o xml", `output format "xml" is not known: use table or json`},
		{"key create", "mcp-gateway key create: accepts 1 arg(s), received 0: use mcp-gateway key create NAME, or see --help"},
		{"up", `required flag(s) "config" not set`},
		{"tools approve files --yes", "approve: with --yes, name the tools, or say --all"},
	} {
		out, problems, status := runCommand(strings.Fields(tt.args)...)
		if status != statusUsage || out != "" || strings.Count(problems, "\n") != 1 || !strings.Contains(problems, tt.want) {
			t.Errorf("%q: got status %d, %q and %q, want 2 and one line with %q", tt.args, status, out, problems, tt.want)
		}
	}
	if out, problems, status := runCommand("key"); status != 0 || problems != "" || !strings.Contains(out, "revoke") {
		t.Errorf("key: got status %d, %q and %q, want its help", status, out, problems)
	}
}

func TestReflow(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("word ", 20) + "\nend\n\n  as it is   here\n\nnew\nparagraph\n"
	want := strings.TrimSpace(strings.Repeat("word ", 16)) + "\n" + strings.Repeat("word ", 4) + "end\n\n  as it is   here\n\nnew paragraph"
	if got := reflow(text); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The same source makes the same pages, which troff takes without a warning.
func TestManual(t *testing.T) {
	t.Parallel()
	date := time.Unix(1_000_000_000, 0).UTC()
	first, second := filepath.Join(t.TempDir(), "man"), t.TempDir()
	for _, dir := range []string{first, second} {
		if err := writeManual(newCommand(), dir, date); err != nil {
			t.Fatal(err)
		}
	}
	pages, err := filepath.Glob(first + "/*.1")
	if err != nil || len(pages) < 20 {
		t.Fatalf("got %d pages and %v", len(pages), err)
	}
	for _, page := range pages {
		a, errA := os.ReadFile(page)
		b, errB := os.ReadFile(filepath.Join(second, filepath.Base(page)))
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s: made twice, it differs (%v, %v)", filepath.Base(page), errA, errB)
		}
		if !bytes.Contains(a, []byte("Sep 2001")) {
			t.Errorf("%s: it does not bear the date it was given", filepath.Base(page))
		}
	}
	said, err := exec.Command("groff", append([]string{"-man", "-Kutf8", "-Tutf8", "-ww", "-z"}, pages...)...).CombinedOutput()
	if err != nil || len(said) > 0 {
		t.Errorf("groff: %v: %s", err, said)
	}
}

func TestSourceDate(t *testing.T) {
	t.Parallel()
	if got, err := sourceDate("86400"); err != nil || !got.Equal(time.Unix(86400, 0)) {
		t.Errorf("got %v and %v", got, err)
	}
	if _, err := sourceDate("yesterday"); err == nil {
		t.Error("it took what is no number")
	}
}

// The shells themselves find no mistake in what they are given.
func TestCompletionScripts(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish"} {
		out, _, status := runCommand("completion", shell)
		if status != 0 || !strings.Contains(out, "__complete") {
			t.Errorf("%s: status %d and %d bytes", shell, status, len(out))
		}
		cmd := exec.Command(shell, "-n")
		cmd.Stdin = strings.NewReader(out)
		if said, err := cmd.CombinedOutput(); err != nil || len(said) > 0 {
			t.Errorf("%s: %v: %s", shell, err, said)
		}
	}
	if _, problems, status := runCommand("completion", "csh"); status != statusUsage {
		t.Errorf("csh: got status %d and %s", status, problems)
	}
}
