package config

import (
	"errors"
	"io/fs"
	"maps"
	"math"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"mcpgateway/policy"
	"mcpgateway/policy/profile"
	"mcpgateway/policy/rules"
	"mcpgateway/runtime/document"
	"mcpgateway/runtime/hostpath"
)

// host is what the checks ask about this machine.
type host struct {
	owner    func(fs.FileInfo) uint32
	userID   func(name string) (id string, err error)
	profiles func(dir string) (*profile.Set, error)
	rules    func(file string) (*policy.RBAC, error)
	fetch    Fetch // nil: secrets are not looked up
}

func systemHost() host {
	return host{owner: ownerOf, profiles: profile.Load, rules: rules.Load, userID: func(name string) (string, error) {
		found, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return found.Uid, nil
	}}
}

func ownerOf(info fs.FileInfo) uint32 { return info.Sys().(*syscall.Stat_t).Uid }

// UnmarshalText reads "/path", "/path:ro" or "/path:rw".
func (d *Directory) UnmarshalText(text []byte) error {
	d.Path = string(text)
	if i := strings.LastIndexByte(d.Path, ':'); i >= 0 {
		d.Path, d.Access = d.Path[:i], Access(d.Path[i+1:])
		if d.Access != AccessReadOnly && d.Access != AccessReadWrite {
			return errors.New(`what follows ":" must be ro or rw: a path that has a colon goes into a mapping, path: "…"`)
		}
	}
	return nil
}

// UnmarshalText reads "/source" or "/source:/target".
func (m *Mount) UnmarshalText(text []byte) error {
	var more bool
	m.Source, m.Target, more = strings.Cut(string(text), ":")
	if strings.Contains(m.Target, ":") || more && m.Target == "" {
		return errors.New(`want "/source" or "/source:/target": a path that has a colon goes into a mapping, source: "…"`)
	}
	return nil
}

// listed is an accepted directory and where it is written down.
type listed struct {
	Directory
	at document.Path
}

func directories(entries []listed) []Directory {
	var out []Directory
	for _, entry := range entries {
		out = append(out, entry.Directory)
	}
	return out
}

// listed gives those of entries that are fine, each path once.
func (c *checker) listed(p document.Path, entries []Directory) []listed {
	var out []listed
	for i, d := range entries {
		if !c.directory(p.Index(i), &d) {
			continue
		}
		same := slices.IndexFunc(out, func(l listed) bool { return l.Path == d.Path })
		switch {
		case same < 0:
			out = append(out, listed{d, p.Index(i)})
		case out[same].Directory != d:
			c.Fail(p.Index(i), "%q is there twice, with different access or owner: keep one", d.Path)
		}
	}
	return out
}

// serverDirectories merges a server's own directories, its project's, and those
// of its ALLOWED_DIRECTORIES variable, which says nothing about access.
func (c *checker) serverDirectories(p document.Path, s *Server, project []Directory) []listed {
	all := c.listed(p.Key("allowed_directories"), s.AllowedDirectories)
	find := func(path string) int {
		return slices.IndexFunc(all, func(l listed) bool { return l.Path == path })
	}
	for _, d := range project {
		if same := find(d.Path); same < 0 {
			all = append(all, listed{Directory: d})
		} else if all[same].Directory != d {
			c.Fail(all[same].at, "%q has another access or owner in project %q: keep one", d.Path, s.Project)
		}
	}
	variable := p.Key("env").Key("ALLOWED_DIRECTORIES")
	split := func(r rune) bool { return r == ':' || r == ',' }
	for i, text := range strings.FieldsFunc(s.Env["ALLOWED_DIRECTORIES"].Reveal(), split) {
		d := Directory{Path: strings.TrimSpace(text)}
		if find(d.Path) < 0 && c.directory(variable.Index(i), &d) {
			all = append(all, listed{Directory: d})
		}
	}
	return all
}

