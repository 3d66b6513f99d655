package profile

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// weakened gives for each rule a parent's value, a weaker one and a stricter one,
// as they stand in a file, of a key that is as it is in the default profile.
func weakened(k Key, v reflect.Value) (parent, weaker, stricter string) {
	switch k.String() {
	case "filesystem.image":
		return "", "", "" // there is one value only
	case "filesystem.mounts":
		return `[{source = "/usr/share", target = "/a", access = "ro", noexec = true}]`, `[{source = "/usr/share", target = "/a", access = "ro"}]`, `[]`
	case "filesystem.tmpfs":
		return `[{target = "/a", size = "1M"}]`, `[{target = "/a", size = "2M"}]`, `[{target = "/a", size = "64K"}]`
	case "limits.io_max":
		return `[{device = "/dev/a", read_bps = 10}]`, `[{device = "/dev/a", read_bps = 0, write_bps = 5}]`, `[{device = "/dev/a", read_bps = 9}, {device = "/dev/b", read_bps = 9}]`
	case "filesystem.hidden":
		return `["/usr/share", "/usr/lib/a"]`, `["/usr/share"]`, `["/usr/share", "/usr/lib"]`
	case "network.allow":
		return `["*.example.com:443"]`, `["*.example.com:80"]`, `["a.example.com:443", "*.b.example.com:443"]`
	case "network.private":
		return `["10.0.0.0/8"]`, `["10.0.0.0/8", "192.168.0.0/16"]`, `["10.1.0.0/16"]`
	case "landlock.read":
		return `["/usr"]`, `[]`, `["/usr/lib"]`
	case "capabilities.keep", "namespaces.private":
		return "", "", "" // refused whatever the parent has; TestMistakes has them
	case "syscalls.plus":
		return `["ptrace"]`, `["ptrace", "bpf"]`, `[]`
	case "syscalls.minus":
		return `["@aio", "sync"]`, `["@aio"]`, `["@aio", "sync", "syncfs"]`
	case "syscalls.base":
		return `"@node"`, `"@default"`, `"@strict"`
	case "namespaces.ids":
		return "8192", "65536", ""
	case "lsm.apparmor", "lsm.selinux":
		return `"a"`, `"b"`, ""
	}
	switch rule := k.weaker; {
	case strings.Contains(rule, "<"):
		order := strings.Split(rule, "<")
		quote := func(s string) string {
			if v.Kind() == reflect.Bool {
				return s
			}
			return `"` + s + `"`
		}
		if len(order) > 2 {
			stricter = quote(order[len(order)-3])
		}
		return quote(order[len(order)-2]), quote(order[len(order)-1]), stricter
	case rule == "more" || rule == "fewer":
		return `["A"]`, `["A", "B"]`, `[]`
	case k.Section == "time":
		return `"1h"`, `"0s"`, `"30m"`
	case rule == "larger" && k.String() == "limits.memory_max":
		return `"64M"`, "0", `"32M"`
	case v.Type() == reflect.TypeFor[Size]():
		return `"2M"`, `"4M"`, `"1M"`
	case rule == "larger" || rule == "above":
		return "32", "64", "16"
	}
	return "", "", ""
}

// Each key that can weaken a profile is refused if it does, with the key, both
// values and the remedy; allowed with allow_weaker; and free to be stricter.
func TestWeakerKeysAreRefused(t *testing.T) {
	t.Parallel()
	tested := 0
	for _, k := range Schema() {
		v := k.Of(new(Profile))
		parent, weaker, stricter := weakened(k, v)
		if k.weaker == "" && k.Section != "syscalls" || parent == "" {
			continue
		}
		tested++
		t.Run(k.String(), func(t *testing.T) {
			t.Parallel()
			set := func(value string) string {
				text := fmt.Sprintf("[%s]\n%s = %s\n", k.Section, k.Name, value)
				if k.Section == "network" && k.Name != "mode" {
					text += "mode = \"allow\"\n"
				} else if k.String() == "network.mode" && value == `"host"` {
					text += "[namespaces]\nprivate = [\"user\", \"mount\", \"pid\", \"ipc\", \"uts\", \"cgroup\"]\n"
				}
				return text
			}
			files := map[string]string{
				"parent.toml": "allow_weaker = true\n" + set(parent),
				"child.toml":  "extends = \"parent\"\n" + set(weaker),
			}
			_, dir, err := load(t, files)
			errors := 1
			if k.String() == "network.mode" {
				errors++ // the host's network takes a namespace away, too
			}
			if err == nil || strings.Count(err.Error(), "\n")+1 != errors {
				t.Fatalf("Load: got %v, want %d errors", err, errors)
			}
			for _, part := range []string{
				dir + "/child.toml:3:", " " + k.String() + ": is ", ` of profile "parent" (` + dir + "/parent.toml:3)", "write allow_weaker = true at the top",
			} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error: got %v, want %s in it", err, part)
				}
			}
			for name, child := range map[string]string{
				"with allow_weaker": "allow_weaker = true\n" + files["child.toml"],
				"stricter":          "extends = \"parent\"\n" + set(stricter),
				"same":              "extends = \"parent\"\n" + set(parent),
			} {
				if stricter == "" && name == "stricter" {
					continue
				}
				if _, _, err := load(t, map[string]string{"parent.toml": files["parent.toml"], "child.toml": child}); err != nil {
					t.Errorf("%s: got %v, want no error", name, err)
				}
			}
		})
	}
	if want := len(Schema()) - 8; tested < want {
		t.Errorf("tested %d keys, want at least %d", tested, want)
	}
}

// Zero is no limit: larger than all, and stricter than none.
func TestExceeds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		key    string
		change func(p *Profile)
		ab, ba bool // b lets a server do more than a, a more than b
	}{
		{"limits.memory_max", func(p *Profile) { p.Limits.MemoryMax = 5 }, false, true},
		{"limits.swap_max", func(p *Profile) { p.Limits.SwapMax = 5 }, true, false},
		{"limits.cpu_weight", func(p *Profile) { p.Limits.CPUWeight = 5 }, false, false},
		{"limits.io_max", func(p *Profile) { p.Limits.IOMax = []IOMax{{Device: "/a", ReadBPS: 1}} }, false, true},
		{"landlock.read", func(p *Profile) { p.Landlock.Read = []string{"/usr"} }, false, true},
		{"environment.pass", func(p *Profile) { p.Environment.Pass = []string{"A"} }, true, false},
		{"lsm.apparmor", func(p *Profile) { p.LSM.AppArmor = "a" }, true, true},
		{"syscalls.minus", func(p *Profile) { p.Syscalls.Minus = []string{"@aio"} }, false, true},
		{"syscalls.base", func(p *Profile) { p.Syscalls.Base = "@node" }, false, true},
	} {
		a := Profile{Syscalls: Syscalls{Base: defaultCalls}}
		b := a
		tt.change(&b)
		for _, k := range Schema() {
			if k.String() != tt.key {
				continue
			}
			if ab, ba := k.Exceeds(&a, &b), k.Exceeds(&b, &a); ab != tt.ab || ba != tt.ba {
				t.Errorf("%s: got %v and %v, want %v and %v", tt.key, ab, ba, tt.ab, tt.ba)
			}
		}
	}
}
