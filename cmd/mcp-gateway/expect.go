package main

import (
	"cmp"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"mcpgateway/runtime/document"
)

// expectations is a file of what a policy must come to.
type expectations struct {
	Config string        `config:"config"` // beside the file, unless absolute
	Policy string        `config:"policy"`
	Tests  []expectation `config:"tests"`
}

type expectation struct {
	Name string `config:"name"`
	As   person `config:"as"`
	question
	Want string `config:"want" want:"allow|deny"`
	Rule string `config:"rule"` // part of what says which rule decided
}

func newPolicyTestCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test FILE",
		Short: "Check a policy against a table of expectations", Example: "  mcp-gateway policy test policy-tests.yaml",
		Long: `Check a policy against a table of expectations, and say which it does not meet.
It reads files only: no gateway need run. The exit status is 0 if all are met, 1 if
not, and 2 if a file can't be used.`,
		Args: cobra.ExactArgs(1),
	}
	var configFile, policyFile string
	policyFlags(cmd, &configFile, &policyFile)
	form := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return testPolicy(cmd.OutOrStdout(), args[0], configFile, policyFile, form)
	}
	return cmd
}

func testPolicy(out io.Writer, path, configFile, policyFile string, form *output) error {
	content, err := document.ReadFile(path)
	if err != nil {
		return unusable{fmt.Errorf("read expectations: %w", err)}
	}
	var file expectations
	report := document.Decode(path, content, nil, &file)
	if len(file.Tests) == 0 && !report.HasFailed("") {
		report.Fail(document.At("tests"), "are missing: a file that expects nothing proves nothing")
	}
	for i, test := range file.Tests {
		if test.Want == "" {
			report.Fail(document.At("tests").Index(i).Key("want"), "is missing: write allow or deny")
		}
	}
	if mistakes := report.Errors(); len(mistakes) > 0 {
		return unusable{mistakes}
	}
	if configFile == "" && policyFile == "" {
		configFile, policyFile = beside(path, file.Config), beside(path, file.Policy)
	}
	book, err := loadRulebook(configFile, policyFile)
	if err != nil {
		return unusable{err}
	}
	result := tested{File: path, Expectations: len(file.Tests)}
	for i, test := range file.Tests {
		problem, err := test.check(book)
		if err != nil {
			report.Fail(document.At("tests").Index(i), "%v", err)
			continue
		}
		if problem != "" {
			name := cmp.Or(test.Name, fmt.Sprintf("test %d", i+1))
			result.Unmet = append(result.Unmet, unmet{report.Line(document.At("tests").Index(i)), name, problem})
		}
	}
	if mistakes := report.Errors(); len(mistakes) > 0 {
		return unusable{mistakes}
	}
	if err := form.print(out, result, result.print); err != nil {
		return err
	}
	if len(result.Unmet) > 0 {
		return errReported
	}
	return nil
}

// tested is policy test -o json.
type tested struct {
	File         string  `json:"file"`
	Expectations int     `json:"expectations"`
	Unmet        []unmet `json:"unmet"`
}

// unmet is an expectation that the policy does not meet.
type unmet struct {
	Position string `json:"position"` // file:line
	Name     string `json:"name"`
	Text     string `json:"text"`
}

func (r tested) print(out io.Writer) error {
	for _, u := range r.Unmet {
		fmt.Fprintf(out, "%s: %s: %s\n", u.Position, u.Name, u.Text)
	}
	_, err := fmt.Fprintf(out, "%s: %d expectations, %d not met\n", r.File, r.Expectations, len(r.Unmet))
	return err
}

func beside(path, name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(path), name)
}

// check says how the policy differs from the expectation, "" if it does not.
func (e expectation) check(book *rulebook) (string, error) {
	id, err := e.As.identity()
	if err != nil {
		return "", err
	}
	r, err := e.request(id, book)
	if err != nil {
		return "", err
	}
	got := book.engine.Decide(r)
	if verdict(got.Allowed) != e.Want || !strings.Contains(got.Rule, e.Rule) {
		want := e.Want
		if e.Rule != "" {
			want += fmt.Sprintf(" by %q", e.Rule)
		}
		return fmt.Sprintf("got %s (%s), want %s", verdict(got.Allowed), got.Rule, want), nil
	}
	return "", nil
}
