package containers_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// container is what a runtime is told to run, and the running one.
type container struct {
	t       *testing.T
	runtime string
	id      string
	root    string // its root filesystem, over the image's
	spec    specs.Spec

	cmd   *exec.Cmd
	log   *output
	ended chan struct{}
}

// allCapabilities are those of a privileged container.
func allCapabilities() (all []string) {
	last := strings.TrimSpace(mustRead("/proc/sys/kernel/cap_last_cap"))
	names := []string{
		"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE",
		"NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN",
		"SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE",
		"MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
	}
	if number, _ := strconv.Atoi(last); number+1 < len(names) {
		names = names[:number+1]
	}
	return names
}

func mustRead(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	return string(content)
}

// newContainer makes the bundle of an image's container as engines do, without any
// privilege: an overlay over its content, Docker's default list of system calls and
// hidden paths, cgroups to read only.
func newContainer(t *testing.T, runtime, role string) *container {
	t.Helper()
	dir := t.TempDir()
	c := &container{t: t, runtime: runtime, id: fmt.Sprintf("test-%s-%d", role, time.Now().UnixNano()), log: &output{}}
	c.mountRoot(dir, filepath.Join(made.dir, role))
	image := targets(t)[role]
	hidden := []string{"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"}
	c.spec = specs.Spec{
		Version: "1.0.2", Hostname: role, Root: c.spec.Root,
		Process: &specs.Process{Args: slices.Concat(image.entrypoint, image.cmd), Cwd: "/", Env: []string{"PATH=/usr/bin"}, Capabilities: &specs.LinuxCapabilities{}},
		Linux: &specs.Linux{
			CgroupsPath: "/pods/" + c.id, MaskedPaths: hidden, ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
			Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
		},
	}
	c.user(image.user)
	for _, kind := range []specs.LinuxNamespaceType{specs.PIDNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.MountNamespace, specs.CgroupNamespace} {
		c.spec.Linux.Namespaces = append(c.spec.Linux.Namespaces, specs.LinuxNamespace{Type: kind})
	}
	mount := func(target, kind string, options ...string) {
		c.spec.Mounts = append(c.spec.Mounts, specs.Mount{Destination: target, Type: kind, Source: kind, Options: options})
	}
	mount("/proc", "proc", "nosuid", "noexec", "nodev")
	mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k")
	mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620")
	mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro")
	mount("/sys/fs/cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro")
	mount("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k")
	return c
}

func (c *container) mountRoot(dir string, lower ...string) {
	c.t.Helper()
	for _, name := range []string{"upper", "work", "rootfs"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			c.t.Fatal(err)
		}
	}
	c.root = filepath.Join(dir, "rootfs")
	c.spec.Root = &specs.Root{Path: c.root, Readonly: c.spec.Root != nil && c.spec.Root.Readonly}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%[2]s/work", strings.Join(lower, ":"), dir)
	if err := unix.Mount("overlay", c.root, "overlay", 0, options); err != nil {
		c.t.Fatalf("mount overlay: %v", err)
	}
	root := c.root
	c.t.Cleanup(func() { unix.Unmount(root, unix.MNT_DETACH) })
}

// mountOver gives it another root filesystem.
func (c *container) mountOver(lower ...string) { c.mountRoot(c.t.TempDir(), lower...) }

// user takes "UID:GID".
func (c *container) user(text string) {
	uid, gid, _ := strings.Cut(text, ":")
	u, errU := strconv.Atoi(uid)
	g, errG := strconv.Atoi(gid)
	if errU != nil || errG != nil {
		c.t.Fatalf("user %q", text)
	}
	c.spec.Process.User = specs.User{UID: uint32(u), GID: uint32(g)}
}

// capabilities are the container's, which only root has at once.
func (c *container) capabilities(names []string) {
	var list []string
	for _, name := range names {
		list = append(list, "CAP_"+name)
	}
	c.spec.Process.Capabilities.Bounding = list
	if c.spec.Process.User.UID == 0 {
		c.spec.Process.Capabilities.Effective, c.spec.Process.Capabilities.Permitted = list, list
	}
}

func (c *container) bind(from, to string, options ...string) {
	c.spec.Mounts = append(c.spec.Mounts, specs.Mount{Destination: to, Type: "bind", Source: from, Options: append([]string{"rbind", "rprivate"}, options...)})
}

// writable makes what newContainer mounts read-only writable.
func (c *container) writable(target string) {
	for i, m := range c.spec.Mounts {
		if m.Destination == target {
			c.spec.Mounts[i].Options = slices.DeleteFunc(slices.Clone(m.Options), func(o string) bool { return o == "ro" })
		}
	}
}

