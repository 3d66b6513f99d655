package inspect

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is a line of mountinfo (proc_pid_mountinfo(5)).
type mount struct {
	ID      int
	Device  string // major:minor
	Root    string // within its file system
	Target  string
	Options []string
	Peers   []string // shared:N, master:N, …: where mounts spread to or come from
	Type    string
	Source  string
	Super   []string // options of the file system
}

func parseMountinfo(text string) ([]mount, error) {
	var mounts []mount
	for line := range strings.Lines(text) {
		m, err := parseMount(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("line %.100q: %w", line, err)
		}
		mounts = append(mounts, m)
	}
	return mounts, nil
}

func parseMount(line string) (mount, error) {
	// One space between two fields, and each is there, though it may be empty.
	fields := strings.Split(line, " ")
	separator := slices.Index(fields, "-")
	if separator < 6 || len(fields) != separator+4 {
		return mount{}, fmt.Errorf("has %d fields and its separator at %d", len(fields), separator)
	}
	id, err := strconv.Atoi(fields[0])
	if err != nil {
		return mount{}, err
	}
	return mount{
		ID: id, Device: fields[2], Root: unescape(fields[3]), Target: unescape(fields[4]), Options: strings.Split(fields[5], ","),
		Peers: fields[6:separator], Type: fields[separator+1], Source: unescape(fields[separator+2]), Super: strings.Split(fields[separator+3], ","),
	}, nil
}

