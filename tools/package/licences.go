package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A module is one that the programs link.
type module struct {
	Path, Version, Dir string
	licence            string // SPDX's name
	text, notice       string
}

// modules are those that the programs link, and Go's own library.
func modules(source string) ([]module, error) {
	var found []module
	for _, cgo := range []string{"0", "1"} { // the daemon has code in C
		cmd := exec.Command("go", "list", "-deps", "-tags", "osusergo,netgo", "-json=Module", "./cmd/...")
		cmd.Dir = source
		cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("list modules: %w", err)
		}
		for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
			var p struct{ Module *module }
			if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, fmt.Errorf("list modules: %w", err)
			}
			if m := p.Module; m != nil && m.Version != "" {
				found = append(found, *m)
			}
		}
	}
	goRoot, err := exec.Command("go", "env", "GOROOT", "GOVERSION").Output()
	if err != nil {
		return nil, err
	}
	go_ := strings.Fields(string(goRoot))
	found = append(found, module{Path: "std", Version: go_[1], Dir: go_[0]})
	slices.SortFunc(found, func(a, b module) int { return strings.Compare(a.Path, b.Path) })
	found = slices.Compact(found)
	for i := range found {
		if err := found[i].read(); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// read finds the licence of a module.
func (m *module) read() error {
	files, err := os.ReadDir(m.Dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		name := strings.ToUpper(f.Name())
		if f.IsDir() || strings.HasSuffix(name, ".GO") {
			continue
		}
		isLicence := strings.HasPrefix(name, "LICENSE") || strings.HasPrefix(name, "LICENCE") || strings.HasPrefix(name, "COPYING")
		if !isLicence && !strings.HasPrefix(name, "NOTICE") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(m.Dir, f.Name()))
		if err != nil {
			return err
		}
		text := strings.Trim(strings.ReplaceAll(string(content), "\r", ""), "\n") + "\n"
		if isLicence {
			m.text += text
		} else {
			m.notice += text
		}
	}
	if m.licence = licenceOf(m.text); m.licence == "" {
		return fmt.Errorf("module %s: no licence that is known: see %s", m.Path, m.Dir)
	}
	return nil
}

// licenceOf names a licence by what only its text says.
func licenceOf(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	var names []string
	for _, l := range []struct{ name, says string }{
		{"Apache-2.0", "Apache License Version 2.0"},
		{"MPL-2.0", "Mozilla Public License Version 2.0"},
		{"MPL-2.0", "Mozilla Public License, version 2.0"},
		{"Expat", "Permission is hereby granted, free of charge, to any person obtaining a copy"},
		{"ISC", "Permission to use, copy, modify, and/or distribute this software for any purpose"},
		{"ISC", "Permission to use, copy, modify, and distribute this software for any purpose"},
		{"Unlicense", "This is free and unencumbered software released into the public domain"},
	} {
		if strings.Contains(text, l.says) && !slices.Contains(names, l.name) {
			names = append(names, l.name)
		}
	}
	if strings.Contains(text, "Redistribution and use in source and binary forms") {
		if strings.Contains(text, "endorse or promote") {
			names = append(names, "BSD-3-clause")
		} else {
			names = append(names, "BSD-2-clause")
		}
	}
	return strings.Join(names, " and ")
}

var claim = regexp.MustCompile(`(?im)^[ \t/*#]*((?:copyright\b|\(c\)|©).*\d{4}.*)$`)

// holders are the lines of a module's licence that say whose it is.
func (m *module) holders() []string {
	var lines []string
	for _, match := range claim.FindAllStringSubmatch(m.text+m.notice, -1) {
		line := strings.Join(strings.Fields(match[1]), " ")
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	if lines == nil {
		lines = []string{"the authors of " + m.Path}
	}
	return lines
}

// quoted puts a text below a field of a Debian control file.
func quoted(text string) string {
	if text = strings.TrimSpace(text); text == "" {
		return ""
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimRight(strings.ReplaceAll(line, "\f", ""), " \t\n")
		if line == "" {
			line = "."
		}
		b.WriteString(" " + line + "\n")
	}
	return b.String()
}

const head = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: MCP Gateway
Comment:
 The programs are linked statically. Below are this project, then, as PATH@VERSION,
 each module of Go that one of them links, with the text of its licence, or where
 Debian has it. "std" is Go's own library.
 .
 The daemon (mcp-gatewayd) is linked with the GNU C Library too, which is under the
 LGPL-2.1-or-later, and with libgcc (GPL-3 with the GCC Runtime Library Exception).
 The project's source and "make build" link the daemon anew with a changed C library.

Files: *
Copyright: the authors of MCP Gateway
License: Apache-2.0
`

// onDebian are the licences that each Debian system has the text of.
var onDebian = []string{"Apache-2.0", "MPL-2.0"}

// common are the parts of their texts.
var common = regexp.MustCompile(`(?s)[ \t]*Apache License\n\s+Version 2\.0.*?END OF TERMS AND CONDITIONS\n` +
	`|[ \t]*APPENDIX: How to apply the Apache License.*?limitations under the License\.\n` +
	`|Mozilla Public License,? [Vv]ersion 2\.0\n.*?defined by the Mozilla Public License, v\. 2\.0\.\n`)

// others is what a text has beside the licences that each Debian system has.
func others(text string) string { return common.ReplaceAllString(text, "") }

// debianCopyright is in the form of Debian's copyright-format 1.0.
func debianCopyright(linked []module) string {
	var b strings.Builder
	b.WriteString(head)
	used := map[string]bool{"Apache-2.0": true}
	for _, m := range linked {
		fmt.Fprintf(&b, "\nFiles: %s@%s/*\nCopyright: %s\nLicense: %s\n", m.Path, m.Version, strings.Join(m.holders(), "\n           "), m.licence)
		if !slices.Contains(onDebian, m.licence) {
			b.WriteString(quoted(others(m.text)))
		}
		for name := range strings.SplitSeq(m.licence, " and ") {
			used[name] = true
		}
	}
	for _, name := range onDebian {
		if used[name] {
			fmt.Fprintf(&b, "\nLicense: %s\n The text is in /usr/share/common-licenses/%s.\n", name, name)
		}
	}
	return b.String()
}

// licences are the texts of all licences, each once.
func licences(linked []module) string {
	of := map[string][]string{}
	var texts []string
	for _, m := range linked {
		if of[m.text] == nil {
			texts = append(texts, m.text)
		}
		of[m.text] = append(of[m.text], m.Path+" "+m.Version+": "+m.licence)
	}
	var b strings.Builder
	b.WriteString("Licences of the modules that the programs of MCP Gateway link.\n" +
		"The daemon is linked with the GNU C Library (LGPL-2.1-or-later) and libgcc (GPL-3.0\n" +
		"with the GCC Runtime Library Exception) too.\n")
	for _, text := range texts {
		fmt.Fprintf(&b, "\n%s\n%s\n\n%s", strings.Repeat("=", 72), strings.Join(of[text], "\n"), text)
	}
	return b.String()
}

// notices are what the modules' authors want to be told to whoever gets the programs.
func notices(linked []module) string {
	var b strings.Builder
	b.WriteString("Notices of the modules that the programs of MCP Gateway link.\n")
	for _, m := range linked {
		if m.notice != "" {
			fmt.Fprintf(&b, "\n%s\n%s %s\n\n%s", strings.Repeat("=", 72), m.Path, m.Version, m.notice)
		}
	}
	return b.String()
}
