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
	_ "github.com/opencontainers/cgroups/devices" // libcontainer sets device rules through it
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

// cpuPeriod is the period of CPU quotas in microseconds, the kernel's default.
const cpuPeriod = 100_000

// daemonLeaf is the name of the daemon's own cgroup below the one that was
// delegated to it, where processes and child cgroups can't be together
// (cgroups(7), "no internal processes"). systemd's DelegateSubgroup= makes it.
const daemonLeaf = "supervisor"

// hierarchy is the part of the cgroup tree that the daemon has for its sandboxes:
// root/project-NAME/SANDBOX. On cgroup v2, root is absolute; on v1 it is relative,
// which for libcontainer means below the daemon's own cgroup of each controller.
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

// cgroupPrefix and the daemon's process id are the name of its cgroup.
const cgroupPrefix = "mcp-gateway-"

func newHierarchy() (*hierarchy, error) {
	h, err := findHierarchy()
	if err != nil {
		return nil, err
	}
	if err := h.top.Apply(-1); err != nil {
		return h, fmt.Errorf("make cgroup %s: %w", h.root, err)
	}
	return h, h.checkControllers()
}

// findHierarchy finds where the daemon's part of the tree is to be.
func findHierarchy() (*hierarchy, error) {
	h := &hierarchy{unified: cgroups.IsCgroup2UnifiedMode(), projects: map[string]*project{}}
	name := cgroupPrefix + strconv.Itoa(os.Getpid())
	if h.unified {
		parent, err := delegatedParent()
		if err != nil {
			return nil, fmt.Errorf("find the daemon's cgroup: %w", err)
		}
		h.root = filepath.Join(parent, name)
	} else {
		h.root = name
	}
	top, err := manager.New(&cgroups.Cgroup{Path: h.root, Resources: &cgroups.Resources{SkipDevices: true}})
	if err != nil {
		return nil, fmt.Errorf("make cgroup %s: %w", h.root, err)
	}
	h.top = top
	return h, nil
}

// delegatedParent returns the cgroup of the v2 tree below which sandboxes may
// live: what was delegated to the daemon if it has a cgroup to itself (the daemon
// then moves to a leaf of it), else the parent of the cgroup that it shares.
func delegatedParent() (string, error) {
	own, err := cgroups.ParseCgroupFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	path := own[""]
	if path == "/" || filepath.Base(path) == daemonLeaf {
		return filepath.Dir(path), nil
	}
	full := filepath.Join("/sys/fs/cgroup", path)
	pids, err := cgroups.GetPids(full)
	if err != nil {
		return "", err
	}
	if len(pids) != 1 || pids[0] != os.Getpid() {
		return filepath.Dir(path), nil
	}
	leaf := filepath.Join(full, daemonLeaf)
	if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return path, cgroups.WriteCgroupProc(leaf, os.Getpid())
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
		m, err := manager.New(&cgroups.Cgroup{Path: h.projectPath(name), Resources: &cgroups.Resources{SkipDevices: true}})
		if err != nil {
			return err
		}
		if err := m.Apply(-1); err != nil {
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

// config returns the cgroup of one sandbox. Its CPU limit is at most its
// project's, because cgroup v1 refuses a child that may use more than its parent.
func (h *hierarchy) config(spec Spec) (*cgroups.Cgroup, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.projects[spec.Project]
	if !ok {
		return nil, fmt.Errorf("project %q is not known", spec.Project)
	}
	limits := spec.Limits
	if p.limits.CPU > 0 && (limits.CPU == 0 || limits.CPU > p.limits.CPU) {
		limits.CPU = p.limits.CPU
	}
	resources := h.resources(limits)
	resources.SkipDevices = false
	resources.Devices = deviceRules()
	if err := h.limitIO(resources, limits.IO); err != nil {
		return nil, err
	}
	if h.unified {
		// One process of a server short of memory ends the whole server: half a
		// server answers wrongly.
		resources.Unified = map[string]string{"memory.oom.group": "1"}
		if limits.MemoryHighBytes > 0 {
			resources.Unified["memory.high"] = strconv.FormatInt(limits.MemoryHighBytes, 10)
		}
	} else if limits.MemoryHighBytes > 0 {
		return nil, errors.New("limits.memory_high needs cgroup v2, and this host's memory controller is of version 1: boot with systemd.unified_cgroup_hierarchy=1, or leave the limit out")
	}
	return &cgroups.Cgroup{Path: filepath.Join(h.projectPath(spec.Project), spec.ID), Resources: resources}, nil
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
