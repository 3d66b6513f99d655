package sandbox

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/cgroups"
	_ "github.com/opencontainers/cgroups/devices" // sets device rules
	"github.com/opencontainers/cgroups/manager"
	"golang.org/x/sys/unix"
)

// Limits are cgroup limits. Zero fields are no limit.
type Limits struct {
	MemoryBytes     int64   // reaching it ends the whole sandbox
	MemoryHighBytes int64   // above it the sandbox is slowed down; cgroup v2 only
	SwapBytes       int64   // beside the memory; zero is none
	CPU             float64 // cores
	CPUWeight       int     // 1 to 10,000, share where CPU is short; zero: 100
	PIDs            int64   // processes and threads, the launcher's few among them
	IO              []IOLimit
}

// IOLimit bounds what is read from and written to a block device, per second.
type IOLimit struct {
	Device                                   string
	ReadBytes, WriteBytes, ReadOps, WriteOps uint64 // zero is no limit
}

// controllers are those that a sandbox has a cgroup of. cgroup v2, or that part of a
// hybrid host, is "".
var controllers = []string{"", "memory", "cpu", "cpuacct", "pids", "devices", "freezer"}

// cpuPeriod is the period of CPU quotas in microseconds, the kernel's default.
const cpuPeriod = 100_000

// daemonLeaf is the name of the daemon's own cgroup below the one that was
// delegated to it, where processes and child cgroups can't be together
// (cgroups(7), "no internal processes"). systemd's DelegateSubgroup= makes it.
const daemonLeaf = "supervisor"

// hierarchy is the part of the cgroup tree that the daemon has for its sandboxes:
// root/project-NAME/SANDBOX. On cgroup v2, root is absolute; on v1 it is relative,
// which for the library means below the daemon's own cgroup of each controller.
type hierarchy struct {
	unified bool
	root    string
	top     cgroups.Manager

	mu       sync.Mutex
	projects map[string]*project
}

type project struct {
	manager cgroups.Manager
	limits  Limits
}

// maxTries is how often the daemon moves what has come into its cgroup meanwhile.
const maxTries = 20

// cgroupPrefix and the daemon's process id are the name of its cgroup.
const cgroupPrefix = "mcp-gateway-"

func newHierarchy() (*hierarchy, error) {
	for try := 1; ; try++ {
		h, err := findHierarchy()
		if err != nil {
			return nil, err
		}
		if err := h.top.Apply(-1); err != nil {
			return h, fmt.Errorf("make cgroup %s: %w", h.root, err)
		}
		// What is run in a container just now keeps controllers from being handed down.
		if err := h.checkControllers(); err == nil {
			return h, h.limitDevices()
		} else if try == maxTries {
			return h, err
		}
	}
}

// findHierarchy finds where the daemon's part of the tree is to be.
func findHierarchy() (*hierarchy, error) {
	h := &hierarchy{unified: cgroups.IsCgroup2UnifiedMode(), projects: map[string]*project{}}
	name := cgroupPrefix + strconv.Itoa(os.Getpid())
	if h.unified {
		parent, err := delegatedParent()
		if err != nil {
			return nil, fmt.Errorf("find the daemon's cgroup: %w (a container needs a writable /sys/fs/cgroup)", err)
		}
		h.root = filepath.Join(parent, name)
	} else {
		h.root = name
	}
	top, err := manager.New(&cgroups.Cgroup{Path: h.root, Resources: &cgroups.Resources{Devices: deviceRules()}})
	if err != nil {
		return nil, fmt.Errorf("make cgroup %s: %w", h.root, err)
	}
	h.top = top
	return h, nil
}

// delegatedParent returns the cgroup of the v2 tree below which sandboxes may
// live: what was delegated to the daemon if it has a cgroup to itself (the daemon
// then moves to a leaf of it), else the parent of the cgroup that it shares. In a
// container all that shares the cgroup is the container's, and moves along.
func delegatedParent() (string, error) {
	own, err := cgroups.ParseCgroupFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	parent, inLeaf := strings.CutSuffix(own[""], "/"+daemonLeaf)
	path := cmp.Or(parent, "/")
	full := filepath.Join("/sys/fs/cgroup", path)
	if !cgroups.PathExists(filepath.Join(full, "cgroup.type")) { // the root of all (cgroups(7))
		return path, nil
	}
	pids, err := cgroups.GetPids(full)
	if err != nil {
		return "", err
	}
	namespace, err := os.Readlink("/proc/self/ns/pid")
	ours := inLeaf || path == "/" || namespace != "pid:[4026531836]" // the kernel's PROC_PID_INIT_INO
	if !ours && (len(pids) != 1 || pids[0] != os.Getpid()) {
		return filepath.Dir(path), err
	}
	leaf := filepath.Join(full, daemonLeaf)
	err = errors.Join(err, os.MkdirAll(leaf, 0o755))
	for i := 0; err == nil && i < len(pids); i++ {
		if err = cgroups.WriteCgroupProc(leaf, pids[i]); errors.Is(err, unix.ESRCH) {
			err = nil // it has just ended
		}
	}
	return path, err
}

