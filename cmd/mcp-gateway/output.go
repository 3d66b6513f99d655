package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"mcpgateway/proxy/screen"
)

// output is the form in which a verb prints its data: a table for people, or one JSON
// document for programs. It is the value of the flag -o.
type output struct {
	format string
	known  []string
}

// outputFlag adds -o to a verb, which takes table, json, and the forms in more.
func outputFlag(cmd *cobra.Command, more ...string) *output {
	o := &output{format: "table", known: append([]string{"table", "json"}, more...)}
	cmd.Flags().VarP(o, "output", "o", "print it as `FORMAT`: "+orList(o.known))
	complete := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return o.known, cobra.ShellCompDirectiveNoFileComp
	}
	if err := cmd.RegisterFlagCompletionFunc("output", complete); err != nil {
		panic(err)
	}
	return o
}

func (o *output) String() string { return o.format }

// Type is empty, so that the default is shown without quotes.
func (o *output) Type() string { return "" }

// Set takes a form that the verb knows.
func (o *output) Set(format string) error {
	if !slices.Contains(o.known, format) {
		return fmt.Errorf("output format %s is not known: use %s", quoted(format), orList(o.known))
	}
	o.format = format
	return nil
}

// orList is "a, b or c".
func orList(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// print writes document as JSON if that is asked for, and else has people do its work.
func (o *output) print(out io.Writer, document any, people func(io.Writer) error) error {
	if o.format == "json" {
		return writeJSON(out, document)
	}
	return people(out)
}

// writeJSON writes one document, with its fields in their order, [] for no elements, and
// what would steer a terminal escaped.
func writeJSON(out io.Writer, document any) error {
	var b bytes.Buffer
	err := json.MarshalWrite(&b, document, jsonv1.DefaultOptionsV1(), json.FormatNilSliceAsNull(false), json.FormatNilMapAsNull(false),
		jsontext.EscapeForHTML(false), jsontext.EscapeForJS(false), jsontext.WithIndent("  "))
	if err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err = out.Write(visible(b.Bytes()))
	return err
}

// visible escapes the characters of a JSON document that don't show or would steer a
// terminal: they only stand in strings.
func visible(document []byte) []byte {
	var b bytes.Buffer
	for _, r := range string(document) {
		switch {
		case r == '\n' || r == '\t' || unicode.IsPrint(r) && !screen.Curious(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.Bytes()
}

// cell is a text of a table that is fit for a terminal already, and its colour.
type cell struct {
	text   string
	colour string // of an SGR sequence; "": none
}

// good, caution and bad are states that people should find at a glance. clean is a text
// that shown has seen, or that nobody else wrote.
func good(text string) cell    { return cell{shown(text), "32"} }
func caution(text string) cell { return cell{shown(text), "33"} }
func bad(text string) cell     { return cell{shown(text), "31"} }
func clean(text string) cell   { return cell{text: text} }

// paint writes a cell with its colour.
func (c cell) paint(colours bool) string {
	if !colours || c.colour == "" {
		return c.text
	}
	return "\x1b[" + c.colour + "m" + c.text + "\x1b[0m"
}

// table aligns columns, two spaces apart. Nothing is written before flush.
type table struct {
	out     io.Writer
	colours bool
	rows    [][]cell
}

// newTable begins a table with its headings, if it has any.
func newTable(out io.Writer, headings ...string) *table {
	t := &table{out: out, colours: showsColours(out)}
	if len(headings) > 0 {
		cells := make([]any, len(headings))
		for i, h := range headings {
			cells[i] = clean(h)
		}
		t.row(cells...)
	}
	return t
}

// row adds a line. What is no cell is made fit for a terminal, whoever wrote it.
func (t *table) row(cells ...any) {
	row := make([]cell, len(cells))
	for i, c := range cells {
		ready, ok := c.(cell)
		if !ok {
			ready = clean(shown(fmt.Sprint(c)))
		}
		row[i] = ready
	}
	t.rows = append(t.rows, row)
}

// flush writes the table.
func (t *table) flush() error {
	var widths []int
	for _, row := range t.rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	var b strings.Builder
	for _, row := range t.rows {
		for i, c := range row {
			b.WriteString(c.paint(t.colours))
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+2))
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(t.out, b.String())
	return err
}

// showsColours reports whether out is a terminal that has colours and whose user wants
// them (no-color.org).
func showsColours(out io.Writer) bool {
	return isTerminal(out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

func isTerminal(out any) bool {
	file, ok := out.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}
