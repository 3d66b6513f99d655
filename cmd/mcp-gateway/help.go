package main

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"mcpgateway/runtime/document"
)

// What the help of a verb must fit: one screen.
const (
	screenLines   = 24
	screenColumns = 80
)

// verbGroup is a line of the help: verbs for one purpose.
type verbGroup struct {
	id, title string
	verbs     []*cobra.Command
}

// addGroups adds verbs to the root in the order of the help.
func addGroups(root *cobra.Command, groups []verbGroup) {
	for _, g := range groups {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, verb := range g.verbs {
			verb.GroupID = g.id
			root.AddCommand(verb)
		}
	}
}

// newHelpCommand is "help VERB", which has no screen to fit.
func newHelpCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "help [VERB…]",
		Short:   "Say what a verb does, with every flag",
		Example: "  mcp-gateway help policy explain",
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		about, rest, err := cmd.Root().Find(args)
		if err != nil || len(rest) > 0 {
			return unknownVerb(cmd.Root(), args)
		}
		_, err = fmt.Fprint(cmd.OutOrStdout(), wholeHelp(about))
		return err
	}
	return cmd
}

// help is what --help says: if it does not fit a screen, flags have no descriptions.
func help(cmd *cobra.Command) string {
	text := wholeHelp(cmd)
	if strings.Count(text, "\n") > screenLines {
		text = helpWith(cmd, flagNames(cmd)+fmt.Sprintf("  (mcp-gateway help%s says what each is for)\n", strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name())))
	}
	return text
}

func wholeHelp(cmd *cobra.Command) string {
	return helpWith(cmd, helpFlags(cmd).FlagUsagesWrapped(screenColumns-1))
}

// helpWith puts the parts of a help together.
func helpWith(cmd *cobra.Command, flags string) string {
	var b strings.Builder
	about := cmd.Long
	if about == "" {
		about = cmd.Short + "."
	}
	fmt.Fprintf(&b, "%s\n\nUsage: %s\n", reflow(about), strings.TrimSuffix(cmd.UseLine(), " [flags]"))
	if verbs := helpVerbs(cmd); verbs != "" {
		fmt.Fprintf(&b, "\n%s", verbs)
	}
	if flags != "" {
		fmt.Fprintf(&b, "\n%s", flags)
	}
	if cmd.Example != "" {
		fmt.Fprintf(&b, "\nExample:\n%s\n", cmd.Example)
	}
	return b.String()
}

// reflow makes the lines of a text as long as a screen is wide, but those that begin with
// a space, or come before an empty one.
func reflow(text string) string {
	var b strings.Builder
	width := 0
	for line := range strings.Lines(strings.TrimSpace(text)) {
		if strings.HasPrefix(line, " ") || strings.TrimSpace(line) == "" {
			b.WriteString(strings.Repeat("\n", min(width, 1)) + strings.TrimRight(line, "\n") + "\n")
			width = 0
			continue
		}
		for word := range strings.FieldsSeq(line) {
			length := utf8.RuneCountInString(word)
			switch {
			case width == 0:
			case width+1+length > screenColumns:
				b.WriteByte('\n')
				width = 0
			default:
				b.WriteByte(' ')
				width++
			}
			b.WriteString(word)
			width += length
		}
	}
	return b.String()
}

// helpVerbs lists the verbs below cmd: those of the root by purpose, others one by one.
func helpVerbs(cmd *cobra.Command) string {
	var b strings.Builder
	for _, g := range cmd.Groups() {
		var names []string
		for _, verb := range cmd.Commands() {
			if verb.GroupID == g.ID && verb.IsAvailableCommand() {
				names = append(names, verb.Name())
			}
		}
		fmt.Fprintf(&b, "  %-15s %s\n", g.Title, strings.Join(names, "  "))
	}
	if b.Len() > 0 {
		return b.String()
	}
	widest := 0
	for _, verb := range cmd.Commands() {
		widest = max(widest, len(verb.Name()))
	}
	for _, verb := range cmd.Commands() {
		if verb.IsAvailableCommand() {
			fmt.Fprintf(&b, "  %-*s  %s\n", widest, verb.Name(), verb.Short)
		}
	}
	return b.String()
}

// helpFlags are the flags of a verb but --help, which who reads this has found.
func helpFlags(cmd *cobra.Command) *pflag.FlagSet {
	flags := pflag.NewFlagSet(cmd.Name(), pflag.ContinueOnError)
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" {
			flags.AddFlag(f)
		}
	})
	return flags
}

// flagNames lists flags without what they are for, as many on a line as fit.
func flagNames(cmd *cobra.Command) string {
	var b strings.Builder
	width := 0
	helpFlags(cmd).VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, _ := pflag.UnquoteUsage(f)
		name := strings.TrimSpace("--" + f.Name + " " + value)
		if width > 0 && width+2+len(name) > screenColumns {
			b.WriteByte('\n')
			width = 0
		}
		b.WriteString("  " + name)
		width += 2 + len(name)
	})
	return b.String() + "\n"
}

// strict makes a verb, and all below it, refuse what it does not understand with exit
// status 2 and one line that says what to do.
func strict(cmd *cobra.Command) {
	check := cmd.Args
	if cmd.HasSubCommands() {
		cmd.SuggestionsMinimumDistance = 2
		check = unknownVerb
		if cmd.RunE == nil { // else it does something without a verb, too
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		var err error
		if check != nil {
			err = check(cmd, args)
		}
		if err == nil {
			err = cmd.ValidateRequiredFlags()
		}
		if err == nil {
			err = cmd.ValidateFlagGroups()
		}
		if err == nil || isUnusable(err) {
			return err
		}
		return misused("%s: %w: use %s, or see --help", cmd.CommandPath(), err, strings.TrimSuffix(cmd.UseLine(), " [flags]"))
	}
	for _, verb := range cmd.Commands() {
		strict(verb)
	}
}

// unknownVerb refuses any argument of a command that only has verbs.
func unknownVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	meant := ""
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		meant = fmt.Sprintf(": did you mean %s?", orList(near))
	}
	return misused("%s has no verb %s%s (%s --help lists them)", cmd.CommandPath(), quoted(args[0]), meant, cmd.CommandPath())
}

// flagMistake says which flag was meant.
func flagMistake(cmd *cobra.Command, err error) error {
	text := err.Error()
	if given, ok := strings.CutPrefix(text, "unknown flag: --"); ok {
		var known []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
		text = "unknown flag " + shown("--"+given)
		if meant := document.Nearest(given, known); meant != "" {
			text += fmt.Sprintf(": did you mean --%s?", meant)
		}
	}
	return misused("%s: %s (see %s --help)", cmd.CommandPath(), text, cmd.CommandPath())
}
