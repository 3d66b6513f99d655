package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// host is what the checks ask about this machine's users.
type host struct {
	owner  func(fs.FileInfo) uint32
	userID func(name string) (id string, err error)
}

func systemHost() host {
	return host{owner: ownerOf, userID: func(name string) (string, error) {
		found, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return found.Uid, nil
	}}
}

func ownerOf(info fs.FileInfo) uint32 { return info.Sys().(*syscall.Stat_t).Uid }

// Folders of the system. No server may use a part of a tree or what holds one.
// The single folders hold other people's: a part of them may be used.
var (
	systemTrees = []string{
		"/etc", "/proc", "/sys", "/dev", "/boot", "/root", "/run", "/usr", "/bin", "/sbin",
		"/lib", "/lib32", "/lib64", "/libx32", "/var/lib/mcp-gateway", "/var/log/mcp-gateway",
	}
	systemFolders = []string{
		"/home", "/var", "/tmp", "/opt", "/srv", "/mnt", "/media", "/var/lib", "/var/log", "/var/tmp", "/var/run",
	}
	// A program never lives in these, but kernel interfaces, sockets and keys do.
	noSourceTrees   = []string{"/proc", "/sys", "/dev", "/run", "/boot", "/etc/mcp-gateway", "/var/lib/mcp-gateway", "/var/log/mcp-gateway"}
	noTargetTrees   = []string{"/proc", "/sys", "/dev", "/run"}
	noTargetFolders = []string{"/etc", "/tmp"}
)

// touches reports whether path is one of folders, or lies in or holds one of trees.
func touches(path string, trees, folders []string) bool {
	return slices.Contains(folders, path) || slices.ContainsFunc(trees, func(tree string) bool {
		return within(path, tree) || within(tree, path)
	})
}

func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, strings.TrimSuffix(folder, "/")+"/")
}

// parse reads "/path", "/path:ro" or "/path:rw".
func (d *Directory) parse(text string) (problem string) {
	d.Path = text
	if i := strings.LastIndexByte(text, ':'); i >= 0 {
		d.Path, d.Access = text[:i], Access(text[i+1:])
		if d.Access != AccessReadOnly && d.Access != AccessReadWrite {
			return `what follows ":" must be ro or rw: a path that has a colon goes into a mapping, path: "…"`
		}
	}
	return ""
}

// parse reads "/source" or "/source:/target".
func (m *Mount) parse(text string) (problem string) {
	var more bool
	m.Source, m.Target, more = strings.Cut(text, ":")
	if strings.Contains(m.Target, ":") || more && m.Target == "" {
		return `want "/source" or "/source:/target": a path that has a colon goes into a mapping, source: "…"`
	}
	return ""
}

// listed is an accepted directory and where it is written down.
type listed struct {
	Directory
	at path
}

func directories(entries []listed) []Directory {
	var out []Directory
	for _, entry := range entries {
		out = append(out, entry.Directory)
	}
	return out
}

// listed gives those of entries that are fine, each path once.
func (c *checker) listed(p path, entries []Directory) []listed {
	var out []listed
	for i, d := range entries {
		if !c.directory(p.index(i), &d) {
			continue
		}
		same := slices.IndexFunc(out, func(l listed) bool { return l.Path == d.Path })
		switch {
		case same < 0:
			out = append(out, listed{d, p.index(i)})
		case out[same].Directory != d:
			c.fail(p.index(i), "%q is there twice, with different access or owner: keep one", d.Path)
		}
	}
	return out
}

// serverDirectories merges a server's own directories, its project's, and those
// of its ALLOWED_DIRECTORIES variable, which says nothing about access.
func (c *checker) serverDirectories(p path, s *Server, project []Directory) {
	all := c.listed(p.key("allowed_directories"), s.AllowedDirectories)
	find := func(path string) int {
		return slices.IndexFunc(all, func(l listed) bool { return l.Path == path })
	}
	for _, d := range project {
		if same := find(d.Path); same < 0 {
			all = append(all, listed{Directory: d})
		} else if all[same].Directory != d {
			c.fail(all[same].at, "%q has another access or owner in project %q: keep one", d.Path, s.Project)
		}
	}
	variable := p.key("env").key("ALLOWED_DIRECTORIES")
	split := func(r rune) bool { return r == ':' || r == ',' }
	for i, text := range strings.FieldsFunc(s.Env["ALLOWED_DIRECTORIES"].Reveal(), split) {
		d := Directory{Path: strings.TrimSpace(text)}
		if find(d.Path) < 0 && c.directory(variable.index(i), &d) {
			all = append(all, listed{Directory: d})
		}
	}
	s.AllowedDirectories = directories(all)
}

// directory reports whether a server may have d. One that does not exist yet
// may: its absence stops the server, not the gateway.
func (c *checker) directory(p path, d *Directory) bool {
	if c.hasFailed(p) {
		return false
	}
	c.owner(p.key("owner"), d)
	where := p.key("path")
	if !c.given(where) {
		where = p
	}
	if !c.absolute(where, d.Path) {
		return false
	}
	if touches(d.Path, systemTrees, systemFolders) {
		c.fail(where, "%q is a system path: name a folder of the project's own", d.Path)
		return false
	}
	real, err := resolve(d.Path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		c.warn(where, "%q cannot be looked at: %v", d.Path, err)
		return true
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		c.fail(where, "%q cannot be used: %v", d.Path, err)
	case touches(real, systemTrees, systemFolders):
		c.fail(where, "%q leads through a symbolic link to %q, which is a system path", d.Path, real)
	case real != d.Path:
		c.fail(where, "%q passes through a symbolic link: write the real path, %q", d.Path, real)
	case err != nil:
		c.warn(where, "%q does not exist: the server cannot start before it does", d.Path)
	default:
		c.ownedDirectory(where, d)
	}
	return !c.hasFailed(where)
}

