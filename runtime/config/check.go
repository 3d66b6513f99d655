package config

import (
	"cmp"
	"maps"
	"slices"

	"mcpgateway/policy/profile"
	"mcpgateway/runtime/document"
)

const (
	defaultProject = "default"
	uidsPerSandbox = 1 << 16
)

// checker judges a decoded Config and completes it.
type checker struct {
	*document.Report
	config   *Config
	host     host
	profiles *profile.Set // nil if they have mistakes
}

func (c *checker) check() {
	if c.HasFailed("") {
		return
	}
	c.secrets()
	c.projects()
	for _, name := range slices.Sorted(maps.Keys(c.config.Servers)) {
		server := c.config.Servers[name]
		c.server(document.At("servers", name), name, &server)
		c.config.Servers[name] = server
	}
	if c.profiles != nil {
		c.nesting()
	}
	c.transports()
	c.authentication()
	c.audit()
	c.gatewayLimits()
	c.toolPins()
	c.operation()
	c.uidPool()
}

// name records an error beside others: a bad name hides no other mistake.
func (c *checker) name(p document.Path, name string) {
	if !document.IsName(name) {
		c.Add(p, "%s", document.NameHelp)
	}
}

func (c *checker) projects() {
	if c.config.Projects == nil {
		c.config.Projects = make(map[string]Project)
	}
	for _, name := range slices.Sorted(maps.Keys(c.config.Projects)) {
		p, project := document.At("projects", name), c.config.Projects[name]
		c.name(p, name)
		project.AllowedDirectories = directories(c.listed(p.Key("allowed_directories"), project.AllowedDirectories))
		c.rate(p.Key("rate_limit"), &project.RateLimit)
		c.config.Projects[name] = project
	}
	if _, ok := c.config.Projects[defaultProject]; !ok {
		c.config.Projects[defaultProject] = Project{}
	}
}

func (c *checker) server(p document.Path, name string, s *Server) {
	c.name(p, name)
	if s.Enabled && s.Command == "" {
		c.Fail(p.Key("command"), "is missing: name the program to run, or write enabled: false")
	}
	c.variableNames(p.Key("env"), s.Env)

	project, known := c.config.Projects[s.Project]
	if !known && !c.HasFailed(document.At("projects")) {
		c.OneOf(p.Key("project"), s.Project, slices.Sorted(maps.Keys(c.config.Projects)))
	}
	if c.profiles != nil {
		c.sandbox(p, s, project)
	}
	c.instances(p, s)
	c.limits(p, s)
	c.supervision(p, s)
	if s.WorkingDirectory == "" && len(s.AllowedDirectories) > 0 {
		s.WorkingDirectory = s.AllowedDirectories[0].Path
	}
	s.WorkingDirectory = cmp.Or(s.WorkingDirectory, "/tmp")
}

// uidPool keeps the pool above the ids of people and below 2^31, where ids
// turn negative in programs that hold them in an int.
func (c *checker) uidPool() {
	pool, p := c.config.Sandbox.UIDPool, document.At("sandbox", "uid_pool")
	if pool.Start%uidsPerSandbox != 0 {
		c.Fail(p.Key("start"), "is %d, want a multiple of %d: write %d", pool.Start, uidsPerSandbox, pool.Start/uidsPerSandbox*uidsPerSandbox)
	}
	if most := (1<<31 - pool.Start) / uidsPerSandbox; pool.Count > most && !c.HasFailed(p.Key("start")) {
		c.Fail(p.Key("count"), "is %d, but only %d ranges fit between start and 2147483648", pool.Count, most)
	}
}
