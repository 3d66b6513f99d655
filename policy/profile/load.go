package profile

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"mcpgateway/runtime/document"
)

//go:embed shipped/*.toml
var shipped embed.FS

// rootName is the one profile that extends no other.
const rootName = "default"

// Set is the profiles of one host: shipped ones and its own.
type Set struct {
	profiles map[string]*Effective
	warnings document.Errors
}

// Get returns a profile by its name.
func (s *Set) Get(name string) (*Effective, bool) {
	e, ok := s.profiles[name]
	return e, ok
}

// Names returns the names of all profiles, sorted.
func (s *Set) Names() []string { return slices.Sorted(maps.Keys(s.profiles)) }

// Warnings returns what keeps no profile from loading, but perhaps servers from
// starting.
func (s *Set) Warnings() document.Errors { return s.warnings }

// file is what a profile's file may say.
type file struct {
	Description string `config:"description"`
	Extends     string `config:"extends"`
	AllowWeaker bool   `config:"allow_weaker"`
	Profile
}

// source is a profile's file as it was read.
type source struct {
	file
	name   string
	report *document.Report
	state  state
}

type state int

const (
	unresolved state = iota
	resolving
	resolved
)

// Load reads the shipped profiles and those in dir, which need not exist. Files
// and folder must belong to root or to the user of this process. Mistakes are
// document.Errors, those of all files at once, whether a profile is used or not.
func Load(dir string) (*Set, error) {
	l := newLoader()
	if err := l.readShipped(); err != nil {
		return nil, err
	}
	if err := l.readFolder(dir); err != nil {
		return nil, fmt.Errorf("read profiles: %w", err)
	}
	return l.finish()
}

type loader struct {
	sources map[string]*source
	set     *Set
	errors  document.Errors // that are not in a source's report
}

func newLoader() *loader {
	return &loader{sources: make(map[string]*source), set: &Set{profiles: make(map[string]*Effective)}}
}

func (l *loader) finish() (*Set, error) {
	for _, name := range slices.Sorted(maps.Keys(l.sources)) {
		l.resolve(l.sources[name])
	}
	for _, name := range slices.Sorted(maps.Keys(l.sources)) {
		l.errors = append(l.errors, l.sources[name].report.Errors()...)
		l.set.warnings = append(l.set.warnings, l.sources[name].report.Warnings()...)
	}
	if len(l.errors) > 0 {
		return nil, l.errors
	}
	return l.set, nil
}

func (l *loader) readShipped() error {
	entries, err := shipped.ReadDir("shipped")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := path.Join("shipped", entry.Name())
		content, err := shipped.ReadFile(name)
		if err != nil {
			return err
		}
		l.add(name, content)
	}
	return nil
}

func (l *loader) readFolder(dir string) error {
	names, err := document.ReadFolder(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		file := filepath.Join(dir, name)
		base, isProfile := strings.CutSuffix(name, ".toml")
		if !isProfile {
			continue
		}
		content, err := document.ReadFile(file)
		var mistakes document.Errors
		switch _, taken := l.sources[base]; {
		case errors.As(err, &mistakes):
			l.errors = append(l.errors, mistakes...)
		case err != nil:
			return err
		case !document.IsName(base):
			l.errors = append(l.errors, document.Error{Position: file, Text: "cannot be a profile's name: " + document.NameHelp})
		case taken:
			l.errors = append(l.errors, document.Error{
				Position: file, Text: fmt.Sprintf("%q is a shipped profile: choose another name, and write extends = %q", base, base),
			})
		default:
			l.add(file, content)
		}
	}
	return nil
}

func (l *loader) add(name string, content []byte) {
	s := &source{name: strings.TrimSuffix(filepath.Base(name), ".toml"), file: file{Extends: rootName}}
	s.report = document.Decode(name, content, nil, &s.file)
	if s.name == rootName {
		s.Extends = ""
	}
	l.sources[s.name] = s
}

// resolve lays a profile over its parent. Below a profile that has mistakes it
// gives nil and leaves it at those.
func (l *loader) resolve(s *source) *Effective {
	if s.state != unresolved {
		return l.set.profiles[s.name]
	}
	s.state = resolving
	defer func() { s.state = resolved }()
	parent := &Effective{}
	if s.name != rootName {
		if parent = l.parent(s); parent == nil {
			return nil
		}
	}
	checker{s.report, &s.Profile}.mounts()
	e := s.over(parent)
	checker{s.report, &e.Profile}.check()
	if s.name == rootName {
		s.wantEveryKey()
	} else if !s.AllowWeaker {
		s.refuseWeaker(parent, e)
	}
	if len(s.report.Errors()) > 0 {
		return nil
	}
	l.set.profiles[s.name] = e
	return e
}

func (l *loader) parent(s *source) *Effective {
	at := document.At("extends")
	parent, ok := l.sources[s.Extends]
	switch {
	case s.report.HasFailed(at):
	case !ok:
		s.report.OneOf(at, s.Extends, slices.Sorted(maps.Keys(l.sources)))
	case parent.state == resolving:
		s.report.Fail(at, "%q extends this profile in turn: one of them must extend another", s.Extends)
	default:
		return l.resolve(parent)
	}
	return nil
}

// over gives what the file sets, and the parent's values for the rest.
func (s *source) over(parent *Effective) *Effective {
	e := parent.Clone()
	e.Name, e.Description, e.Chain = s.name, s.Description, append([]string{s.name}, parent.Chain...)
	for _, k := range Schema() {
		if s.report.Given(k.path()) && !s.report.HasFailed(k.path()) {
			k.Of(&e.Profile).Set(k.Of(&s.Profile))
			e.Origin[k.String()] = s.report.Line(k.path())
		}
	}
	return e
}

func (s *source) wantEveryKey() {
	for _, k := range Schema() {
		if !s.report.Given(k.path()) {
			s.report.Fail(k.path(), "is missing: the profile %q has no other to take it from", rootName)
		}
	}
}

// refuseWeaker wants to be told where a profile lets a server do more than the
// one that it extends.
func (s *source) refuseWeaker(parent, e *Effective) {
	for _, k := range Schema() {
		if !s.report.Given(k.path()) || !k.Exceeds(&parent.Profile, &e.Profile) {
			continue
		}
		is := "is " + TOML(k.Of(&e.Profile))
		if k.Section == "syscalls" && k.weaker == "" {
			is += ", which allows " + strings.Join(moreCalls(parent.Syscalls, e.Syscalls), ", ")
		}
		s.report.Fail(k.path(), "%s: weaker than %s of profile %q (%s): change it, or write allow_weaker = true at the top",
			is, TOML(k.Of(&parent.Profile)), parent.Name, parent.Origin[k.String()])
	}
}
