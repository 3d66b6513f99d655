package main

import (
	"bufio"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mcpgateway/policy/audit"
	"mcpgateway/policy/chain"
	"mcpgateway/policy/verify"
	"mcpgateway/runtime/logbook"
)

func newAuditCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "audit", Short: "Verify the audit log, and compare arguments with it", Example: "  mcp-gateway audit verify"}
	cmd.AddCommand(newAuditVerifyCommand(), newAuditDigestCommand())
	return cmd
}

func newAuditVerifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify [FILE…]",
		Short: "Find what was changed, removed, moved or cut off in the audit log", Example: "  mcp-gateway audit verify\n  mcp-gateway audit verify calls.log --public-key audit.pub",
		Long: `Find what was changed, removed, moved or cut off in the audit log. Without a FILE
these are the logs that the state folder names; with a log's own name its
rotated files are read, too. Each problem is one line: file:line, which record, and
what is wrong with it. The exit status is 0 if there is none, and 1 if there is.`,
	}
	state := stateFlag(cmd)
	public := cmd.Flags().String("public-key", "", "verify signatures by the key in `FILE` (default: audit.pub of the state folder)")
	form := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, files []string) error {
		return auditVerify(cmd.OutOrStdout(), cmd.ErrOrStderr(), *state, *public, files, form)
	}
	return cmd
}

// verified is audit verify -o json.
type verified struct {
	Good     bool           `json:"good"`
	Records  uint64         `json:"records"`
	Files    []string       `json:"files"`
	Problems []auditFinding `json:"problems"`
	More     int            `json:"more_problems"` // that are not listed
	Notes    []auditFinding `json:"notes"`
}

// auditFinding is something about an audit log.
type auditFinding struct {
	File     string `json:"file"`
	Line     int    `json:"line,omitempty"`     // 0: it is about the file, or the log
	Sequence uint64 `json:"sequence,omitempty"` // of the record; 0: none
	Text     string `json:"text"`
}

func auditVerify(out, problems io.Writer, state, public string, files []string, form *output) error {
	if public == "" {
		public = filepath.Join(state, logbook.PublicFile)
	}
	key, err := readPublicKey(public)
	if err != nil {
		return err
	}
	heads, err := logbook.ReadHeads(state)
	if err != nil {
		return err
	}
	in := verify.Input{Key: key, CallsHead: heads.Calls.Head, DaemonHead: heads.Own.Head}
	if len(files) == 0 {
		if heads.Calls.File == "" {
			return fmt.Errorf("%s names no audit log: name its files, or another folder with --state", state)
		}
		files = []string{heads.Calls.File, heads.Own.File}
	}
	if err := sortFiles(files, &in); err != nil {
		return err
	}
	meter := newProgress(problems, "reading the audit log", 2*sizeOf(slices.Concat(in.Calls, in.Daemon)))
	in.Progress = meter.add
	report, err := verify.Check(in)
	meter.end()
	if err != nil {
		return err
	}
	v := verified{Good: report.Good(), Records: report.Records, Files: slices.Concat(in.Calls, in.Daemon), More: report.More}
	for _, p := range report.Problems {
		v.Problems = append(v.Problems, auditFinding(p))
	}
	for _, n := range report.Notes {
		v.Notes = append(v.Notes, auditFinding(n))
	}
	err = form.print(out, v, func(out io.Writer) error {
		printVerified(out, problems, report, len(v.Files))
		return nil
	})
	if err == nil && !v.Good {
		err = errReported
	}
	return err
}

func printVerified(out, problems io.Writer, report *verify.Report, files int) {
	for _, n := range report.Notes {
		fmt.Fprintf(problems, "note: %s\n", n)
	}
	for _, p := range report.Problems {
		fmt.Fprintln(problems, p)
	}
	if !report.Good() {
		fmt.Fprintf(problems, "%d problems in %d records of %d files\n", len(report.Problems)+report.More, report.Records, files)
		return
	}
	fmt.Fprintf(out, "%d records of %d files are as they were written\n", report.Records, files)
}

// sizeOf is about how many bytes files have.
func sizeOf(files []string) (sum int64) {
	for _, file := range files {
		if info, err := os.Stat(file); err == nil {
			sum += info.Size()
		}
	}
	return sum
}

// sortFiles adds the rotated files of each log, and puts all in their order.
func sortFiles(files []string, in *verify.Input) error {
	found := map[string]bool{}
	for _, file := range files {
		found[filepath.Clean(file)] = true
		others, err := os.ReadDir(filepath.Dir(file))
		if err != nil {
			return err
		}
		for _, other := range others {
			if _, ok := logbook.BackupTime(filepath.Base(file), other.Name()); ok {
				found[filepath.Join(filepath.Dir(file), other.Name())] = true
			}
		}
	}
	for file := range found {
		log, err := logOf(file)
		if err != nil {
			return err
		}
		if log == chain.Daemon {
			in.Daemon = append(in.Daemon, file)
		} else {
			in.Calls = append(in.Calls, file)
		}
	}
	slices.SortFunc(in.Calls, compareFiles)
	slices.SortFunc(in.Daemon, compareFiles)
	return nil
}

// compareFiles puts rotated files, whose names hold a time, before the one in use.
func compareFiles(a, b string) int {
	name := func(path string) string {
		ext := filepath.Ext(path)
		return strings.TrimSuffix(path, ext)
	}
	a, b = name(a), name(b)
	switch {
	case strings.HasPrefix(a, b+"-"):
		return -1
	case strings.HasPrefix(b, a+"-"):
		return 1
	}
	return strings.Compare(a, b)
}

// logOf says which log a file is of, by its first line. What is of neither is the
// calls', so that it is told of.
func logOf(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	first, err := bufio.NewReader(io.LimitReader(file, 4<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if strings.Contains(first, fmt.Sprintf(`"log":%q`, chain.Daemon)) || first == "" && strings.Contains(filepath.Base(path), "-daemon") {
		return chain.Daemon, nil
	}
	return chain.Calls, nil
}

func readPublicKey(path string) (ed25519.PublicKey, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read public key: %w", err)
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, fmt.Errorf("read public key %s: it is no PEM file", path)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read public key %s: %w", path, err)
	}
	public, ok := key.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("read public key %s: it is no Ed25519 key", path)
	}
	return public, nil
}

func newAuditDigestCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "digest [FILE]",
		Short: "Print the digest that the audit log has of a call's arguments", Example: "  printf '{\"path\":\"/a\"}' | mcp-gateway audit digest",
		Long: `Print the digest that the audit log has of a call's arguments, which are read from
FILE or standard input: the same bytes that the client sent. It needs the gateway's
key, so that who only reads the log can't try what arguments may have been.`,
		Args: cobra.MaximumNArgs(1),
	}
	state := stateFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in := cmd.InOrStdin()
		if len(args) > 0 {
			file, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer file.Close()
			in = file
		}
		arguments, err := io.ReadAll(in)
		if err != nil {
			return err
		}
		if !exists(filepath.Join(*state, logbook.KeyFile)) {
			return fmt.Errorf("%s holds no key of an audit log", *state)
		}
		key, err := logbook.DigestKey(*state)
		if err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), audit.Digest(key, arguments))
		return nil
	}
	return cmd
}
