package containers_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
	"golang.org/x/sys/unix"
)

// podContainer is one of a pod, in the keys that say how a runtime runs it.
type podContainer struct {
	Name            string   `yaml:"name"`
	Command         []string `yaml:"command"`
	Args            []string `yaml:"args"`
	SecurityContext struct {
		Privileged               bool  `yaml:"privileged"`
		RunAsUser                int   `yaml:"runAsUser"`
		RunAsGroup               int   `yaml:"runAsGroup"`
		AllowPrivilegeEscalation *bool `yaml:"allowPrivilegeEscalation"`
		ReadOnlyRootFilesystem   bool  `yaml:"readOnlyRootFilesystem"`
		Capabilities             struct {
			Drop []string `yaml:"drop"`
		} `yaml:"capabilities"`
		SeccompProfile struct {
			Type string `yaml:"type"`
		} `yaml:"seccompProfile"`
	} `yaml:"securityContext"`
	VolumeMounts []struct {
		Name      string `yaml:"name"`
		MountPath string `yaml:"mountPath"`
		ReadOnly  bool   `yaml:"readOnly"`
	} `yaml:"volumeMounts"`
}

type podVolume struct {
	Name      string `yaml:"name"`
	ConfigMap *struct {
		DefaultMode int `yaml:"defaultMode"`
	} `yaml:"configMap"`
	Secret *struct {
		DefaultMode int `yaml:"defaultMode"`
	} `yaml:"secret"`
	EmptyDir *struct {
		Medium string `yaml:"medium"`
	} `yaml:"emptyDir"`
	HostPath *struct {
		Path string `yaml:"path"`
	} `yaml:"hostPath"`
}

type statefulSet struct {
	Spec struct {
		Template struct {
			Spec struct {
				InitContainers []podContainer `yaml:"initContainers"`
				Containers     []podContainer `yaml:"containers"`
				Volumes        []podVolume    `yaml:"volumes"`
			} `yaml:"spec"`
		} `yaml:"template"`
	} `yaml:"spec"`
}

// pod is a gateway as the base of packaging/kubernetes has it, with the folders that
// the kubelet writes.
type pod struct {
	gateway
	config, secrets string
}

const podConfiguration = `version: "1.0"
transports:
  http: {enabled: true}
  grpc: {enabled: true, port: 8082}
projects:
  p: {resources: {max_memory_mb: 200}}
servers:
  test:
    project: p
    command: /opt/mcp-servers/testserver
    mounts: [/opt/mcp-servers]
    allowed_directories: ["/srv/data:rw"]
    resources: {max_memory_mb: 64, max_cpu: 0.5, max_pids: 40}
    redact: false
    env: {GIVEN: "${file:/etc/mcp-gateway/secrets/token}"}
`

