package config

import (
	"reflect"
	"testing"
)

// withoutPositions leaves what two formats have in common.
func withoutPositions(c *Config) {
	c.unsupported = nil
	for _, s := range c.Servers {
		s.Sandbox.Origin = nil
	}
}

// One schema: what YAML and TOML say must come out the same, variables included.
func TestFormatsAgree(t *testing.T) {
	t.Parallel()
	const inYAML = `
version: "1.0"
gateway: {name: "one ${NAME}", max_servers: 7}
projects:
  alpha: {resources: {max_memory_mb: 2048}}
servers:
  files.v1:
    project: alpha
    command: node
    args: ["-e", 'a "quoted" \ text', "é\n"]
    env: {KEY: "${NAME:-x}-$${NAME}"}
    mounts: ["/zz/one", "/zz/two:/opt/two", {source: /zz/three}]
    timeout: 90s
    resources: {max_cpu: 0.5}
  off: &off {enabled: false, eager: true}
  off2: *off
transports:
  http:
    port: ${PORT}
    allowed_hosts: [a, b]
service_discovery: {type: file, labels: {"a b": c}}
`
	const inTOML = `
version = "1.0"
gateway.name = "one ${NAME}"
gateway.max_servers = 7
projects = { alpha = { resources.max_memory_mb = 2_048 } }

[servers."files.v1"]
project = "alpha"
command = "node"
args = [ "-e", 'a "quoted" \ text', """
é
""", ] # the first line end of a long text is not part of it
env.KEY = "${NAME:-x}-$${NAME}"
timeout = "90s"
resources = { max_cpu = 0.5 }
[[servers."files.v1".mounts]]
source = "/zz/one"
[[servers."files.v1".mounts]]
source = "/zz/two"
target = "/opt/two"
[[servers.'files.v1'.mounts]]
source = "/zz/three"

[servers]
off = { enabled = false, eager = true }
off2 = { enabled = false, eager = true }
[transports.http]
port = "${PORT}"
allowed_hosts = ["a", "b"]
[service_discovery]
type = "file"
labels = { "a b" = "c" }
`
	env := func(name string) (string, bool) {
		values := map[string]string{"NAME": "name: [1", "PORT": "8080"}
		value, ok := values[name]
		return value, ok
	}
	fromYAML, _, err := Parse("t.yaml", []byte(inYAML), env)
	if err != nil {
		t.Fatal(err)
	}
	fromTOML, _, err := Parse("t.toml", []byte(inTOML), env)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fromTOML.Servers["files.v1"].Env["KEY"].Reveal(), "name: [1-${NAME}"; got != want {
		t.Errorf("variables: got %q, want %q", got, want)
	}
	withoutPositions(fromYAML)
	withoutPositions(fromTOML)
	if !reflect.DeepEqual(fromTOML, fromYAML) {
		t.Errorf("TOML gives\n%+v\nYAML gives\n%+v", fromTOML, fromYAML)
	}
}
