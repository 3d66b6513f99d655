package profile

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"unicode"

	"mcpgateway/policy"
	"mcpgateway/runtime/document"
	"mcpgateway/runtime/hostpath"
)

// namespaces are all that a server has to itself; only the network can be the
// host's, and only if its mode says so.
var namespaces = []string{"user", "mount", "pid", "net", "ipc", "uts", "cgroup"}

// checker judges a decoded profile and completes it.
type checker struct {
	*document.Report
	*Profile
}

func (c checker) check() {
	c.filesystem()
	c.network()
	c.Syscalls.check(c.Report, document.At("syscalls"))
	if len(c.Capabilities.Keep) > 0 {
		c.Fail(document.At("capabilities", "keep"), "must be empty: no server has a capability")
	}
	c.namespaces()
	for i, limit := range c.Limits.IOMax {
		p := document.At("limits", "io_max").Index(i)
		c.Absolute(p.Key("device"), limit.Device)
		if limit == (IOMax{Device: limit.Device}) {
			c.Fail(p, "limits nothing: give it read_bps, write_bps, read_iops or write_iops")
		}
	}
	for i, name := range c.Environment.Pass {
		if !document.IsVariable(name) {
			c.Fail(document.At("environment", "pass").Index(i), "is %q: the name of a variable has letters, digits and '_', and no digit first", name)
		}
	}
	for i, path := range c.Landlock.Read {
		c.Absolute(document.At("landlock", "read").Index(i), path)
	}
	c.label("apparmor", c.LSM.AppArmor)
	c.label("selinux", c.LSM.SELinux)
}

func (c checker) label(key, label string) {
	if strings.ContainsFunc(label, unicode.IsControl) {
		c.Fail(document.At("lsm", key), "holds a control character: no label has one")
	}
}

// mounts checks and completes the mounts of one file, before they are compared.
func (c checker) mounts() {
	for i := range c.Filesystem.Mounts {
		c.Filesystem.Mounts[i].Check(c.Report, document.At("filesystem", "mounts").Index(i))
	}
}

func (c checker) filesystem() {
	p := document.At("filesystem")
	targets := make(map[string]bool)
	once := func(p document.Path, target string) {
		if targets[target] {
			c.Fail(p, "%q is a target already", target)
		}
		targets[target] = true
	}
	for i, m := range c.Filesystem.Mounts {
		once(p.Key("mounts").Index(i), m.Target)
	}
	for i, t := range c.Filesystem.Tmpfs {
		p := p.Key("tmpfs").Index(i)
		switch {
		case !c.Absolute(p.Key("target"), t.Target):
		case hostpath.NoTarget(t.Target):
			c.Fail(p.Key("target"), "%q cannot be a target: the sandbox has its own", t.Target)
		case t.Size == 0 && !c.HasFailed(p):
			c.Fail(p.Key("size"), `is missing: say how much fits in, as in "64M"`)
		default:
			once(p, t.Target)
		}
	}
	for i, path := range c.Filesystem.Hidden {
		if p := p.Key("hidden").Index(i); c.Absolute(p, path) && path == "/" {
			c.Fail(p, "can't be all there is: name a file or a folder of the image")
		}
	}
}

// Check records what is wrong with a mount, which stands at p. It completes m, and
// replaces its source by the real path, which is then opened without following
// links.
func (m *Mount) Check(r *document.Report, p document.Path) bool {
	if m.Target == "" {
		m.Target = m.Source
	}
	if m.Access == "" {
		m.Access = "ro"
	}
	m.NoExec = m.NoExec || m.Access == "rw"
	source, target := p.Key("source"), p.Key("target")
	if r.HasFailed(p) || !r.Absolute(source, m.Source) || !r.Absolute(target, m.Target) {
		return false
	}
	real, err := hostpath.Resolve(m.Source)
	switch {
	case hostpath.NoSource(m.Source):
		r.Fail(source, "%q is a system path: name the folder of the program", m.Source)
	case errors.Is(err, fs.ErrNotExist):
		r.Warn(source, "%q does not exist: the server cannot start before it does", m.Source)
	case errors.Is(err, fs.ErrPermission):
		r.Warn(source, "%q cannot be looked at: %v", m.Source, err)
	case err != nil:
		r.Fail(source, "%q cannot be used: %v", m.Source, err)
	case hostpath.NoSource(real):
		r.Fail(source, "%q leads to %q, which is a system path", m.Source, real)
	}
	if err == nil {
		m.Source = real
	}
	if m.Access == "rw" && hostpath.IsSystem(m.Source) {
		r.Fail(source, "%q is a system path, which no server may write: use access = \"ro\"", m.Source)
	}
	if hostpath.NoTarget(m.Target) {
		r.Fail(target, "%q cannot be a target: the sandbox has its own", m.Target)
	}
	return !r.HasFailed(p) && !r.HasFailed(source) && !r.HasFailed(target)
}

func (c checker) network() {
	p := document.At("network")
	for i, text := range c.Network.Allow {
		if _, err := policy.ParseTarget(text); err != nil {
			c.Fail(p.Key("allow").Index(i), "%v", err)
		}
	}
	for i, text := range c.Network.Private {
		if _, err := policy.ParsePrivate(text); err != nil {
			c.Fail(p.Key("private").Index(i), "%v", err)
		}
	}
	onlyAllow := func(key string, list []string) {
		if c.Network.Mode != "allow" && len(list) > 0 {
			c.Fail(p.Key(key), "has no meaning with network.mode %q: write mode = \"allow\", or %s = []", c.Network.Mode, key)
		}
	}
	onlyAllow("allow", c.Network.Allow)
	onlyAllow("private", c.Network.Private)
}

func (c checker) namespaces() {
	p := document.At("namespaces", "private")
	for i, name := range c.Namespaces.Private {
		if slices.Index(c.Namespaces.Private, name) < i {
			c.Fail(p.Index(i), "%q is there twice", name)
		}
		c.OneOf(p.Index(i), name, namespaces)
	}
	for _, name := range namespaces {
		has, isHosts := slices.Contains(c.Namespaces.Private, name), name == "net" && c.Network.Mode == "host"
		switch {
		case has && isHosts:
			c.Fail(p, `has "net", but network.mode is "host": leave "net" out, or write mode = "none"`)
		case !has && name == "net" && !isHosts:
			c.Fail(p, `lacks "net": add it, or write network.mode = "host" to give servers the host's network`)
		case !has && name != "net":
			c.Fail(p, "lacks %q: a server always has its own: add it", name)
		}
	}
}
