package document

import (
	"cmp"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Error is one thing that keeps a file from loading, or, among warnings, that
// does not.
type Error struct {
	Position string // file:line:column, counted from 1; the file alone if it concerns the file
	Text     string // the key, what is wrong with it, and what to write instead
}

// Errors is every error of one file, in its order.
type Errors []Error

// Error gives one line per error, "file:line:column: text".
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Position + ": " + one.Text
	}
	return strings.Join(lines, "\n")
}

// Position is a place in the file, counted from 1, the column in characters.
type Position struct{ Line, Column int }

// Path names a value, "servers.files.args[0]". Its elements are separated by
// NUL, which a key cannot hold, so that a dot in a server's name is no level.
type Path string

const pathSeparator = "\x00"

// At is the path of nested keys.
func At(keys ...string) Path {
	var p Path
	for _, key := range keys {
		p = p.Key(key)
	}
	return p
}

// Key is the path of a key of the mapping p.
func (p Path) Key(name string) Path {
	bare := name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == ""
	if !bare {
		name = strconv.Quote(name)
	}
	if p == "" {
		return Path(name)
	}
	return p + pathSeparator + Path(name)
}

// Index is the path of an element of the list p.
func (p Path) Index(i int) Path {
	return p + pathSeparator + Path("["+strconv.Itoa(i)+"]")
}

// Within reports whether p is inside of other; of "", all are.
func (p Path) Within(other Path) bool {
	return other == "" || strings.HasPrefix(string(p), string(other)+pathSeparator)
}

func (p Path) parent() Path {
	return p[:max(0, strings.LastIndex(string(p), pathSeparator))]
}

func (p Path) depth() int { return strings.Count(string(p), pathSeparator) + 1 }

func (p Path) String() string {
	return strings.NewReplacer(pathSeparator+"[", "[", pathSeparator, ".").Replace(string(p))
}

// finding is an error or a warning before it gets the file's name.
type finding struct {
	at   Position
	text string
}

// Report collects what is found about one file, by those who read it and those
// who judge it.
type Report struct {
	file                          string
	places                        map[Path]Position // of every key and value of the file that is known
	failed                        map[Path]bool
	errors, warnings, unsupported []finding
	files                         []string
	pending                       []pending
}

// Given reports whether the file itself sets the value.
func (r *Report) Given(p Path) bool {
	_, ok := r.places[p]
	return ok
}

// Line is where p is in the file, "file:line".
func (r *Report) Line(p Path) string { return fmt.Sprintf("%s:%d", r.file, r.place(p).Line) }

// Position is where p is in the file, or the nearest mapping that could hold it.
func (r *Report) Position(p Path) Position { return r.place(p) }

// place is where p is in the file, or the Nearest mapping that could hold it.
func (r *Report) place(p Path) Position {
	for ; p != ""; p = p.parent() {
		if at, ok := r.places[p]; ok {
			return at
		}
	}
	return Position{1, 1}
}

func (r *Report) found(p Path, format string, args ...any) finding {
	text := fmt.Sprintf(format, args...)
	if p != "" {
		text = p.String() + ": " + text
	}
	return finding{r.place(p), text}
}

// Fail records an error about p, unless p or what holds it has failed already:
// one mistake is one error.
func (r *Report) Fail(p Path, format string, args ...any) {
	if r.HasFailed(p) {
		return
	}
	r.failed[p] = true
	r.errors = append(r.errors, r.found(p, format, args...))
}

// Add records an error beside others: it hides no other mistake about p.
func (r *Report) Add(p Path, format string, args ...any) {
	r.errors = append(r.errors, r.found(p, format, args...))
}

// HasFailed reports whether something is wrong with p or with what holds it.
func (r *Report) HasFailed(p Path) bool {
	for ; p != ""; p = p.parent() {
		if r.failed[p] {
			return true
		}
	}
	return r.failed[""]
}

// Warn records what keeps nothing from loading.
func (r *Report) Warn(p Path, format string, args ...any) {
	r.warnings = append(r.warnings, r.found(p, format, args...))
}

// syntax records an error that leaves nothing to read.
func (r *Report) syntax(at Position, text string) {
	r.failed[""] = true
	r.errors = append(r.errors, finding{Position{max(1, at.Line), max(1, at.Column)}, strings.TrimSpace(text)})
}

// whole records an error about the file as a whole.
func (r *Report) whole(text string) {
	r.failed[""] = true
	r.errors = append(r.errors, finding{text: text})
}

// Unenforced notes a setting that would make the gateway weaker than it reads.
func (r *Report) Unenforced(p Path) {
	r.unsupported = append(r.unsupported, r.found(p, "this version cannot enforce it yet: the gateway refuses to start with it"))
}

// Errors are all that keeps the file from being used.
func (r *Report) Errors() Errors { return r.inOrder(r.errors) }

// Warnings are what does not keep the file from being used.
func (r *Report) Warnings() Errors { return r.inOrder(r.warnings) }

// Unsupported are the settings that were noted as not enforced.
func (r *Report) Unsupported() Errors { return r.inOrder(r.unsupported) }

// inOrder sorts findings by their place and gives each its "file:line:column".
func (r *Report) inOrder(found []finding) Errors {
	slices.SortStableFunc(found, func(a, b finding) int {
		return cmp.Or(cmp.Compare(a.at.Line, b.at.Line), cmp.Compare(a.at.Column, b.at.Column))
	})
	var out Errors
	for _, f := range found {
		where := r.file
		if f.at.Line > 0 {
			where = fmt.Sprintf("%s:%d:%d", r.file, f.at.Line, f.at.Column)
		}
		out = append(out, Error{where, f.text})
	}
	return out
}

// OneOf refuses a text that is none of choices.
func (r *Report) OneOf(p Path, value string, choices []string) {
	if slices.Contains(choices, value) {
		return
	}
	if meant := Nearest(value, choices); meant != "" {
		r.Fail(p, "is %q: did you mean %q?", value, meant)
		return
	}
	r.Fail(p, "is %q, want %s", value, strings.Join(choices, " or "))
}

// Absolute refuses a path that is not absolute and in its shortest form.
func (r *Report) Absolute(p Path, value string) bool {
	switch {
	case value == "":
		r.Fail(p, "is missing: write an absolute path")
	case !filepath.IsAbs(value):
		r.Fail(p, "is %q, want an absolute path", value)
	case filepath.Clean(value) != value:
		r.Fail(p, "is %q: write %q", value, filepath.Clean(value))
	}
	return !r.HasFailed(p)
}

// namePattern is what people may call a thing that becomes part of a URL path, a
// file's or a cgroup's name and a log field, without any quoting.
var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$`)

// NameHelp says what IsName wants.
const NameHelp = "the name may have a-z, 0-9 and, between those, '-', '_' and '.', and at most 64 characters"

// IsName reports whether something may be called so.
func IsName(name string) bool { return namePattern.MatchString(name) }

// Nearest gives the word of known that is closest to word by edit distance, or
// "" if none is close enough to be meant.
func Nearest(word string, known []string) string {
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
