package config

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mcpgateway/policy/profile"
)

// with loads a configuration, in YAML, beside profiles of the host's own.
func with(t *testing.T, content string, profiles map[string]string) (c *Config, file, dir string, warnings, err string) {
	t.Helper()
	file = write(t, "gateway.yaml", content)
	dir = filepath.Join(filepath.Dir(file), "profiles")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range profiles {
		if err := os.WriteFile(filepath.Join(dir, name+".toml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	on := testHost(1000)
	on.profiles = profile.Load
	c, found, loadErr := parse(file, []byte(content), unset, on)
	if loadErr != nil {
		err = loadErr.Error()
	}
	return c, file, dir, found.Error(), err
}

func TestServersProfile(t *testing.T) {
	t.Parallel()
	root := tree(t)
	content := strings.ReplaceAll(`
projects:
  small: {resources: {max_memory_mb: 100}}
servers:
  plain: {command: c}
  own: {command: c, profile: tight, resources: {max_pids: 5}, mounts: ["{}/a:/opt/a"], allowed_directories: ["{}/b"]}
  small: {command: c, project: small, profile: strict}
  net: {command: c, profile: network-client, network: ["api.example.com:443", "*.example.org:80"]}
  loose: {command: c, profile: tight, allow_weaker: true, resources: {max_pids: 50}, allowed_directories: ["{}/b:rw"]}
`, "{}", root)
	c, file, dir, warnings, err := with(t, content, map[string]string{"tight": strings.ReplaceAll(`
extends = "strict"
allow_weaker = true
[filesystem]
mounts = [{source = "{}/c", target = "/opt/c", noexec = true}]
[limits]
pids_max = 9
`, "{}", root)})
	if err != "" || warnings != "" {
		t.Fatalf("got %s, warnings %s", err, warnings)
	}
	type values struct {
		memory      profile.Size
		cpu         float64
		pids        int
		directories string
		mounts      []profile.Mount
		allow       []string
	}
	mounts := []profile.Mount{{Source: root + "/c", Target: "/opt/c", Access: "ro", NoExec: true}, {Source: root + "/a", Target: "/opt/a", Access: "ro"}}
	for name, want := range map[string]values{
		"plain": {512 << 20, 1, 256, "rw", nil, nil},
		"own":   {256 << 20, 1, 5, "ro", mounts, nil},
		"small": {100 << 20, 1, 64, "ro", nil, nil},
		"net":   {512 << 20, 1, 256, "rw", nil, []string{"api.example.com:443", "*.example.org:80"}},
		"loose": {256 << 20, 1, 50, "rw", mounts[:1], nil},
	} {
		s := c.Servers[name]
		e := s.Sandbox
		got := values{e.Limits.MemoryMax, e.Limits.CPUMax, e.Limits.PIDsMax, e.Filesystem.Directories, e.Filesystem.Mounts, e.Network.Allow}
		if got.memory != want.memory || got.cpu != want.cpu || got.pids != want.pids || got.directories != want.directories ||
			!slices.Equal(got.mounts, want.mounts) || !slices.Equal(got.allow, want.allow) {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
		if want := (Resources{int(want.memory >> 20), want.cpu, want.pids}); s.Resources != want {
			t.Errorf("%s: got resources %+v, want the same ones, %+v", name, s.Resources, want)
		}
	}
	if got := c.Servers["own"].AllowedDirectories[0].Access; got != AccessReadOnly {
		t.Errorf("directory below a profile with ro: got access %q", got)
	}
	for _, tt := range []struct{ server, key, want string }{
		{"plain", "limits.memory_max", "built in"},
		{"own", "limits.pids_max", file + ":6"},
		{"own", "filesystem.mounts", file + ":6"},
		{"own", "filesystem.tmp_size", "shipped/strict.toml:"},
		{"small", "limits.memory_max", file + ":3"},
		{"small", "limits.pids_max", "shipped/strict.toml:"},
		{"net", "network.allow", file + ":8"},
		{"loose", "filesystem.directories", file + ":9"},
		{"loose", "filesystem.mounts", dir + "/tight.toml:5"},
	} {
		if got := c.Servers[tt.server].Sandbox.Origin[tt.key]; !strings.HasPrefix(got, tt.want) {
			t.Errorf("origin of %s of %s: got %q, want %q", tt.key, tt.server, got, tt.want)
		}
	}
}

// What the file's defaults say holds for profiles with a higher limit, too.
func TestWrittenDefaultsAndProfiles(t *testing.T) {
	t.Parallel()
	c, file, _, _, err := with(t, "resources: {max_memory_mb: 100}\nservers:\n  a: {command: c, profile: strict}\n  b: {command: c, profile: browser, network: [\"a.example:1\"]}\n", nil)
	if err != "" {
		t.Fatal(err)
	}
	for name, want := range map[string]Resources{"a": {100, 1, 64}, "b": {100, 2, 1024}} {
		s := c.Servers[name]
		if s.Resources != want || s.Sandbox.Origin["limits.memory_max"] != file+":1" {
			t.Errorf("%s: got %+v from %s, want %+v", name, s.Resources, s.Sandbox.Origin["limits.memory_max"], want)
		}
	}
}

func TestProfileMistakes(t *testing.T) {
	t.Parallel()
	root := tree(t)
	for _, tt := range []struct {
		name, content string
		profiles      map[string]string
		want          string // {} stands for the configuration, [] for the folder of profiles
	}{
		{"unknown", "servers: {s: {command: c, profile: strickt}}", nil, `{}:1:36: servers.s.profile: is "strickt": did you mean "strict"?`},
		{"both files", "a: 1\nservers: {s: {command: c}}", map[string]string{"x": "b = 1\n[limits]\npids_max = 1\n"},
			"{}:1:1: a: unknown key: known here are version, gateway, projects, servers, transports, security, rate_limit, max_concurrent, max_sessions, max_connections, health_check, resources, audit, service_discovery, sandbox, secrets, metrics, tracing, logging, usage\n" +
				"[]/x.toml:1:1: b: unknown key: known here are description, extends, allow_weaker, filesystem, network, syscalls, capabilities, namespaces, limits, rlimits, environment, time, landlock, lsm\n" +
				"[]/x.toml:3:12: limits.pids_max: is 1, want 0 or 2 to 4194304"},
		{"above the profile", "servers:\n  s: {command: c, profile: strict, resources: {max_memory_mb: 257, max_cpu: 1.5, max_pids: 65}}", nil,
			"{}:2:63: servers.s.resources.max_memory_mb: is 257, above limits.memory_max of profile \"strict\", which is 256 (shipped/strict.toml:N): lower it for this server, or write allow_weaker: true\n" +
				"{}:2:77: servers.s.resources.max_cpu: is 1.5, above limits.cpu_max of profile \"strict\", which is 1 (shipped/strict.toml:N): lower it for this server, or write allow_weaker: true\n" +
				"{}:2:92: servers.s.resources.max_pids: is 65, above limits.pids_max of profile \"strict\", which is 64 (shipped/strict.toml:N): lower it for this server, or write allow_weaker: true"},
		{"default above the profile", "resources: {max_memory_mb: 512}\nservers: {s: {command: c, profile: strict}}", nil,
			"{}:2:36: servers.s.profile: resources.max_memory_mb ({}:1) is 512, above limits.memory_max of profile \"strict\", which is 256 (shipped/strict.toml:N): lower it for this server, or write allow_weaker: true"},
		{"no network", "servers: {s: {command: c, network: [\"a.example:443\"]}}", nil,
			`{}:1:27: servers.s.network: profile "default" has no network: write profile: network-client, or one that extends it`},
		{"host's network", "servers: {s: {command: c, profile: h, network: [\"a.example:443\"]}}",
			map[string]string{"h": "allow_weaker = true\n[network]\nmode = \"host\"\n[namespaces]\nprivate = [\"user\", \"mount\", \"pid\", \"ipc\", \"uts\", \"cgroup\"]"},
			`{}:1:39: servers.s.network: profile "h" gives the host's whole network: remove network, or name a profile that has a list`},
		{"bad name", "servers: {s: {command: c, profile: network-client, network: [a.example]}}", nil,
			`{}:1:62: servers.s.network[0]: allow "a.example": it needs a port: write name:port`},
		{"rw below ro", "servers: {s: {command: c, profile: strict, allowed_directories: [\"" + root + "/b:rw\"]}}", nil,
			`{}:1:66: servers.s.allowed_directories[0]: profile "strict" shows directories for reading only, and "` + root + `/b" is rw: write access: ro, name another profile, or write allow_weaker: true`},
		{"project's rw below ro", "projects: {p: {allowed_directories: [\"" + root + "/b:rw\"]}}\nservers: {s: {command: c, project: p, profile: strict}}", nil,
			`{}:2:48: servers.s.profile: profile "strict" shows directories for reading only, and "` + root + `/b" is rw: write access: ro, name another profile, or write allow_weaker: true`},
		{"none", "servers: {s: {command: c, profile: x, allowed_directories: [\"" + root + "/b:ro\"]}}", map[string]string{"x": "[filesystem]\ndirectories = \"none\""},
			`{}:1:61: servers.s.allowed_directories[0]: profile "x" shows no directories, and there is "` + root + `/b": take it away, name another profile, or write allow_weaker: true`},
		{"target of the profile", "servers: {s: {command: c, profile: x, mounts: [\"/usr/share/a:/opt/a\", \"/usr/share/b:/opt/b\"]}}",
			map[string]string{"x": "allow_weaker = true\n[filesystem]\nmounts = [{source = \"/usr/share\", target = \"/opt/a\"}]\ntmpfs = [{target = \"/opt/b\", size = \"1M\"}]"},
			"{}:1:48: servers.s.mounts[0]: \"/opt/a\" is the target of another mount already\n{}:1:71: servers.s.mounts[1]: \"/opt/b\" is the target of another mount already"},
		{"program where the profile writes", "servers: {s: {command: c, mounts: [\"" + root + "/a\"]}, w: {command: c, profile: x}}",
			map[string]string{"x": "allow_weaker = true\n[filesystem]\nmounts = [{source = \"" + root + "\", target = \"/w\", access = \"rw\"}]"},
			`{}:1:36: servers.s.mounts[0]: "` + root + `/a" lies in "` + root + `", which server "w" may write: keep programs elsewhere, or make it read-only`},
		{"the profile's program where a server writes", "servers: {s: {command: c, profile: x, allowed_directories: [\"" + root + "/a:rw\"]}}",
			map[string]string{"x": "allow_weaker = true\n[filesystem]\nmounts = [{source = \"" + root + "/a/inner\", target = \"/w\"}]"},
			`{}:1:36: servers.s.profile: "` + root + `/a/inner" lies in "` + root + `/a", which server "s" may write: keep programs elsewhere, or make it read-only`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, file, dir, _, got := with(t, tt.content, tt.profiles)
			got = regexp.MustCompile(`(shipped/.*\.toml):[0-9]+`).ReplaceAllString(got, "$1:N")
			if want := strings.NewReplacer("{}", file, "[]", dir).Replace(tt.want); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if !strings.Contains(tt.want, "allow_weaker: true") {
				return
			}
			weaker := strings.ReplaceAll(tt.content, "command: c", "allow_weaker: true, command: c")
			c, _, _, _, got := with(t, weaker, tt.profiles)
			if got != "" {
				t.Fatalf("with allow_weaker: got %s", got)
			}
			for _, name := range slices.Sorted(maps.Keys(c.Servers)) {
				s := c.Servers[name]
				for _, d := range s.AllowedDirectories {
					if d.Access == AccessReadWrite && s.Sandbox.Filesystem.Directories != "rw" || s.Sandbox.Filesystem.Directories == "none" {
						t.Errorf("with allow_weaker: directories are %s, and there is %+v", s.Sandbox.Filesystem.Directories, d)
					}
				}
			}
		})
	}
}

func TestProfilesFolder(t *testing.T) {
	t.Parallel()
	other := t.TempDir()
	if err := os.WriteFile(other+"/mine.toml", []byte("[filesystem]\ntmp_size = \"1M\"\nhidden = []\nmounts = []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, _, _, err := with(t, "sandbox: {profiles: "+other+"}\nservers: {s: {command: c, profile: mine}}", nil)
	if err != "" || c.Servers["s"].Sandbox.Filesystem.TmpSize != 1<<20 {
		t.Errorf("got %s, want the profile of the folder that the file names", err)
	}
	_, file, _, warnings, err := with(t, "sandbox: {profiles: "+other+"/none}", nil)
	if want := file + `:1:21: sandbox.profiles: "` + other + `/none" does not exist: there are only the shipped profiles`; err != "" || warnings != want {
		t.Errorf("got %s and %s, want %s", err, warnings, want)
	}
	if _, file, _, _, err := with(t, "sandbox: {profiles: none}\nservers: {s: {command: c}}", nil); err != file+`:1:21: sandbox.profiles: is "none", want an absolute path` {
		t.Errorf("got %s", err)
	}
	if err := os.Chmod(other, 0o722); err != nil {
		t.Fatal(err)
	}
	if _, _, _, _, err := with(t, "sandbox: {profiles: "+other+"}", nil); !strings.HasPrefix(err, other+": can be written by its group or others") {
		t.Errorf("got %s, want that others can write the folder", err)
	}
	_, file, _, warnings, err = with(t, "servers: {s: {command: c, profile: network-client}}", nil)
	if want := file + `:1:36: servers.s.profile: profile "network-client" allows no name: write the server's own below network`; err != "" || warnings != want {
		t.Errorf("got %s and %s, want %s", err, warnings, want)
	}
}