// newPod makes containers of the manifest as containerd does: a privileged one in the
// host's cgroup namespace, no user namespace, one network.
func newPod(t *testing.T, runtime string) *pod {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(source, "packaging/kubernetes/base/gateway.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest statefulSet
	if err := yaml.Load(content, &manifest); err != nil {
		t.Fatal(err)
	}
	spec := manifest.Spec.Template.Spec
	p := &pod{gateway: gateway{t: t, daemon: newContainer(t, runtime, "daemon"), proxy: newContainer(t, runtime, "proxy")}}
	volumes := p.volumes(spec.Volumes)
	if len(spec.InitContainers) != 1 || len(spec.Containers) != 1 {
		t.Fatalf("the pod has %d and %d containers, want a daemon and a proxy", len(spec.InitContainers), len(spec.Containers))
	}
	spec.InitContainers[0].apply(p.daemon, volumes)
	spec.Containers[0].apply(p.proxy, volumes)
	p.addServers()
	return p
}

// volumes makes folders as the kubelet does: everybody's.
func (p *pod) volumes(list []podVolume) map[string]string {
	p.t.Helper()
	made := map[string]string{}
	for _, v := range list {
		mode := os.FileMode(0o777)
		if v.Secret != nil || v.EmptyDir != nil && v.EmptyDir.Medium == "Memory" {
			mode |= os.ModeSticky // a tmpfs
		}
		if v.HostPath != nil {
			mode = 0o755
		}
		dir := volume(p.t, mode, 0)
		made[v.Name] = dir
		switch {
		case v.ConfigMap != nil:
			p.config = dir
			project(p.t, dir, os.FileMode(v.ConfigMap.DefaultMode), map[string]string{"mcp-gateway.yaml": podConfiguration, "policies.yaml": "roles: {}\n"})
		case v.Secret != nil:
			p.secrets = dir
			project(p.t, dir, os.FileMode(v.Secret.DefaultMode), map[string]string{"token": "the first secret"})
		}
	}
	return made
}

// project writes files into a volume at once: each is a link into a folder that a link
// leads to, which is replaced.
func project(t *testing.T, dir string, mode os.FileMode, files map[string]string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	before, _ := os.Readlink(filepath.Join(dir, "..data")) // none at first
	stamp := fmt.Sprintf("..%d", time.Now().UnixNano())
	must(os.Mkdir(filepath.Join(dir, stamp), 0o755))
	for name, content := range files {
		must(os.WriteFile(filepath.Join(dir, stamp, name), []byte(content), mode))
		must(os.Chmod(filepath.Join(dir, stamp, name), mode))
	}
	must(os.Symlink(stamp, filepath.Join(dir, "..data_tmp")))
	must(os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	for name := range files {
		if err := os.Symlink("..data/"+name, filepath.Join(dir, name)); !os.IsExist(err) {
			must(err)
		}
	}
	if before != "" {
		must(os.RemoveAll(filepath.Join(dir, before)))
	}
}

func (k podContainer) apply(c *container, volumes map[string]string) {
	c.t.Helper()
	context := k.SecurityContext
	c.user(fmt.Sprintf("%d:%d", context.RunAsUser, context.RunAsGroup))
	c.spec.Process.Args = append(append([]string{}, k.Command...), k.Args...)
	c.spec.Root.Readonly = context.ReadOnlyRootFilesystem
	c.spec.Process.NoNewPrivileges = context.AllowPrivilegeEscalation != nil && !*context.AllowPrivilegeEscalation
	if context.SeccompProfile.Type != "Unconfined" {
		c.defaultSeccomp()
	}
	switch {
	case context.Privileged:
		c.privileged()
		c.hostCgroups()
	case strings.Join(context.Capabilities.Drop, " ") != "ALL":
		c.t.Fatalf("%s keeps capabilities", k.Name)
	}
	for _, m := range k.VolumeMounts {
		dir, known := volumes[m.Name]
		if !known {
			c.t.Fatalf("%s: no volume %s", k.Name, m.Name)
		}
		mode := "rw"
		if m.ReadOnly {
			mode = "ro"
		}
		// The kubelet makes the mount points of what lies in other volumes.
		for _, outer := range k.VolumeMounts {
			if rest, below := strings.CutPrefix(m.MountPath, outer.MountPath+"/"); below {
				if err := os.MkdirAll(filepath.Join(volumes[outer.Name], rest), 0o755); err != nil {
					c.t.Fatal(err)
				}
			}
		}
		c.bind(dir, m.MountPath, mode)
	}
}

// TestPodKubernetes runs the pod of the manifests: another configuration and another
// secret take effect in it, and containers that are killed and started anew go on.
func TestPodKubernetes(t *testing.T) {
	eachRuntime(t, func(t *testing.T, runtime string) {
		p := newPod(t, runtime)
		p.up()
		p.checkLimits()
		p.checkSandbox()
		p.checkProxy()
		p.checkCommand()
		p.await("env", `{}`, "GIVEN=the first secret")
		var info unix.Stat_t
		if err := unix.Stat(filepath.Join(p.daemon.mountedAt("/run/mcp-gateway"), "control.sock"), &info); err != nil || info.Mode != unix.S_IFSOCK|0o600 || info.Uid != proxyID {
			t.Errorf("the control socket: %v, mode %o, user %d", err, info.Mode, info.Uid)
		}

		project(t, p.secrets, 0o400, map[string]string{"token": "the second secret"})
		project(t, p.config, 0o444, map[string]string{"mcp-gateway.yaml": podConfiguration + "  more: {command: /opt/mcp-servers/testserver, mounts: [/opt/mcp-servers]}\n"})
		p.await("env", `{}`, "GIVEN=the second secret")
		if status, answer := p.call("more", "echo", `{"new":1}`); status != 200 {
			t.Errorf("a server of the new configuration: %d %s", status, answer)
		}
		project(t, p.config, 0o444, map[string]string{"mcp-gateway.yaml": podConfiguration + "  wrong: {comand: x}\n"})
		p.daemon.await("comand")
		if status, answer := p.call("more", "echo", `{}`); status != 200 {
			t.Errorf("after a mistake: %d %s", status, answer)
		}
		project(t, p.config, 0o444, map[string]string{"mcp-gateway.yaml": podConfiguration})

		p.daemon.kill("KILL")
		p.daemon.wait()
		p.daemon = p.daemon.again()
		p.daemon.start()
		p.awaitDaemon()
		if p.proxy.hasEnded() {
			p.proxy = p.proxy.again()
			p.proxy.start()
		}
		p.await("echo", `{"daemon":2}`, `"daemon":2`)

		p.proxy.kill("KILL")
		p.proxy.wait()
		p.proxy = p.proxy.again()
		p.proxy.start()
		p.proxy.await("ready")
		p.await("echo", `{"proxy":2}`, `"proxy":2`)
		p.checkLimits()
		p.checkCommand()
	})
}