// ownedDirectory checks what exists at d, which no symbolic link leads to.
func (c *checker) ownedDirectory(p path, d *Directory) {
	info, err := os.Lstat(d.Path)
	switch {
	case err != nil:
		c.warn(p, "%q cannot be looked at: %v", d.Path, err)
	case !info.IsDir():
		c.fail(p, "%q is not a directory", d.Path)
	case c.host.owner(info) != 0:
	case d.Access == AccessReadWrite && d.Owner == "":
		c.fail(p, "%q belongs to root, and a server never writes as root: use access: ro, or name a user with owner:", d.Path)
	case d.Access == AccessDefault:
		c.warn(p, "%q belongs to root, so it is read-only: write access: ro to agree, or access: rw with owner: naming a user", d.Path)
	}
}

// owner replaces the name of d's owner by its number.
func (c *checker) owner(p path, d *Directory) {
	if d.Owner == "" {
		return
	}
	id, err := strconv.ParseUint(d.Owner, 10, 32)
	if err != nil {
		text, err := c.host.userID(d.Owner)
		if err != nil {
			c.fail(p, "%q is no user of this host: name one, or write a number above 0", d.Owner)
			return
		}
		id, _ = strconv.ParseUint(text, 10, 32)
	}
	if id == 0 || id == math.MaxUint32 {
		c.fail(p, "%q cannot be an owner: a server never writes as root: name another user", d.Owner)
		return
	}
	d.Owner = strconv.FormatUint(id, 10)
}

// resolve returns path without symbolic links. If path does not exist, the
// error is fs.ErrNotExist and the part that does exist is resolved.
func resolve(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return real, err
	}
	for have := path; ; have = filepath.Dir(have) {
		if _, err := os.Lstat(have); err != nil && have != "/" {
			continue
		}
		real, err := filepath.EvalSymlinks(have)
		if err != nil {
			return "", fmt.Errorf("%s is a symbolic link that leads nowhere", have)
		}
		return filepath.Join(real, path[len(have):]), fs.ErrNotExist
	}
}

func (c *checker) serverMounts(p path, s *Server) {
	targets := make(map[string]bool)
	for i := range s.Mounts {
		m, p := &s.Mounts[i], p.index(i)
		if m.Target == "" {
			m.Target = m.Source
		}
		if !c.mount(p, m) {
			continue
		}
		if targets[m.Target] {
			c.fail(p, "%q is the target of another mount already", m.Target)
		}
		targets[m.Target] = true
	}
}

// mount checks a mount and replaces its source by the real path, which is then
// opened without following links.
func (c *checker) mount(p path, m *Mount) bool {
	if c.hasFailed(p) || !c.absolute(p.key("source"), m.Source) || !c.absolute(p.key("target"), m.Target) {
		return false
	}
	real, err := resolve(m.Source)
	switch {
	case touches(m.Source, noSourceTrees, []string{"/etc"}):
		c.fail(p.key("source"), "%q is a system path: name the folder of the program", m.Source)
	case errors.Is(err, fs.ErrNotExist):
		c.warn(p.key("source"), "%q does not exist: the server cannot start before it does", m.Source)
	case errors.Is(err, fs.ErrPermission):
		c.warn(p.key("source"), "%q cannot be looked at: %v", m.Source, err)
	case err != nil:
		c.fail(p.key("source"), "%q cannot be used: %v", m.Source, err)
	case touches(real, noSourceTrees, []string{"/etc"}):
		c.fail(p.key("source"), "%q leads to %q, which is a system path", m.Source, real)
	}
	if err == nil {
		m.Source = real
	}
	if touches(m.Target, noTargetTrees, noTargetFolders) {
		c.fail(p.key("target"), "%q cannot be a target: the sandbox has its own", m.Target)
	}
	return !c.hasFailed(p)
}

// nesting refuses what a server could turn against another, or against its own
// next start: programs in a folder that somebody may write, and folders in folders,
// where it could put a link in the place of the inner one.
func (c *checker) nesting() {
	names := slices.Sorted(maps.Keys(c.config.Servers))
	for _, name := range names {
		p, s := at("servers", name), c.config.Servers[name]
		for i, m := range s.Mounts {
			for _, other := range names {
				for _, d := range c.config.Servers[other].AllowedDirectories {
					if d.Access != AccessReadOnly && within(m.Source, d.Path) {
						c.fail(p.key("mounts").index(i), "%q lies in %q, which server %q may write: keep programs elsewhere, or make it read-only", m.Source, d.Path, other)
					}
				}
			}
		}
		for _, d := range s.AllowedDirectories {
			for _, e := range s.AllowedDirectories {
				if d.Path != e.Path && within(d.Path, e.Path) {
					c.fail(p.key("allowed_directories"), "%q lies in %q: keep one of them", d.Path, e.Path)
				}
			}
			for i, m := range s.Mounts {
				if within(m.Target, d.Path) {
					c.fail(p.key("mounts").index(i), "the target %q lies in the allowed directory %q: mount it elsewhere", m.Target, d.Path)
				}
			}
		}
	}
}
