package main

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// A release is what stands above an entry of a changelog.
type release struct {
	version, maintainer string
	date                time.Time
}

type entry struct {
	release
	notes []string // a sentence each
}

var (
	heading = regexp.MustCompile(`^## \[([^]]+)\](?: - (\d{4}-\d\d-\d\d))?`)
	link    = regexp.MustCompile(`\[([^]]*)\]\([^)]*\)`)
	// A sentence's end: not that of an abbreviation or a name of a file.
	period = regexp.MustCompile(`\. [A-Z]`)
)

// changes reads a CHANGELOG.md: what is not released yet is what the packages are.
func changes(text string, newest release) []entry {
	var entries []entry
	telling := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if m := heading.FindStringSubmatch(line); m != nil {
			of := newest
			if m[2] != "" {
				of.version = m[1] + "-1"
				of.date, _ = time.Parse(time.DateOnly, m[2])
			}
			entries = append(entries, entry{release: of})
			continue
		}
		if section, ok := strings.CutPrefix(line, "### "); ok {
			telling = section != "Not yet"
		}
		if !telling || len(entries) == 0 {
			continue
		}
		last := &entries[len(entries)-1]
		if note, ok := strings.CutPrefix(line, "- "); ok {
			last.notes = append(last.notes, note)
		} else if more, ok := strings.CutPrefix(line, "  "); ok && len(last.notes) > 0 {
			last.notes[len(last.notes)-1] += " " + strings.TrimSpace(more)
		}
	}
	for _, e := range entries {
		for i, note := range e.notes {
			e.notes[i] = firstSentence(note)
		}
	}
	return entries
}

func firstSentence(note string) string {
	note = strings.ReplaceAll(link.ReplaceAllString(note, "$1"), "`", "")
	if at := period.FindStringIndex(note); at != nil {
		note = note[:at[0]]
	}
	return strings.TrimRight(note, ".:") + "."
}

// wrap breaks a text into lines of at most width characters.
func wrap(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}

// debianChangelog is in the form of deb-changelog(5).
func debianChangelog(entries []entry) string {
	var b strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&b, "mcp-gateway (%s) unstable; urgency=medium\n\n", e.version)
		for _, note := range e.notes {
			fmt.Fprintf(&b, "  * %s\n", strings.Join(wrap(note, 74), "\n    "))
		}
		fmt.Fprintf(&b, "\n -- %s  %s\n\n", e.maintainer, e.date.Format(time.RFC1123Z))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// rpmChangelog is in the form that nfpm reads.
func rpmChangelog(entries []entry) string {
	var b strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&b, "- semver: %s\n  date: %s\n  packager: %s\n  changes:\n", e.version, e.date.Format(time.RFC3339), e.maintainer)
		for _, note := range e.notes {
			fmt.Fprintf(&b, "    - note: |-\n        %s\n", strings.Join(wrap(note, 74), "\n          "))
		}
	}
	return b.String()
}
