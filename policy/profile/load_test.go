package profile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// load loads the shipped profiles and files, which are names and contents.
func load(t *testing.T, files map[string]string) (*Set, string, error) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set, err := Load(dir)
	return set, dir, err
}

func TestShippedProfiles(t *testing.T) {
	t.Parallel()
	set, err := Load(filepath.Join(t.TempDir(), "none"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"browser", "default", "network-client", "node", "python", "strict"}
	if got := set.Names(); !slices.Equal(got, want) {
		t.Errorf("Names: got %q, want %q", got, want)
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string // "" for none; {} stands for the folder
	}{
		{"empty", map[string]string{"x.toml": ""}, ""},
		{"other files", map[string]string{"README": "?", "x.yaml": "?"}, ""},
		{"unknown keys", map[string]string{"x.toml": "extend = \"strict\"\n[limits]\nmemmory_max = 1\n"},
			"{}/x.toml:1:1: extend: unknown key: did you mean \"extends\"?\n{}/x.toml:3:1: limits.memmory_max: unknown key: did you mean \"memory_max\"?"},
		{"wrong types", map[string]string{"x.toml": "[limits]\nmemory_max = 1.5\npids_max = \"9\"\nswap_max = \"5X\"\n[time]\nrun = 5\n"},
			"{}/x.toml:2:14: limits.memory_max: is 1.5, want a whole number in decimal digits\n" +
				"{}/x.toml:3:12: limits.pids_max: is a text, want a whole number in decimal digits: write it without quotes\n" +
				"{}/x.toml:4:12: limits.swap_max: want a number of bytes, with K, M, G or T behind it for powers of 1024, as in \"512M\"\n" +
				"{}/x.toml:6:7: time.run: has no unit: write \"5s\" for seconds"},
		{"out of range", map[string]string{"x.toml": "[limits]\nmemory_max = \"4K\"\n[network]\nmode = \"some\"\n"},
			"{}/x.toml:2:14: limits.memory_max: is 4K, want 0 or 1048576 to 17592186044416\n{}/x.toml:4:8: network.mode: is \"some\", want none or allow or host"},
		{"two files", map[string]string{"x.toml": "a = 1", "y.toml": "="},
			"{}/x.toml:1:1: a: unknown key: known here are description, extends, allow_weaker, filesystem, network, syscalls, capabilities, namespaces, limits, rlimits, environment, time, landlock, lsm\n" +
				"{}/y.toml:1:1: not valid TOML: unexpected '=': key name appears blank"},
		{"unknown parent", map[string]string{"x.toml": `extends = "strickt"`}, `{}/x.toml:1:11: extends: is "strickt": did you mean "strict"?`},
		{"itself", map[string]string{"x.toml": `extends = "x"`}, `{}/x.toml:1:11: extends: "x" extends this profile in turn: one of them must extend another`},
		{"cycle", map[string]string{"x.toml": `extends = "y"`, "y.toml": `extends = "z"`, "z.toml": `extends = "x"`},
			`{}/z.toml:1:11: extends: "x" extends this profile in turn: one of them must extend another`},
		{"below a mistake", map[string]string{"x.toml": "a = 1", "y.toml": `extends = "x"`},
			"{}/x.toml:1:1: a: unknown key: known here are description, extends, allow_weaker, filesystem, network, syscalls, capabilities, namespaces, limits, rlimits, environment, time, landlock, lsm"},
		{"shipped name", map[string]string{"node.toml": ""}, `{}/node.toml: "node" is a shipped profile: choose another name, and write extends = "node"`},
		{"bad name", map[string]string{"My.toml": ""}, `{}/My.toml: cannot be a profile's name: the name may have a-z, 0-9 and, between those, '-', '_' and '.', and at most 64 characters`},
		{"capability", map[string]string{"x.toml": "[capabilities]\nkeep = [\"CAP_CHOWN\"]"},
			"{}/x.toml:2:1: capabilities.keep: must be empty: no server has a capability"},
		{"namespace left out", map[string]string{"x.toml": "allow_weaker = true\n[namespaces]\nprivate = [\"user\", \"pidd\", \"user\", \"mount\", \"ipc\", \"uts\", \"cgroup\"]"},
			"{}/x.toml:3:1: namespaces.private: lacks \"pid\": a server always has its own: add it\n" +
				"{}/x.toml:3:20: namespaces.private[1]: is \"pidd\": did you mean \"pid\"?\n{}/x.toml:3:28: namespaces.private[2]: \"user\" is there twice"},
		{"network left out", map[string]string{"x.toml": "allow_weaker = true\n[namespaces]\nprivate = [\"user\", \"mount\", \"pid\", \"ipc\", \"uts\", \"cgroup\"]"},
			"{}/x.toml:3:1: namespaces.private: lacks \"net\": add it, or write network.mode = \"host\" to give servers the host's network"},
		{"host's network", map[string]string{"x.toml": "allow_weaker = true\n[network]\nmode = \"host\"\n[namespaces]\nprivate = [\"user\", \"mount\", \"pid\", \"ipc\", \"uts\", \"cgroup\"]"}, ""},
		{"host's network and an own one", map[string]string{"x.toml": "allow_weaker = true\n[network]\nmode = \"host\"\n"},
			"{}/x.toml:1:1: namespaces.private: has \"net\", but network.mode is \"host\": leave \"net\" out, or write mode = \"none\""},
		{"allow without mode", map[string]string{"x.toml": "allow_weaker = true\n[network]\nallow = [\"a.example:443\"]\nprivate = [\"10.0.0.0/8\"]"},
			"{}/x.toml:3:1: network.allow: has no meaning with network.mode \"none\": write mode = \"allow\", or allow = []\n" +
				"{}/x.toml:4:1: network.private: has no meaning with network.mode \"none\": write mode = \"allow\", or private = []"},
		{"bad endpoints", map[string]string{"x.toml": "extends = \"network-client\"\nallow_weaker = true\n[network]\nallow = [\"a.example\", \"a.example:443\"]\nprivate = [\"10.0.0.1/8\"]"},
			"{}/x.toml:4:10: network.allow[0]: allow \"a.example\": it needs a port: write name:port\n" +
				"{}/x.toml:5:12: network.private[0]: private 10.0.0.1/8 has bits set behind its length: write 10.0.0.0/8"},
		{"unknown calls", map[string]string{"x.toml": "allow_weaker = true\n[syscalls]\nbase = \"@nod\"\nplus = [\"ptrac\", \"openat2\", \"sync\"]\nminus = [\"@ai\", \"no_such_call\", \"sync\"]"},
			"{}/x.toml:3:8: syscalls.base: is \"@nod\": did you mean \"@node\"?\n{}/x.toml:4:9: syscalls.plus[0]: \"ptrac\" is no system call: did you mean \"ptrace\"?\n" +
				"{}/x.toml:4:18: syscalls.plus[1]: \"openat2\" can't be allowed: its arguments lie in memory, where no filter can look: leave it out\n" +
				"{}/x.toml:4:29: syscalls.plus[2]: \"sync\" is in minus, too: keep one of them\n" +
				"{}/x.toml:5:10: syscalls.minus[0]: \"@ai\" is no group of system calls: did you mean \"@aio\"?\n{}/x.toml:5:17: syscalls.minus[1]: \"no_such_call\" is no system call"},
		{"mounts", map[string]string{"x.toml": "allow_weaker = true\n[[filesystem.mounts]]\nsource = \"/proc\"\n[[filesystem.mounts]]\nsource = \"/usr/share/doc\"\ntarget = \"/etc\"\n" +
			"[[filesystem.mounts]]\nsource = \"/usr/share\"\naccess = \"rw\"\ntarget = \"/a\"\n[[filesystem.mounts]]\nsource = \"/usr/share\"\ntarget = \"/a\"\n[[filesystem.mounts]]\nsource = \"usr\"\n"},
			"{}/x.toml:2:3: filesystem.mounts[0].target: \"/proc\" cannot be a target: the sandbox has its own\n" +
				"{}/x.toml:3:10: filesystem.mounts[0].source: \"/proc\" is a system path: name the folder of the program\n" +
				"{}/x.toml:6:10: filesystem.mounts[1].target: \"/etc\" cannot be a target: the sandbox has its own\n" +
				"{}/x.toml:8:10: filesystem.mounts[2].source: \"/usr/share\" is a system path, which no server may write: use access = \"ro\"\n" +
				"{}/x.toml:11:3: filesystem.mounts[3]: \"/a\" is a target already\n{}/x.toml:15:10: filesystem.mounts[4].source: is \"usr\", want an absolute path"},
		{"other paths", map[string]string{"x.toml": "allow_weaker = true\n[filesystem]\nhidden = [\"/\", \"x\"]\ntmpfs = [{target = \"/run\", size = \"1M\"}, {target = \"/a\"}, {size = \"1M\"}, {target = \"/b\", size = 1}]\n[landlock]\nread = [\"usr\"]\n[limits]\nio_max = [{device = \"/dev/sda\"}, {read_bps = 1}]\n"},
			"{}/x.toml:3:11: filesystem.hidden[0]: can't be all there is: name a file or a folder of the image\n{}/x.toml:3:16: filesystem.hidden[1]: is \"x\", want an absolute path\n" +
				"{}/x.toml:4:20: filesystem.tmpfs[0].target: \"/run\" cannot be a target: the sandbox has its own\n" +
				"{}/x.toml:4:42: filesystem.tmpfs[1].size: is missing: say how much fits in, as in \"64M\"\n" +
				"{}/x.toml:4:59: filesystem.tmpfs[2].target: is missing: write an absolute path\n{}/x.toml:4:97: filesystem.tmpfs[3].size: is 1, want 4096 to 1099511627776\n" +
				"{}/x.toml:6:9: landlock.read[0]: is \"usr\", want an absolute path\n{}/x.toml:8:11: limits.io_max[0]: limits nothing: give it read_bps, write_bps, read_iops or write_iops\n" +
				"{}/x.toml:8:34: limits.io_max[1].device: is missing: write an absolute path"},
		{"names", map[string]string{"x.toml": "allow_weaker = true\n[environment]\npass = [\"1A\"]\n[lsm]\napparmor = \"a\\nb\""},
			"{}/x.toml:3:9: environment.pass[0]: is \"1A\": the name of a variable has letters, digits and '_', and no digit first\n{}/x.toml:5:12: lsm.apparmor: holds a control character: no label has one"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, dir, err := load(t, tt.files)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if want := strings.ReplaceAll(tt.want, "{}", dir); got != want {
				t.Errorf("Load: got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestOnlyRootsFiles(t *testing.T) {
	t.Parallel()
	_, dir, err := load(t, map[string]string{"x.toml": ""})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "x.toml")
	for _, path := range []string{file, dir} {
		mode := os.FileMode(0o700)
		if err := os.Chmod(path, mode|0o020); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), path+": can be written by its group or others") {
			t.Errorf("%s: got %v, want that others can write it", path, err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(file, filepath.Join(t.TempDir(), "x")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(file, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), file+": is not a regular file") {
		t.Errorf("folder: got %v, want that it is no file", err)
	}
}

// A key that a file sets is the file's as a whole, lists too; the others are those
// of what it extends, and each says where it comes from.
func TestExtends(t *testing.T) {
	t.Parallel()
	_, dir, err := load(t, map[string]string{
		"a.toml": "description = \"first\"\n[environment]\npass = [\"A\", \"B\"]\n[limits]\npids_max = 9\n",
		"b.toml": "extends = \"a\"\n[environment]\npass = [\"B\"]\n",
	})
	if err == nil || !strings.Contains(err.Error(), `a.toml:3:1: environment.pass: is ["A", "B"]: weaker than [] of profile "default" (shipped/default.toml:`) {
		t.Fatalf("Load: got %v, want that a is weaker", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a.toml"), []byte("description = \"first\"\nallow_weaker = true\n[environment]\npass = [\"A\", \"B\"]\n[limits]\npids_max = 9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := set.Get("b")
	if want := []string{"b", "a", "default"}; !slices.Equal(b.Chain, want) || b.Name != "b" || b.Description != "" {
		t.Errorf("got chain %q of %q (%q), want %q", b.Chain, b.Name, b.Description, want)
	}
	if !slices.Equal(b.Environment.Pass, []string{"B"}) || b.Limits.PIDsMax != 9 || b.Rlimits.NoFile != 4096 {
		t.Errorf("got %+v", b.Profile)
	}
	for key, want := range map[string]string{"environment.pass": dir + "/b.toml:3", "limits.pids_max": dir + "/a.toml:6"} {
		if got := b.Origin[key]; got != want {
			t.Errorf("origin of %s: got %s, want %s", key, got, want)
		}
	}
	if got := b.Origin["rlimits.nofile"]; !strings.HasPrefix(got, "shipped/default.toml:") {
		t.Errorf("origin of rlimits.nofile: got %s", got)
	}
}

// The mounts of a file are complete and real, so that they can be compared.
func TestMountsAreCompleted(t *testing.T) {
	t.Parallel()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Mkdir(root+"/real", 0o700), os.Symlink("real", root+"/link")); err != nil {
		t.Fatal(err)
	}
	set, _, err := load(t, map[string]string{"x.toml": fmt.Sprintf(`allow_weaker = true
[filesystem]
mounts = [{source = "%[1]s/link"}, {source = "%[1]s/none", target = "/b", access = "rw"}]`, root)})
	if err != nil {
		t.Fatal(err)
	}
	x, _ := set.Get("x")
	want := []Mount{{root + "/real", root + "/link", "ro", false}, {root + "/none", "/b", "rw", true}}
	if !slices.Equal(x.Filesystem.Mounts, want) {
		t.Errorf("mounts: got %+v, want %+v", x.Filesystem.Mounts, want)
	}
	if got := set.Warnings().Error(); !strings.HasSuffix(got, `x.toml:3:47: filesystem.mounts[1].source: "`+root+`/none" does not exist: the server cannot start before it does`) && strings.Count(got, "\n") != 0 {
		t.Errorf("warnings: got %s, want one about what is not there", got)
	}
}
