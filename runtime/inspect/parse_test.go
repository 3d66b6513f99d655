package inspect

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"mcpgateway/policy/profile"
)

func TestParseMountinfo(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("testdata/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseMountinfo(string(content))
	if err != nil {
		t.Fatal(err)
	}
	want := []mount{
		{27, "254:0", "/", "/", []string{"rw", "relatime"}, []string{"shared:1"}, "ext4", "/dev/vda", []string{"rw", "discard"}},
		{54, "254:0", "/srv/a b", "/srv/a b", []string{"rw", "nosuid", "idmapped"}, []string{"shared:7", "master:2"}, "ext4", "/dev/vda", []string{"rw"}},
		{55, "0:43", "/", "/tmp", []string{"rw", "nosuid"}, []string{}, "tmpfs", "none", []string{"rw", "size=262144k"}},
		{60, "0:44", "/x//deleted", "/a\nb\\c", []string{"ro"}, []string{}, "tmpfs", "", []string{"rw"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %#v\nwant %#v", got, want)
	}
}

func TestParseMountinfoRefuses(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"", "1 2 3", "27 1 254:0 / / rw,relatime ext4 /dev/vda rw", "x 1 254:0 / / rw - ext4 /dev/vda rw",
		"27 1 254:0 / / - ext4 /dev/vda rw", "27 1 254:0 / / rw - ext4 /dev/vda", "27 1 254:0 / / rw - ext4 /dev/vda rw more",
	} {
		if got, err := parseMountinfo(line + "\n"); err == nil {
			t.Errorf("%q: got %v, want an error", line, got)
		}
	}
}

// FuzzMountinfo feeds it what no kernel writes: a mount is of one line, and no line
// is lost.
func FuzzMountinfo(f *testing.F) {
	content, err := os.ReadFile("testdata/mountinfo")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(content))
	f.Add(`1 1 0:1 /\777 /\04 rw - a b c`)
	f.Fuzz(func(t *testing.T, text string) {
		mounts, err := parseMountinfo(text)
		if err != nil {
			return
		}
		if lines := slices.Collect(strings.Lines(text)); len(lines) != len(mounts) {
			t.Fatalf("got %d mounts of %d lines", len(mounts), len(lines))
		}
		for _, m := range mounts {
			_ = expected{kind: "tmpfs", hidepid: true}.got(m)
			if len(m.Options) == 0 || len(m.Super) == 0 {
				t.Errorf("%+v has no options", m)
			}
		}
	})
}

func TestParseSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"4096": 4096, "64k": 65536, "2m": 2 << 20, "1g": 1 << 30, "0": 0} {
		if got, err := parseSize(text); got != want || err != nil {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "k", "1kk", "k1", "50%"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q: got %d, want an error", text, got)
		}
	}
}