// directory reports whether a server may have d. One that does not exist yet
// may: its absence stops the server, not the gateway.
func (c *checker) directory(p document.Path, d *Directory) bool {
	if c.HasFailed(p) {
		return false
	}
	c.owner(p.Key("owner"), d)
	where := p.Key("path")
	if !c.Given(where) {
		where = p
	}
	if !c.Absolute(where, d.Path) {
		return false
	}
	if hostpath.IsSystem(d.Path) {
		c.Fail(where, "%q is a system path: name a folder of the project's own", d.Path)
		return false
	}
	real, err := hostpath.Resolve(d.Path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		c.Warn(where, "%q cannot be looked at: %v", d.Path, err)
		return true
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		c.Fail(where, "%q cannot be used: %v", d.Path, err)
	case hostpath.IsSystem(real):
		c.Fail(where, "%q leads through a symbolic link to %q, which is a system path", d.Path, real)
	case real != d.Path:
		c.Fail(where, "%q passes through a symbolic link: write the real path, %q", d.Path, real)
	case err != nil:
		c.Warn(where, "%q does not exist: the server cannot start before it does", d.Path)
	default:
		c.ownedDirectory(where, d)
	}
	return !c.HasFailed(where)
}

// ownedDirectory checks what exists at d, which no symbolic link leads to.
func (c *checker) ownedDirectory(p document.Path, d *Directory) {
	info, err := os.Lstat(d.Path)
	switch {
	case err != nil:
		c.Warn(p, "%q cannot be looked at: %v", d.Path, err)
	case !info.IsDir():
		c.Fail(p, "%q is not a directory", d.Path)
	case c.host.owner(info) != 0:
	case d.Access == AccessReadWrite && d.Owner == "":
		c.Fail(p, "%q belongs to root, and a server never writes as root: use access: ro, or name a user with owner:", d.Path)
	case d.Access == AccessDefault:
		c.Warn(p, "%q belongs to root, so it is read-only: write access: ro to agree, or access: rw with owner: naming a user", d.Path)
	}
}

// owner replaces the name of d's owner by its number.
func (c *checker) owner(p document.Path, d *Directory) {
	if d.Owner == "" {
		return
	}
	id, err := strconv.ParseUint(d.Owner, 10, 32)
	if err != nil {
		text, err := c.host.userID(d.Owner)
		if err != nil {
			c.Fail(p, "%q is no user of this host: name one, or write a number above 0", d.Owner)
			return
		}
		id, _ = strconv.ParseUint(text, 10, 32)
	}
	if id == 0 || id == math.MaxUint32 {
		c.Fail(p, "%q cannot be an owner: a server never writes as root: name another user", d.Owner)
		return
	}
	d.Owner = strconv.FormatUint(id, 10)
}

// nesting refuses what a server could turn against another, or against its own
// next start: programs in a folder that somebody may write, and folders in folders,
// where it could put a link in the place of the inner one.
func (c *checker) nesting() {
	names := slices.Sorted(maps.Keys(c.config.Servers))
	for _, name := range names {
		p, s := document.At("servers", name), c.config.Servers[name]
		for _, m := range s.Sandbox.Filesystem.Mounts {
			for _, other := range names {
				if folder := c.config.Servers[other].writes(m); folder != "" {
					c.Fail(s.mountedAt(p, m), "%q lies in %q, which server %q may write: keep programs elsewhere, or make it read-only", m.Source, folder, other)
				}
			}
		}
		for _, d := range s.AllowedDirectories {
			for _, e := range s.AllowedDirectories {
				if d.Path != e.Path && hostpath.Within(d.Path, e.Path) {
					c.Fail(p.Key("allowed_directories"), "%q lies in %q: keep one of them", d.Path, e.Path)
				}
			}
			for _, m := range s.Sandbox.Filesystem.Mounts {
				if hostpath.Within(m.Target, d.Path) {
					c.Fail(s.mountedAt(p, m), "the target %q lies in the allowed directory %q: mount it elsewhere", m.Target, d.Path)
				}
			}
		}
	}
}

// writes gives the folder in which s may write the program that m shows, if it may.
// A folder that m lets be written is no program's.
func (s Server) writes(m profile.Mount) string {
	if m.Access == "rw" {
		return ""
	}
	for _, d := range s.AllowedDirectories {
		if d.Access != AccessReadOnly && hostpath.Within(m.Source, d.Path) {
			return d.Path
		}
	}
	for _, w := range s.Sandbox.Filesystem.Mounts {
		if w.Access == "rw" && hostpath.Within(m.Source, w.Source) {
			return w.Source
		}
	}
	return ""
}

// mountedAt is where a mount of s, which stands at p, is written down.
func (s Server) mountedAt(p document.Path, m profile.Mount) document.Path {
	if i := slices.Index(s.Mounts, Mount{m.Source, m.Target}); i >= 0 {
		return p.Key("mounts").Index(i)
	}
	return p.Key("profile")
}
