package clients

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"mcpgateway/runtime/document"
)

// Host is what is known of the host that servers are to run on.
type Host struct {
	Secrets string                                        // folder of the files that secrets are to be in
	Home    string                                        // of whoever the file belongs to
	Lookup  func(variable string) (string, bool)          // in the environment
	Mount   func(command string) (folder, problem string) // to make visible; both "" if it is
	// Registry is where a program such as npx fetches others from, "HOST:PORT"; "" if that
	// is not known.
	Registry func(command string) string
}

// Entry is a server for the gateway's configuration.
type Entry struct {
	Name        string
	Comments    []string // lines
	Command     string
	Args        []string
	Env         map[string]string // with references
	Profile     string
	Network     []string
	Mounts      []string
	Directories []string
	Dir         string
	Off         bool
	Secrets     []Secret
}

// Secret is a value that the configuration only refers to.
type Secret struct {
	File     string // that the configuration names
	Variable string // of the server
	About    string // what it is, for people
	Value    string
	Known    bool // or somebody must write it
}

// Skipped is a server that the gateway can't have, and why.
type Skipped struct{ Name, Reason string }

// Convert makes entries of the servers of a file.
func (f *File) Convert(h Host) (entries []Entry, skipped []Skipped) {
	for _, s := range f.Servers {
		c := converter{file: f, host: h, server: s}
		if reason := c.refuse(); reason != "" {
			skipped = append(skipped, Skipped{s.Name, reason})
			continue
		}
		c.convert()
		entries = append(entries, c.entry)
	}
	return entries, skipped
}

// converter makes one entry.
type converter struct {
	file   *File
	host   Host
	server Server
	entry  Entry
}

func (c *converter) comment(format string, args ...any) {
	c.entry.Comments = append(c.entry.Comments, fmt.Sprintf(format, args...))
}

// refuse says why the gateway can't have a server, "" if it can.
func (c *converter) refuse() string {
	s := c.server
	if s.Command == "" {
		where := "another host"
		if u, err := url.Parse(s.URL); err == nil && u.Host != "" {
			where = u.Host
		}
		return fmt.Sprintf("it is reached over the network, at %s: the gateway runs servers itself, in sandboxes, and passes nothing on to others", where)
	}
	if base := filepath.Base(s.Command); base == "docker" || base == "podman" || base == "nerdctl" {
		return fmt.Sprintf("%s needs its daemon's socket, which is root's access to this host and in no sandbox: install the program that is in its image, and name that", base)
	}
	if !document.IsName(nameOf(s.Name)) {
		return "nothing of its name can be a name here: " + document.NameHelp
	}
	return ""
}

var notInNames = regexp.MustCompile(`[^a-z0-9._-]+`)

// nameOf makes a name of the gateway's of a client's.
func nameOf(name string) string {
	name = notInNames.ReplaceAllString(strings.ToLower(name), "-")
	if len(name) > 64 {
		name = name[:64]
	}
	return strings.Trim(name, "-._")
}

func (c *converter) convert() {
	s := c.server
	c.entry = Entry{Name: nameOf(s.Name), Env: map[string]string{}, Off: s.Off}
	if c.entry.Name != s.Name {
		c.comment("was called %q", s.Name)
	}
	args := slices.Clone(s.Args)
	command := c.path(s.Command)
	if base := strings.ToLower(filepath.Base(command)); (base == "cmd" || base == "cmd.exe") && len(args) > 1 && strings.EqualFold(args[0], "/c") {
		command, args = args[1], args[2:] // as it is written for Windows
	}
	c.entry.Command = literal(command)
	if strings.HasSuffix(strings.ToLower(command), ".exe") {
		c.comment("%s is a program for Windows: name that of this host", command)
	}
	if folder, problem := c.host.Mount(command); folder != "" {
		c.mount(folder)
	} else if problem != "" {
		c.comment("%s", problem)
	}
	c.kind(filepath.Base(command))
	c.dir()
	for i, arg := range args {
		c.arg(arg, slices.Concat([]string{""}, args)[i])
	}
	c.entry.Mounts = slices.DeleteFunc(c.entry.Mounts, c.writable)
	c.env()
}

