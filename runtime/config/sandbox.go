package config

import (
	"fmt"
	"slices"

	"mcpgateway/policy"
	"mcpgateway/policy/profile"
	"mcpgateway/runtime/document"
)

// builtIn is the origin of a value that no file writes.
const builtIn = "built in"

// overlay lays the settings of one server over its profile.
type overlay struct {
	*checker
	*Server
	p       document.Path
	own     *profile.Effective // of this server alone
	project Project
}

// sandbox gives s the profile that it names, with its own settings laid over it.
func (c *checker) sandbox(p document.Path, s *Server, project Project) {
	found, ok := c.profiles.Get(s.Profile)
	if !ok {
		c.OneOf(p.Key("profile"), s.Profile, c.profiles.Names())
		found, _ = c.profiles.Get("default") // so that the rest is judged all the same
	}
	s.Sandbox = found.Clone()
	o := &overlay{c, s, p, s.Sandbox, project}
	o.resources()
	o.network()
	o.directories()
	o.mounts()
}

// resources settles the three limits that a server, its project and the file's
// defaults may set, too.
func (o *overlay) resources() {
	r, defaults, ceiling, l := &o.Resources, o.config.Resources, o.project.Resources, &o.own.Limits
	const mib = 1 << 20
	memory := o.limit("max_memory_mb", "limits.memory_max",
		float64(r.MaxMemoryMB), float64(defaults.MaxMemoryMB), float64(ceiling.MaxMemoryMB), float64(l.MemoryMax)/mib)
	cpu := o.limit("max_cpu", "limits.cpu_max", r.MaxCPU, defaults.MaxCPU, ceiling.MaxCPU, l.CPUMax)
	pids := o.limit("max_pids", "limits.pids_max", float64(r.MaxPIDs), float64(defaults.MaxPIDs), float64(ceiling.MaxPIDs), float64(l.PIDsMax))
	l.MemoryMax, l.CPUMax, l.PIDsMax = profile.Size(memory*mib), cpu, int(pids)
	*r = Resources{MaxMemoryMB: int(memory), MaxCPU: cpu, MaxPIDs: int(pids)}
}

// limit is the server's own value, or else the file's default, or else the
// profile's, or else the built-in one. What is written for the server does not give
// way to the project's ceiling or to the profile's limit, but is refused; the file's
// default gives way to the ceiling, which is for all servers of the project
// together, but not silently to the profile.
func (o *overlay) limit(key, limits string, own, standard, ceiling, most float64) float64 {
	at, inDefaults, inProject := o.p.Key("resources").Key(key), document.At("resources", key), document.At("projects", o.Project, "resources", key)
	value, origin, blame, is := own, o.Line(at), at, "is"
	switch {
	case own > 0:
		if ceiling > 0 && own > ceiling {
			o.Fail(at, "is %v, above the ceiling of project %q, which is %v", own, o.Project, ceiling)
		}
	case o.Given(inDefaults):
		value, origin, blame, is = standard, o.Line(inDefaults), o.p.Key("profile"), fmt.Sprintf("%s (%s) is", inDefaults, o.Line(inDefaults))
	case most > 0:
		value, origin = most, o.own.Origin[limits]
	default:
		value, origin = standard, builtIn
	}
	if own == 0 && ceiling > 0 && value > ceiling {
		value, origin = ceiling, o.Line(inProject)
	}
	if most > 0 && value > most && !o.AllowWeaker {
		o.Fail(blame, "%s %v, above %s of profile %q, which is %v (%s): lower it for this server, or write allow_weaker: true",
			is, value, limits, o.own.Name, most, o.own.Origin[limits])
	}
	o.own.Origin[limits] = origin
	return value
}

// network adds what the server may reach to a profile that has a list.
func (o *overlay) network() {
	at := o.p.Key("network")
	n := &o.own.Network
	for i, entry := range o.Network {
		if _, err := policy.ParseTarget(entry); err != nil {
			o.Fail(at.Index(i), "%v", err)
		}
	}
	switch {
	case len(o.Network) == 0:
		if n.Mode == "allow" && len(n.Allow) == 0 && o.Enabled {
			o.Warn(o.p.Key("profile"), "profile %q allows no name: write the server's own below network", o.own.Name)
		}
	case n.Mode == "none":
		o.Fail(at, "profile %q has no network: write profile: network-client, or one that extends it", o.own.Name)
	case n.Mode == "host":
		o.Fail(at, "profile %q gives the host's whole network: remove network, or name a profile that has a list", o.own.Name)
	default:
		n.Allow = slices.Concat(n.Allow, o.Network)
		o.own.Origin["network.allow"] = o.Line(at)
	}
}

// directories keeps a server's directories to what its profile gives at most.
func (o *overlay) directories() {
	most := &o.own.Filesystem.Directories
	all := o.serverDirectories(o.p, o.Server, o.project.AllowedDirectories)
	for i, d := range all {
		at := d.at
		if at == "" {
			at = o.p.Key("profile")
		}
		allowed := o.AllowWeaker || *most == "rw" || *most == "ro" && d.Access != AccessReadWrite
		switch {
		case !allowed && *most == "none":
			o.Fail(at, "profile %q shows no directories, and there is %q: take it away, name another profile, or write allow_weaker: true", o.own.Name, d.Path)
		case !allowed:
			o.Fail(at, "profile %q shows directories for reading only, and %q is rw: write access: ro, name another profile, or write allow_weaker: true", o.own.Name, d.Path)
		case *most != "rw" && d.Access == AccessDefault:
			all[i].Access = AccessReadOnly
		}
	}
	o.AllowedDirectories = directories(all)
	if weaker := widest(o.AllowedDirectories); *most == "none" && weaker != "none" || *most == "ro" && weaker == "rw" {
		*most, o.own.Origin["filesystem.directories"] = weaker, o.Line(o.p.Key("allow_weaker"))
	}
}

// widest is what directories come to as a value of a profile.
func widest(all []Directory) string {
	access := "none"
	for _, d := range all {
		if d.Access != AccessReadOnly {
			return "rw"
		}
		access = "ro"
	}
	return access
}

// mounts adds the server's programs to those of the profile.
func (o *overlay) mounts() {
	at, f := o.p.Key("mounts"), &o.own.Filesystem
	targets := make(map[string]bool)
	for _, m := range f.Mounts {
		targets[m.Target] = true
	}
	for _, t := range f.Tmpfs {
		targets[t.Target] = true
	}
	f.Mounts = slices.Clip(f.Mounts) // the profile's stay as they are
	for i, m := range o.Mounts {
		p, own := at.Index(i), profile.Mount{Source: m.Source, Target: m.Target}
		if !own.Check(o.Report, p) {
			continue
		}
		if targets[own.Target] {
			o.Fail(p, "%q is the target of another mount already", own.Target)
		}
		targets[own.Target] = true
		f.Mounts = append(f.Mounts, own)
		o.Mounts[i] = Mount{own.Source, own.Target}
		o.own.Origin["filesystem.mounts"] = o.Line(at)
	}
}
