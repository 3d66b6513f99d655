package containers_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// service is one of the compose file, in the keys that it may have.
type service struct {
	Image       string                       `yaml:"image"`
	Restart     string                       `yaml:"restart"`
	DependsOn   map[string]map[string]string `yaml:"depends_on"`
	ReadOnly    bool                         `yaml:"read_only"`
	Privileged  bool                         `yaml:"privileged"`
	User        string                       `yaml:"user"`
	NetworkMode string                       `yaml:"network_mode"`
	Cgroup      string                       `yaml:"cgroup"`
	CapDrop     []string                     `yaml:"cap_drop"`
	CapAdd      []string                     `yaml:"cap_add"`
	SecurityOpt []string                     `yaml:"security_opt"`
	Volumes     []string                     `yaml:"volumes"`
	Ports       []string                     `yaml:"ports"`
	MemLimit    string                       `yaml:"mem_limit"`
	Healthcheck struct {
		Test          []string `yaml:"test"`
		StartInterval string   `yaml:"start_interval"`
		StartPeriod   string   `yaml:"start_period"`
	} `yaml:"healthcheck"`
}

type compose struct {
	Name     string             `yaml:"name"`
	Services map[string]service `yaml:"services"`
	Volumes  map[string]any     `yaml:"volumes"`
}

func readCompose(t *testing.T) (c compose) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(source, "packaging/docker/compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Load(content, &c, yaml.WithKnownFields()); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCompose wants the proxy to have nothing, and each to write only where it must.
// That it works is TestPodCompose's.
func TestCompose(t *testing.T) {
	t.Parallel()
	c := readCompose(t)
	daemon, proxy := c.Services["daemon"], c.Services["proxy"]
	if len(c.Services) != 2 || !daemon.ReadOnly || !proxy.ReadOnly || daemon.Privileged || proxy.Privileged {
		t.Errorf("want a daemon and a proxy, whose root can't be written to, and which are not privileged: %+v", c.Services)
	}
	if proxy.User != "65532:65532" || !slices.Equal(proxy.CapDrop, []string{"ALL"}) || len(proxy.CapAdd) > 0 || !slices.Equal(proxy.SecurityOpt, []string{"no-new-privileges:true"}) {
		t.Errorf("the proxy has a privilege: %+v", proxy)
	}
	for _, port := range proxy.Ports {
		if !strings.HasPrefix(port, "127.0.0.1:") {
			t.Errorf("port %s is published to everybody", port)
		}
	}
	writers := map[string]string{}
	for role, s := range c.Services {
		if want := "mcp-gateway/" + role + ":${MCP_GATEWAY_VERSION:-"; !strings.HasPrefix(s.Image, want) {
			t.Errorf("%s: image %q, want %s…", role, s.Image, want)
		}
		for _, volume := range s.Volumes {
			fields := strings.Split(volume, ":")
			if _, err := os.Stat(filepath.Join(made.dir, role, fields[1])); err != nil {
				t.Errorf("%s: %s has no mount point in the image: %v", role, volume, err)
			}
			if _, declared := c.Volumes[fields[0]]; !declared && !strings.HasPrefix(fields[0], "/") {
				t.Errorf("%s: volume %s is not declared", role, fields[0])
			}
			if len(fields) == 2 {
				if other := writers[fields[0]]; other != "" {
					t.Errorf("both %s and %s may write to %s", other, role, fields[0])
				}
				writers[fields[0]] = role
			}
		}
	}
}