// writable reports whether a folder of programs lies where the server may write: it is
// seen there, and a mount for it is refused.
func (c *converter) writable(folder string) bool {
	return slices.ContainsFunc(c.entry.Directories, func(d string) bool { return folder == d || strings.HasPrefix(folder, d+"/") })
}

// kind chooses what servers of a kind need.
func (c *converter) kind(command string) {
	fetched := func(tool, install string) {
		c.entry.Profile = "network-client"
		if registry := c.host.Registry(tool); registry != "" {
			c.entry.Network = []string{registry}
		} else {
			c.comment("it needs the registry that %s fetches from: network: [\"HOST:443\"]", tool)
		}
		c.comment("%s fetches the program whenever an instance starts: %s is faster, and needs no network", tool, install)
		c.comment("add what the server itself connects to: network: [..., \"api.example.com:443\"]")
	}
	switch command {
	case "npx", "bunx", "pnpm", "yarn":
		fetched(command, "npm install --global, and its command,")
	case "uvx", "uv", "pipx":
		fetched(command, "uv tool install, and its command,")
	case "node", "bun":
		c.entry.Profile = "node"
	case "python", "python3":
		c.entry.Profile = "python"
	}
	if c.entry.Profile != "network-client" {
		c.comment(`it has no network: if it needs one, profile: network-client and network: ["api.example.com:443"]`)
	}
}

func (c *converter) dir() {
	if c.server.Dir == "" {
		return
	}
	dir := c.path(c.server.Dir)
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		c.comment("its working directory %s is not here", dir)
		return
	}
	c.directory(dir)
	c.entry.Dir = literal(dir)
}

// codeFlags are flags whose value is a folder of programs.
var codeFlags = []string{"--directory", "--project", "--prefix", "--cwd", "-C"}

// arg takes an argument; before is the one before it.
func (c *converter) arg(arg, before string) {
	if name, secret := secretArg(arg, before); secret {
		variable := strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(c.entry.Name)) + "_ARG_" + fmt.Sprint(len(c.entry.Args)+1)
		c.comment("argument %d holds a secret, which every user of this host would see: give it in env, if the server takes it there,", len(c.entry.Args)+1)
		c.comment("or set the variable %s of the daemon", variable)
		c.entry.Args = append(c.entry.Args, literal(name)+"${"+variable+":-}")
		return
	}
	text, plain := c.expand(arg, func(reference string) string {
		name, _, _ := strings.Cut(reference, ":-")
		if name == reference {
			reference += ":-"
		}
		c.comment("an argument needs the variable %s of the daemon, whose value every user of this host will see", name)
		return "${" + reference + "}"
	})
	c.entry.Args = append(c.entry.Args, text)
	if path := c.existing(plain); path != "" {
		info, err := os.Stat(path)
		switch {
		case err != nil:
		case !info.IsDir():
			c.mount(packageOf(path))
		case slices.Contains(codeFlags, before):
			c.mount(path)
		default:
			c.directory(path)
		}
		if path != plain {
			c.entry.Args[len(c.entry.Args)-1] = literal(path)
		}
	}
}

// existing is the absolute path that an argument names, "" if there is none.
func (c *converter) existing(arg string) string {
	if !strings.Contains(arg, "/") || strings.Contains(arg, "://") || strings.HasPrefix(arg, "-") {
		return ""
	}
	path := c.path(arg)
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// path makes a path absolute, as the client would. A name without a slash stays one.
func (c *converter) path(path string) string {
	_, path = c.expand(path, func(reference string) string { return "${" + reference + "}" })
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		return filepath.Join(c.host.Home, rest)
	}
	if strings.HasPrefix(path, "/") || !strings.Contains(path, "/") {
		return path
	}
	if strings.HasPrefix(path, "@") {
		return path // a package's name
	}
	return filepath.Join(c.file.Folder, path)
}

// packageOf is the folder that a program's file needs: that of its package, or its own.
func packageOf(file string) string {
	for dir := filepath.Dir(file); dir != "/"; dir = filepath.Dir(dir) {
		for _, mark := range []string{"package.json", "pyproject.toml", "node_modules"} {
			if _, err := os.Stat(filepath.Join(dir, mark)); err == nil {
				return dir
			}
		}
	}
	return filepath.Dir(file)
}