// unescape turns the kernel's "\040" back into the character.
func unescape(text string) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+3 < len(text) {
			if n, err := strconv.ParseUint(text[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		out.WriteByte(text[i])
	}
	return out.String()
}

func (m mount) has(option string) bool { return slices.Contains(m.Options, option) }

// super is the value of an option of the file system.
func (m mount) super(name string) string {
	for _, option := range m.Super {
		if value, ok := strings.CutPrefix(option, name+"="); ok {
			return value
		}
	}
	return ""
}

func (m mount) String() string {
	text := m.Type + " " + m.Root + " " + strings.Join(m.Options, ",")
	if len(m.Peers) > 0 {
		text += " " + strings.Join(m.Peers, " ")
	}
	return text
}

// parseSize reads a size as the kernel shows it: bytes, or with a suffix.
func parseSize(text string) (int64, error) {
	shift := 0
	if i := strings.IndexAny(text, "kmg"); i >= 0 && i == len(text)-1 {
		shift = 10 * (1 + strings.IndexByte("kmg", text[i]))
		text = text[:i]
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n << shift, err
}

// expected is a mount that must be there.
type expected struct {
	target   string
	kind     string // file system type; "": whatever the host has there
	source   string // on the host, compared by device and inode; "": not compared
	flags    []string
	size     int64 // of a tmpfs
	hidepid  bool
	writable bool
	mapped   bool
}

// expectedMounts are all mounts that a sandbox has but masks and devices.
func (a *audit) expectedMounts() []expected {
	fs := a.Profile.Filesystem
	sealed := []string{"nosuid", "nodev", "noexec"}
	list := []expected{
		{target: "/", flags: sealed[:2]},
		{target: "/proc", kind: "proc", flags: sealed, writable: true, hidepid: true},
		{target: "/proc/sys", kind: "proc", flags: sealed},
		{target: "/dev", kind: "tmpfs", flags: sealed, size: 64 << 10},
		{target: "/dev/shm", kind: "tmpfs", flags: sealed, size: int64(fs.ShmSize), writable: true},
		{target: "/tmp", kind: "tmpfs", flags: sealed, size: int64(fs.TmpSize), writable: true},
		{target: "/run/mcp-gateway-launch", flags: sealed[:2]},
	}
	for _, t := range fs.Tmpfs {
		list = append(list, expected{target: filepath.Clean(t.Target), kind: "tmpfs", flags: sealed, size: int64(t.Size), writable: true})
	}
	for _, m := range a.Mounts {
		e := expected{target: filepath.Clean(m.Target), source: m.Source, flags: sealed[:2], writable: m.Writable, mapped: m.Mapped}
		if m.Writable || m.NoExec {
			e.flags = sealed
		}
		list = append(list, e)
	}
	return list
}

// want says what a mount is to be like. got says the same of the one that is there.
func (e expected) want() string {
	parts := []string{e.access()}
	if e.kind != "" {
		parts = append([]string{e.kind}, parts...)
	}
	parts = append(parts, e.flags...)
	if e.kind == "tmpfs" {
		parts = append(parts, "size="+strconv.FormatInt(e.size, 10), "inodes limited")
	}
	if e.hidepid {
		parts = append(parts, "hidepid=invisible")
	}
	if e.mapped {
		parts = append(parts, "idmapped")
	}
	return strings.Join(append(parts, "private"), " ")
}

func (e expected) access() string {
	if e.writable {
		return "rw"
	}
	return "ro"
}

func (e expected) got(m mount) string {
	access := "ro"
	if m.has("rw") {
		access = "rw"
	}
	parts := []string{access}
	if e.kind != "" {
		parts = []string{m.Type, access}
	}
	for _, flag := range e.flags {
		if m.has(flag) {
			parts = append(parts, flag)
		}
	}
	if e.kind == "tmpfs" {
		size, err := parseSize(m.super("size"))
		if err == nil {
			parts = append(parts, "size="+strconv.FormatInt(size, 10))
		}
		if m.super("nr_inodes") != "" && m.super("nr_inodes") != "0" {
			parts = append(parts, "inodes limited")
		}
	}
	if value := m.super("hidepid"); e.hidepid && value != "" {
		parts = append(parts, "hidepid="+value)
	}
	if m.has("idmapped") {
		parts = append(parts, "idmapped")
	}
	if len(m.Peers) == 0 {
		return strings.Join(append(parts, "private"), " ")
	}
	return strings.Join(append(parts, m.Peers...), " ")
}

// checkMounts compares the mounts with those expected, one by one and as a set.
func (a *audit) checkMounts() {
	const section, where = "mounts", "mountinfo"
	host, hostErr := readMounts(a.proc + "/self/mountinfo")
	a.host = host
	own, err := readMounts(a.path(a.PID, where))
	if err != nil {
		a.judge(fact{section, "all", "as expected", where, 10}, "", false, err)
		return
	}
	a.mounts = own
	list := a.expectedMounts()
	for _, e := range list {
		a.checkMount(fact{section, e.target, e.want(), where, 4}, e)
	}
	var surplus []string
	for _, m := range own {
		if !slices.ContainsFunc(list, func(e expected) bool { return e.target == m.Target }) && !a.accounted(m, list) {
			surplus = append(surplus, m.Target+": "+m.String())
		}
	}
	a.judge(fact{section, "others", "none", where, 4}, orNone(strings.Join(surplus, "; ")), len(surplus) == 0, hostErr)
}

func readMounts(path string) ([]mount, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseMountinfo(string(content))
}

func (a *audit) checkMount(f fact, e expected) {
	var there []mount
	for _, m := range a.mounts {
		if m.Target == e.target {
			there = append(there, m)
		}
	}
	if len(there) != 1 {
		a.judge(f, fmt.Sprintf("%d mounts", len(there)), false, nil)
		return
	}
	a.expect(f, e.got(there[0]), nil)
	if e.source != "" {
		f.name, f.want = f.name+" shows", "the host's "+e.source
		a.checkSource(f, e)
	}
}

// checkSource compares what a mount shows with what the host has there now, and
// whose it is inside: nobody's of the host.
func (a *audit) checkSource(f fact, e expected) {
	host, err := lookAt(unix.AT_FDCWD, e.source)
	if err != nil {
		a.judge(f, "", false, err)
		return
	}
	inside, err := a.inside.look(e.target)
	if err != nil {
		a.judge(f, "", false, err)
		return
	}
	if inside.device != host.device || inside.inode != host.inode {
		a.judge(f, fmt.Sprintf("another: inode %d of %s, not %d of %s", inside.inode, inside.device, host.inode, host.device), false, nil)
		return
	}
	a.judge(f, f.want, true, nil)
	if e.mapped {
		f.name, f.want = e.target+" belongs to", strconv.Itoa(a.UID)
		a.expect(f, strconv.Itoa(inside.uid), nil)
	}
}

// accounted reports whether a mount that is not on the list has its reason: it
// masks something, is a device, or was below what the host shows.
func (a *audit) accounted(m mount, list []expected) bool {
	switch {
	case strings.HasPrefix(m.Target, "/proc/") || slices.Contains(a.Profile.Filesystem.Hidden, m.Target):
		masked, err := a.masked(m.Target)
		return masked && err == nil
	case filepath.Dir(m.Target) == "/dev" && (m.Type == "devtmpfs" || a.ofDev(m)):
		_, known := devices[filepath.Base(m.Target)]
		return known && m.Root == "/"+filepath.Base(m.Target)
	}
	return slices.ContainsFunc(list, func(e expected) bool { return e.source != "" && a.below(m, e) })
}

// ofDev reports whether a mount is of the file system that is at the host's /dev: in
// a container that is a tmpfs.
func (a *audit) ofDev(m mount) bool {
	return slices.ContainsFunc(a.host, func(h mount) bool { return h.Target == "/dev" && h.Device == m.Device })
}

// below reports whether a mount came along with an expected one: the host has the
// same at the same place, and it has got no more rights.
func (a *audit) below(m mount, e expected) bool {
	rest, ok := strings.CutPrefix(m.Target, e.target+"/")
	e.writable = e.writable && m.has("rw")
	if !ok || e.got(m) != e.want() {
		return false
	}
	path := filepath.Join(e.source, rest)
	return slices.ContainsFunc(a.host, func(h mount) bool { return h.Target == path && h.Device == m.Device && h.Root == m.Root })
}