func TestParseLimits(t *testing.T) {
	t.Parallel()
	got, err := parseLimits("Limit                     Soft Limit           Hard Limit           Units     \n" +
		"Max cpu time              unlimited            60                   seconds   \n" +
		"Max nice priority         0                    20                   \n")
	want := map[string]limit{"Max cpu time": {"unlimited", "60"}, "Max nice priority": {"0", "20"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for _, text := range []string{"Max cpu time 1", "Max cpu time              unlimited", "nonsense"} {
		if got, err := parseLimits(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}

// TestParseStart has a process with a name that looks like more fields.
func TestParseStart(t *testing.T) {
	t.Parallel()
	fields := strings.Repeat(" 0", 22-4) + " 4711 0"
	got, err := parseStart("12 (a) R 1) S" + fields)
	if got != "4711" || err != nil {
		t.Errorf("got %q, %v, want 4711", got, err)
	}
	for _, text := range []string{"", "12 (a) S 1 2", "12 (a)"} {
		if got, err := parseStart(text); err == nil {
			t.Errorf("%q: got %q, want an error", text, got)
		}
	}
}

func TestParseIDMap(t *testing.T) {
	t.Parallel()
	first, count, err := parseIDMap("         0 1073741824      65536\n")
	if first != 1073741824 || count != 65536 || err != nil {
		t.Errorf("got %d, %d, %v", first, count, err)
	}
	for _, text := range []string{"", "0 1", "0 1 1\n1 2 1\n", "0 x 1", "0 1 x"} {
		if first, count, err := parseIDMap(text); err == nil {
			t.Errorf("%q: got %d, %d, want an error", text, first, count)
		}
	}
}

func TestParseCgroup(t *testing.T) {
	t.Parallel()
	got, err := parseCgroup("9:name=systemd:/a\n2:cpu,cpuacct:/b:c\n0::/d\n")
	want := []hierarchy{{[]string{"name=systemd"}, "/a"}, {[]string{"cpu", "cpuacct"}, "/b:c"}, {[]string{""}, "/d"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if got, err := parseCgroup("0:/d"); err == nil {
		t.Errorf("got %v, want an error", got)
	}
}

func TestIOLimit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, key, want string }{
		{"", "rbps", "max"},
		{"8:16 1", "rbps", "max"},
		{"8:0 1048576", "rbps", "1048576"},
		{"8:16 rbps=1\n8:0 rbps=max wbps=2 riops=max wiops=3\n", "wbps", "2"},
		{"8:0 rbps=max wbps=2", "rbps", "max"},
	} {
		if got := ioLimit(tt.text, "8:0", tt.key); got != tt.want {
			t.Errorf("%q, %s: got %q, want %q", tt.text, tt.key, got, tt.want)
		}
	}
}

// TestUnifiedCgroup has every limit on cgroup v2.
func TestUnifiedCgroup(t *testing.T) {
	t.Parallel()
	const cgroup = "sys/fs/cgroup/gateway/project-default/one-2/"
	made := newTree(t)
	unified := func(t *testing.T) (tree, *audit) {
		tr := made.lentTo(t)
		tr.write("proc/self/mountinfo", "40 31 0:37 /system.slice "+tr.path("sys/fs/cgroup")+" rw - cgroup2 cgroup2 rw\n")
		for _, pid := range []string{first, server} {
			tr.write("proc/"+pid+"/cgroup", "0::/system.slice/gateway/project-default/one-2\n")
		}
		for name, content := range map[string]string{
			"memory.max": "536870912", "memory.swap.max": "0", "memory.high": "268435456", "memory.oom.group": "1", "cpu.max": "50000 100000",
			"cpu.weight": "50", "pids.max": "max", "cgroup.procs": first + "\n" + server, "cgroup.freeze": "1",
			"io.max": "1:3 rbps=max wbps=1048576 riops=max wiops=max",
		} {
			tr.write(cgroup+name, content+"\n")
		}
		a := newAudit(tr)
		a.devicePrograms = func(string) (int, error) { return 1, nil }
		a.Profile.Limits = profile.Limits{
			MemoryMax: 512 << 20, MemoryHigh: 256 << 20, CPUMax: 0.5, CPUWeight: 50, IOMax: []profile.IOMax{{Device: "/dev/null", WriteBPS: 1 << 20}},
		}
		return tr, a
	}
	const section = "limits of the sandbox: "
	for _, tt := range []struct{ file, content, want string }{
		{"memory.max", "536870912", ""},
		{"memory.max", "max", section + "memory"},
		{"memory.swap.max", "max", section + "memory and swap"},
		{"memory.high", "max", section + "memory, slowed down above"},
		{"memory.oom.group", "0", section + "out of memory ends all"},
		{"cpu.max", "max 100000", section + "cpu"},
		{"cpu.weight", "100", section + "cpu weight"},
		{"pids.max", "2", section + "processes"},
		{"io.max", "1:3 rbps=max wbps=max riops=max wiops=max", section + "i/o of /dev/null, wbps"},
		{"cgroup.freeze", "2", section + "state"},
	} {
		t.Run(tt.file+"="+tt.content, func(t *testing.T) {
			tr, a := unified(t)
			tr.write(cgroup+tt.file, tt.content+"\n")
			if got := strings.Join(differences(run(t, a)), "; "); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	_, a := unified(t)
	a.devicePrograms = func(string) (int, error) { return 0, nil }
	if got := differences(run(t, a)); !slices.Equal(got, []string{section + "devices"}) {
		t.Errorf("no device program: got %q", got)
	}
}

// TestRootKeepsLinksInside looks through links that name what is outside.
func TestRootKeepsLinksInside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, err := range []error{
		os.WriteFile(filepath.Join(dir, "secret"), []byte("x"), 0o600),
		os.MkdirAll(filepath.Join(dir, "root", "sub"), 0o755),
		os.WriteFile(filepath.Join(dir, "root", "sub", "full"), []byte("x"), 0o600),
		os.WriteFile(filepath.Join(dir, "root", "sub", "none"), nil, 0o600),
		os.Symlink("/secret", filepath.Join(dir, "root", "sub", "absolute")),
		os.Symlink("../../secret", filepath.Join(dir, "root", "sub", "relative")),
		os.Symlink(dir, filepath.Join(dir, "root", "folder")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r := root(filepath.Join(dir, "root"))
	if _, err := r.look("/sub"); err != nil {
		t.Error(err)
	}
	for _, path := range []string{"/../secret", "/folder/secret", "/folder/"} {
		if e, err := r.look(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: got %+v, %v, want that it does not exist", path, e, err)
		}
	}
	if e, err := r.look("/sub/full"); err != nil || e.empty || e.mounted || e.mode&unix.S_IFMT != unix.S_IFREG || e.uid != os.Getuid() {
		t.Errorf("a file: got %+v, %v", e, err)
	}
	if e, err := r.look("/sub/none"); err != nil || !e.empty {
		t.Errorf("an empty file: got %+v, %v", e, err)
	}
	if e, err := root("/").look("/proc"); err != nil || e.empty || !e.mounted {
		t.Errorf("/proc: got %+v, %v", e, err)
	}
	names, err := r.list("/")
	slices.Sort(names)
	if want := []string{"folder", "sub"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("got %q, %v, want %q", names, err, want)
	}
}

// TestInspectNoticesTheEnd has a process that is gone, and one that is no sandbox.
func TestInspectNoticesTheEnd(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	subject := Subject{ID: "one-1", PID: cmd.Process.Pid, UID: 1 << 30}
	findings, err := Inspect(subject)
	if err != nil || len(differences(findings)) < 20 {
		t.Errorf("a process that is no sandbox: got %v, and %d differences", err, len(differences(findings)))
	}
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := Inspect(subject); !errors.Is(err, ErrEnded) {
		t.Errorf("a process that has ended: got %v, want %v", err, ErrEnded)
	}
}
