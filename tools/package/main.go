// Command package makes the documents of the packages that the project has in other forms:
// changelogs of its CHANGELOG.md, and the licences of all modules that the programs link.
//
//	package -source DIR -version 0.1.0-1 -maintainer "NAME <ADDRESS>" -date SECONDS -output DIR
//
// Same source, same documents: nothing here depends on the time or on folders.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

func main() {
	source := flag.String("source", ".", "the project's `folder`")
	output := flag.String("output", ".", "where to write, a `folder`")
	version := flag.String("version", "", "the packages' `version`, with its release")
	maintainer := flag.String("maintainer", "", "`who` made the packages")
	date := flag.Int64("date", 0, "when, in `seconds` since 1970")
	flag.Parse()
	if err := run(*source, *output, release{*version, *maintainer, time.Unix(*date, 0).UTC()}); err != nil {
		fmt.Fprintln(os.Stderr, "package:", err)
		os.Exit(1)
	}
}

func run(source, output string, newest release) error {
	text, err := os.ReadFile(filepath.Join(source, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	entries := changes(string(text), newest)
	linked, err := modules(source)
	if err != nil {
		return err
	}
	for name, content := range map[string]string{
		"changelog.Debian": debianChangelog(entries),
		"changelog.yaml":   rpmChangelog(entries),
		"copyright":        debianCopyright(linked),
		"NOTICE":           notices(linked),
		"LICENSES":         licences(linked),
	} {
		if err := os.WriteFile(filepath.Join(output, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}
