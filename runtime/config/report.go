package config

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Error is one thing that keeps a configuration from loading, or, among warnings,
// that does not.
type Error struct {
	Position string // file:line:column, counted from 1; the file alone if it concerns the file
	Text     string // the key, what is wrong with it, and what to write instead
}

// Errors is every error of one configuration, in the order of the file.
type Errors []Error

// Error gives one line per error, "file:line:column: text".
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Position + ": " + one.Text
	}
	return strings.Join(lines, "\n")
}

// position is a place in the file, counted from 1, the column in characters.
type position struct{ line, column int }

// path names a value, "servers.files.args[0]". Its elements are separated by
// NUL, which a key cannot hold, so that a dot in a server's name is no level.
type path string

const pathSeparator = "\x00"

func (p path) key(name string) path {
	bare := name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == ""
	if !bare {
		name = strconv.Quote(name)
	}
	if p == "" {
		return path(name)
	}
	return p + pathSeparator + path(name)
}

func (p path) index(i int) path {
	return p + pathSeparator + path("["+strconv.Itoa(i)+"]")
}

func (p path) parent() path {
	return p[:max(0, strings.LastIndex(string(p), pathSeparator))]
}

func (p path) depth() int { return strings.Count(string(p), pathSeparator) + 1 }

func (p path) String() string {
	return strings.NewReplacer(pathSeparator+"[", "[", pathSeparator, ".").Replace(string(p))
}

// finding is an error or a warning before it gets the file's name.
type finding struct {
	at   position
	text string
}

// report collects what is found about one file.
type report struct {
	file                          string
	places                        map[path]position // of every key and value of the file that is known
	failed                        map[path]bool
	errors, warnings, unsupported []finding
}

// given reports whether the file itself sets the value.
func (r *report) given(p path) bool {
	_, ok := r.places[p]
	return ok
}

// place is where p is in the file, or the nearest mapping that could hold it.
func (r *report) place(p path) position {
	for ; p != ""; p = p.parent() {
		if at, ok := r.places[p]; ok {
			return at
		}
	}
	return position{1, 1}
}

func (r *report) found(p path, format string, args ...any) finding {
	text := fmt.Sprintf(format, args...)
	if p != "" {
		text = p.String() + ": " + text
	}
	return finding{r.place(p), text}
}

// fail records an error about p, unless p or what holds it has failed already:
// one mistake is one error.
func (r *report) fail(p path, format string, args ...any) {
	if r.hasFailed(p) {
		return
	}
	r.failed[p] = true
	r.errors = append(r.errors, r.found(p, format, args...))
}

func (r *report) hasFailed(p path) bool {
	for ; p != ""; p = p.parent() {
		if r.failed[p] {
			return true
		}
	}
	return r.failed[""]
}

func (r *report) warn(p path, format string, args ...any) {
	r.warnings = append(r.warnings, r.found(p, format, args...))
}

// syntax records an error that leaves nothing to read.
func (r *report) syntax(at position, text string) {
	r.failed[""] = true
	r.errors = append(r.errors, finding{position{max(1, at.line), max(1, at.column)}, strings.TrimSpace(text)})
}

// unenforced notes a setting that would make the gateway weaker than it reads.
func (r *report) unenforced(p path) {
	r.unsupported = append(r.unsupported, r.found(p, "this version cannot enforce it yet: the gateway refuses to start with it"))
}

// inOrder sorts findings by their place and gives each its "file:line:column".
func inOrder(file string, found []finding) Errors {
	slices.SortStableFunc(found, func(a, b finding) int {
		return cmp.Or(cmp.Compare(a.at.line, b.at.line), cmp.Compare(a.at.column, b.at.column))
	})
	var out Errors
	for _, f := range found {
		out = append(out, Error{fmt.Sprintf("%s:%d:%d", file, f.at.line, f.at.column), f.text})
	}
	return out
}

// oneOf refuses a text that is none of choices.
func (r *report) oneOf(p path, value string, choices []string) {
	if slices.Contains(choices, value) {
		return
	}
	if meant := nearest(value, choices); meant != "" {
		r.fail(p, "is %q: did you mean %q?", value, meant)
		return
	}
	r.fail(p, "is %q, want %s", value, strings.Join(choices, " or "))
}

// absolute refuses a path that is not absolute and in its shortest form.
func (r *report) absolute(p path, value string) bool {
	switch {
	case value == "":
		r.fail(p, "is missing: write an absolute path")
	case !filepath.IsAbs(value):
		r.fail(p, "is %q, want an absolute path", value)
	case filepath.Clean(value) != value:
		r.fail(p, "is %q: write %q", value, filepath.Clean(value))
	}
	return !r.hasFailed(p)
}

// nearest gives the word of known that is closest to word by edit distance, or
// "" if none is close enough to be meant.
func nearest(word string, known []string) string {
	best, limit := "", max(1, min(len(word), 64)/3)
	for _, candidate := range known {
		if d := distance(word, candidate); d <= limit {
			best, limit = candidate, d-1
		}
	}
	return best
}

// distance is Levenshtein's. Long words are never near anything.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