// checkControllers makes sure that every limit can be enforced here.
func (h *hierarchy) checkControllers() error {
	for _, controller := range []string{"memory", "cpu", "pids"} {
		if !h.has(controller) {
			return fmt.Errorf("cgroup controller %q is missing for %s: its limits can't be enforced: enable it on the kernel command line, or delegate it to the daemon (systemd: Delegate=yes)", controller, h.root)
		}
	}
	if h.unified {
		return nil
	}
	_, err := os.Stat(filepath.Join(h.top.Path("memory"), "memory.memsw.limit_in_bytes"))
	if err != nil && swapInUse() {
		return errors.New("this host swaps, and its memory controller can't limit swap: boot with swapaccount=1 or turn swap off")
	}
	return nil
}

// limitDevices refuses what is not a sandbox's, for all of them: what is made below has
// the same rules (v1), or is bound by them (v2).
func (h *hierarchy) limitDevices() error {
	if err := h.top.Set(&cgroups.Resources{Devices: deviceRules()}); err != nil {
		return fmt.Errorf("limit devices of cgroup %s: %w", h.root, err)
	}
	return nil
}

func (h *hierarchy) has(controller string) bool {
	if !h.unified {
		return cgroups.PathExists(h.top.Path(controller))
	}
	content, err := os.ReadFile(filepath.Join(h.top.Path(""), "cgroup.controllers"))
	return err == nil && slices.Contains(strings.Fields(string(content)), controller)
}

// swapInUse reports whether the host has a swap device or file (proc_swaps(5));
// if that can't be told, it says yes.
func swapInUse() bool {
	content, err := os.ReadFile("/proc/swaps")
	if errors.Is(err, fs.ErrNotExist) {
		return false // a kernel without swap
	}
	return err != nil || strings.Count(string(content), "\n") > 1
}

func (h *hierarchy) setProject(name string, limits Limits) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.projects[name]
	if !ok {
		m, err := manager.New(&cgroups.Cgroup{Path: h.projectPath(name), Resources: &cgroups.Resources{}})
		if err != nil {
			return err
		}
		if err := m.Apply(-1); err != nil {
			return err
		}
		if err := h.handDown(m); err != nil {
			return err
		}
		p = &project{manager: m}
		h.projects[name] = p
	}
	if err := p.manager.Set(h.resources(limits)); err != nil {
		return err
	}
	p.limits = limits
	return nil
}

// handDown has cgroups below a project's have its controllers (cgroups(7)).
func (h *hierarchy) handDown(project cgroups.Manager) error {
	if !h.unified {
		return nil
	}
	path := project.Path("")
	names, err := cgroups.ReadFile(path, "cgroup.controllers")
	if err != nil {
		return err
	}
	return cgroups.WriteFile(path, "cgroup.subtree_control", "+"+strings.Join(strings.Fields(names), " +"))
}

func (h *hierarchy) projectLimits(name string) Limits {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p, ok := h.projects[name]; ok {
		return p.limits
	}
	return Limits{}
}

func (h *hierarchy) projectPath(name string) string {
	return filepath.Join(h.root, "project-"+name)
}

// newCgroup makes the cgroup of one sandbox, to which limit gives its limits. Where it is to
// be is known, so the library looks nothing up.
func (h *hierarchy) newCgroup(spec Spec) (cgroups.Manager, error) {
	config, paths, err := h.config(spec)
	if err != nil {
		return nil, err
	}
	m, err := manager.NewWithPaths(config, paths)
	if err != nil {
		return nil, err
	}
	for _, path := range paths { // of two controllers it may be the same
		if mkdirErr := os.Mkdir(path, 0o755); !errors.Is(mkdirErr, fs.ErrExist) {
			err = errors.Join(err, mkdirErr)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make cgroup %s: %w", config.Path, err), m.Destroy())
	}
	return m, nil
}

// limit gives a cgroup that newCgroup has made its limits, before anything runs in it.
func limit(cgroup cgroups.Manager) error {
	config, err := cgroup.GetCgroups()
	if err != nil {
		return err
	}
	if err := cgroup.Set(config.Resources); err != nil {
		return fmt.Errorf("limit cgroup %s: %w", config.Path, err)
	}
	return nil
}

// join runs do, which makes a process, in such a way that it is in a cgroup from its
// first instant: the one of version 2 is opened for clone(2), and of version 1 this
// thread is a member meanwhile. To move another process would wait for all
// processors (RCU), five to ten milliseconds.
func (h *hierarchy) join(cgroup cgroups.Manager, do func(unified *os.File) error) (err error) {
	var unified *os.File
	for controller, path := range cgroup.GetPaths() {
		if controller == "" {
			if unified, err = os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
				return err
			}
			defer unified.Close()
			continue
		}
		own := filepath.Dir(h.top.Path(controller))
		if err := moveThread(path); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, moveThread(own)) }()
	}
	return do(unified)
}