func (c *converter) mount(folder string) {
	if folder = literal(folder); !slices.Contains(c.entry.Mounts, folder) && !strings.HasPrefix(folder, "/usr/") {
		c.entry.Mounts = append(c.entry.Mounts, folder)
	}
}

func (c *converter) directory(folder string) {
	if folder = literal(folder); !slices.Contains(c.entry.Directories, folder) {
		c.entry.Directories = append(c.entry.Directories, folder)
	}
}

// env makes references of what may be secret.
func (c *converter) env() {
	all := c.envFile()
	maps.Copy(all, c.server.Env)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		value := all[name]
		if !placeholder.MatchString(value) && harmless(name, value) {
			c.entry.Env[name] = literal(value)
			continue
		}
		secret := Secret{File: filepath.Join(c.host.Secrets, c.entry.Name+"."+fileName(name)), Variable: name}
		secret.Value, secret.Known, secret.About = c.resolve(value)
		c.entry.Secrets = append(c.entry.Secrets, secret)
		c.entry.Env[name] = "${file:" + secret.File + "}"
	}
}

// fileName keeps a variable's name from being a path.
func fileName(variable string) string {
	return regexp.MustCompile(`[^A-Za-z0-9_]`).ReplaceAllString(variable, "_")
}

// resolve finds the value that a client would use, if that can be had here.
func (c *converter) resolve(value string) (resolved string, known bool, about string) {
	known, about = true, "the value in "+c.file.Path
	resolved = placeholder.ReplaceAllStringFunc(value, func(found string) string {
		inner := found[2 : len(found)-1]
		if id, ok := strings.CutPrefix(inner, "input:"); ok {
			known, about = false, "what the client asks for as "+fmt.Sprintf("%q", id)
			if text := c.file.Inputs[id]; text != "" {
				about += fmt.Sprintf(" (%s)", text)
			}
			return ""
		}
		if text, ok := c.place(inner); ok {
			return text
		}
		name, otherwise, has := strings.Cut(strings.TrimPrefix(inner, "env:"), ":-")
		text, ok := c.host.Lookup(name)
		if !ok && !has {
			known, about = false, "the variable "+name+" of the client's environment"
		}
		if !ok || text == "" {
			return otherwise
		}
		about = "the variable " + name
		return text
	})
	return resolved, known, about
}

// maxEnvFile is the largest file of variables in bytes.
const maxEnvFile = 1 << 20

// envFile reads the variables in a file that the client would read, if it lies in the
// workspace: who wrote the client's file may not be who may read others.
func (c *converter) envFile() map[string]string {
	all := map[string]string{}
	if c.server.EnvFile == "" {
		return all
	}
	path := c.path(c.server.EnvFile)
	if !strings.Contains(path, "/") {
		path = filepath.Join(c.file.Folder, path)
	}
	file, err := c.openInside(path)
	if err != nil {
		c.comment("its variables are in %s, which is not read here: add them to env", path)
		return all
	}
	defer file.Close()
	lines := bufio.NewScanner(io.LimitReader(file, maxEnvFile))
	for lines.Scan() {
		line := strings.TrimPrefix(strings.TrimSpace(lines.Text()), "export ")
		name, value, found := strings.Cut(line, "=")
		if !found || strings.HasPrefix(line, "#") {
			continue
		}
		value = strings.TrimSpace(value)
		if len(value) > 1 && (value[0] == '"' || value[0] == '\'') && value[len(value)-1] == value[0] {
			value = value[1 : len(value)-1]
		}
		all[strings.TrimSpace(name)] = value
	}
	return all
}

// openInside opens a regular file of the workspace. No link leads out of it.
func (c *converter) openInside(path string) (*os.File, error) {
	inside, err := filepath.Rel(c.file.Folder, path)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(c.file.Folder)
	if err != nil {
		return nil, err
	}
	defer root.Close() //nolint:errcheck // nothing was written
	info, err := root.Stat(inside)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", path)
	}
	return root.Open(inside)
}
