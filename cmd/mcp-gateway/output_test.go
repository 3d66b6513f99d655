package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func TestTable(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	table := newTable(&out, "NAME", "STATE", "N")
	table.row("é\x1b[2J", good("up"), 1)
	table.row("long name", bad("broken"), "")
	if err := table.flush(); err != nil {
		t.Fatal(err)
	}
	want := "NAME        STATE   N\n" +
		"é\\u{1b}[2J  up      1\n" +
		"long name   broken  \n"
	if out.String() != want {
		t.Errorf("got\n%q, want\n%q", out.String(), want)
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	document := struct {
		Names []string          `json:"names"`
		Texts map[string]string `json:"texts"`
		Text  string            `json:"text"`
	}{Text: "<a>\x1b\u009b\u202eé\U000e0041"}
	var out bytes.Buffer
	if err := writeJSON(&out, document); err != nil {
		t.Fatal(err)
	}
	want := "{\n  \"names\": [],\n  \"texts\": {},\n  \"text\": \"<a>\\u001b\\u009b\\u202eé\\udb40\\udc41\"\n}\n"
	if out.String() != want {
		t.Errorf("got %s, want %s", out.String(), want)
	}
}

func TestOutputFlag(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ given, want, problem string }{
		{"", "table", ""},
		{"-o=json", "json", ""},
		{"--output=toml", "toml", ""},
		{"-o=xml", "", `output format "xml" is not known: use table, json or toml`},
	} {
		cmd := &cobra.Command{Use: "x", RunE: func(*cobra.Command, []string) error { return nil }, SilenceErrors: true, SilenceUsage: true}
		form := outputFlag(cmd, "toml")
		cmd.SetArgs(strings.Fields(tt.given))
		err := cmd.Execute()
		switch {
		case tt.problem != "":
			if err == nil || !strings.Contains(err.Error(), tt.problem) {
				t.Errorf("%s: got %v, want %s", tt.given, err, tt.problem)
			}
		case err != nil || form.format != tt.want:
			t.Errorf("%s: got %s and %v, want %s", tt.given, form.format, err, tt.want)
		}
	}
}

// Colours are for terminals, and only if nobody said otherwise.
func TestColours(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminal can be made: %v", err)
	}
	defer terminal.Close()
	file, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, tt := range []struct {
		name, noColour, term string
		out                  *os.File
		want                 string
	}{
		{"terminal", "", "xterm", terminal, "\x1b[31mx\x1b[0m"},
		{"NO_COLOR", "1", "xterm", terminal, "x"},
		{"dumb", "", "dumb", terminal, "x"},
		{"file", "", "xterm", file, "x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("NO_COLOR", tt.noColour)
			t.Setenv("TERM", tt.term)
			if got := bad("x").paint(showsColours(tt.out)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