func (c *container) unmask() { c.spec.Linux.MaskedPaths, c.spec.Linux.ReadonlyPaths = nil, nil }

func (c *container) defaultSeccomp() {
	profile, err := seccomp.GetDefaultProfile(&c.spec)
	if err != nil {
		c.t.Fatal(err)
	}
	c.spec.Linux.Seccomp = profile
}

// privileged is what engines and Kubernetes mean by it.
func (c *container) privileged() {
	c.capabilities(allCapabilities())
	c.unmask()
	c.writable("/sys")
	c.writable("/sys/fs/cgroup")
	c.spec.Linux.Seccomp = nil
	c.spec.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
}

// hostCgroups leaves the container in the host's cgroup namespace.
func (c *container) hostCgroups() {
	c.spec.Linux.Namespaces = slices.DeleteFunc(c.spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.CgroupNamespace })
}

// start runs it.
func (c *container) start() {
	c.t.Helper()
	bundle := c.t.TempDir()
	content, err := json.Marshal(c.spec)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), content, 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.cmd = exec.Command(c.runtime, "run", "--bundle", bundle, c.id)
	c.cmd.Stdout, c.cmd.Stderr = c.log, c.log
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.ended = make(chan struct{})
	go func() {
		defer close(c.ended)
		_ = c.cmd.Wait() // its log says why
	}()
	c.t.Cleanup(func() {
		if c.t.Failed() {
			c.t.Logf("%s said:\n%s", c.id, c.log)
		}
		c.kill("KILL")
		<-c.ended
		_ = exec.Command(c.runtime, "delete", "--force", c.id).Run() // it may be gone
	})
}

func (c *container) kill(signal string) { _ = exec.Command(c.runtime, "kill", c.id, signal).Run() }

// wait waits until it has ended.
func (c *container) wait() {
	c.t.Helper()
	select {
	case <-c.ended:
	case <-time.After(30 * time.Second):
		c.t.Fatalf("%s does not end:\n%s", c.id, c.log)
	}
}

func (c *container) hasEnded() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// exec runs a program inside, as kubectl exec does.
func (c *container) exec(args ...string) (string, error) {
	out, err := exec.Command(c.runtime, append([]string{"exec", c.id}, args...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (c *container) mustExec(args ...string) string {
	c.t.Helper()
	out, err := c.exec(args...)
	if err != nil {
		c.t.Fatalf("%v: %v: %s", args, err, out)
	}
	return out
}

// await waits for a text in what it says.
func (c *container) await(text string) {
	c.t.Helper()
	said := func() bool { return strings.Contains(c.log.String(), text) }
	if eventually(func() bool { return said() || c.hasEnded() }); said() {
		return
	}
	c.t.Fatalf("%s does not say %q:\n%s", c.id, text, c.log)
}

// eventually waits until something is so, for half a minute at most.
func eventually(done func() bool) bool {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range 300 {
		if done() {
			return true
		}
		<-tick.C
	}
	return false
}

// pid is the first process's, on the host.
func (c *container) pid() int {
	c.t.Helper()
	out, err := exec.Command(c.runtime, "state", c.id).Output()
	var state struct{ PID int }
	if err == nil {
		err = json.Unmarshal(out, &state)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return state.PID
}

// output is what a container has said so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(data []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(data)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func networkNamespace() specs.LinuxNamespace {
	return specs.LinuxNamespace{Type: specs.NetworkNamespace}
}

// volumeLike is a volume that begins as the mount point in the container's image.
func volumeLike(c *container, path string) string {
	c.t.Helper()
	var at unix.Stat_t
	if err := unix.Stat(filepath.Join(c.root, path), &at); err != nil {
		c.t.Fatalf("stat %s: %v", path, err)
	}
	return volume(c.t, os.FileMode(at.Mode&0o7777), int(at.Uid))
}

// again is the same container, started anew.
func (c *container) again() *container {
	next := *c
	_ = exec.Command(c.runtime, "delete", "--force", c.id).Run() // it may be gone
	next.id, next.log = fmt.Sprintf("%s-again", c.id), &output{}
	copied := *c.spec.Linux
	copied.CgroupsPath = "/pods/" + next.id
	next.spec.Linux = &copied
	return &next
}

// mountedAt is the folder on the host that a container has at a path.
func (c *container) mountedAt(path string) string {
	for _, m := range c.spec.Mounts {
		if m.Destination == path {
			return m.Source
		}
	}
	return ""
}