// moveThread moves this thread to a cgroup of version 1.
func moveThread(path string) error { return cgroups.WriteFile(path, "tasks", "0") }

// config says what the cgroup of one sandbox is, and where. Its CPU limit is at most its
// project's, because cgroup v1 refuses a child that may use more than its parent.
func (h *hierarchy) config(spec Spec) (*cgroups.Cgroup, map[string]string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.projects[spec.Project]
	if !ok {
		return nil, nil, fmt.Errorf("project %q is not known", spec.Project)
	}
	limits := spec.Limits
	if p.limits.CPU > 0 && (limits.CPU == 0 || limits.CPU > p.limits.CPU) {
		limits.CPU = p.limits.CPU
	}
	resources := h.resources(limits)
	if err := h.limitIO(resources, limits.IO); err != nil {
		return nil, nil, err
	}
	if h.unified {
		// One process of a server short of memory ends the whole server: half a
		// server answers wrongly.
		resources.Unified = map[string]string{"memory.oom.group": "1"}
		if limits.MemoryHighBytes > 0 {
			resources.Unified["memory.high"] = strconv.FormatInt(limits.MemoryHighBytes, 10)
		}
	} else if limits.MemoryHighBytes > 0 {
		return nil, nil, errors.New("limits.memory_high needs cgroup v2, and this host's memory controller is of version 1: boot with systemd.unified_cgroup_hierarchy=1, or leave the limit out")
	}
	paths := map[string]string{}
	for controller, path := range p.manager.GetPaths() {
		if slices.Contains(controllers, controller) || controller == "blkio" && len(limits.IO) > 0 {
			paths[controller] = filepath.Join(path, spec.ID)
		}
	}
	return &cgroups.Cgroup{Path: filepath.Join(h.projectPath(spec.Project), spec.ID), Resources: resources}, paths, nil
}

// resources sets every limit, so that one that was set before is lifted: -1 is "no
// limit" in the kernel's files.
func (h *hierarchy) resources(limits Limits) *cgroups.Resources {
	r := &cgroups.Resources{SkipDevices: true, Memory: cmp.Or(limits.MemoryBytes, -1), CpuQuota: -1}
	if h.unified || cgroups.PathExists(filepath.Join(h.top.Path("memory"), "memory.memsw.limit_in_bytes")) {
		r.MemorySwap = r.Memory // memory and swap together
		if r.Memory > 0 {
			r.MemorySwap += limits.SwapBytes
		}
	}
	if limits.CPUWeight > 0 {
		r.CpuWeight = uint64(limits.CPUWeight)
		r.CpuShares = uint64(max(2, limits.CPUWeight*1024/100)) // version 1's unit of the same
	}
	if limits.CPU > 0 {
		r.CpuPeriod, r.CpuQuota = cpuPeriod, int64(limits.CPU*cpuPeriod)
	}
	pids := cmp.Or(limits.PIDs, -1)
	r.PidsLimit = &pids
	return r
}

// limitIO adds limits of block devices.
func (h *hierarchy) limitIO(r *cgroups.Resources, limits []IOLimit) error {
	if len(limits) == 0 {
		return nil
	}
	controller := "blkio"
	if h.unified {
		controller = "io"
	}
	if !h.has(controller) {
		return fmt.Errorf("limits.io_max needs the cgroup controller %q, which is missing for %s: delegate it to the daemon", controller, h.root)
	}
	for _, l := range limits {
		var st unix.Stat_t
		if err := unix.Stat(l.Device, &st); err != nil {
			return fmt.Errorf("limits.io_max: %s: %w", l.Device, err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFBLK {
			return fmt.Errorf("limits.io_max: %s is not a block device: name one, such as /dev/sda", l.Device)
		}
		add := func(list *[]*cgroups.ThrottleDevice, rate uint64) {
			if rate > 0 {
				*list = append(*list, cgroups.NewThrottleDevice(int64(unix.Major(uint64(st.Rdev))), int64(unix.Minor(uint64(st.Rdev))), rate))
			}
		}
		add(&r.BlkioThrottleReadBpsDevice, l.ReadBytes)
		add(&r.BlkioThrottleWriteBpsDevice, l.WriteBytes)
		add(&r.BlkioThrottleReadIOPSDevice, l.ReadOps)
		add(&r.BlkioThrottleWriteIOPSDevice, l.WriteOps)
	}
	return nil
}

// remove removes all cgroups; their processes must be gone.
func (h *hierarchy) remove() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	for name, p := range h.projects {
		if err := p.manager.Destroy(); err != nil {
			errs = append(errs, fmt.Errorf("remove the cgroup of project %q: %w", name, err))
		}
	}
	if h.top != nil {
		errs = append(errs, h.top.Destroy())
	}
	return errors.Join(errs...)
}
