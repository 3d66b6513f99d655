package containers_test

import (
	"crypto/sha256"
	"debug/elf"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// common is what both images have, as describe says it. A name that ends in / is a folder.
const common = `
bin -> usr/bin
dev/ 0755
etc/ 0755
etc/group 0644
etc/hosts 0644
etc/nsswitch.conf 0644
etc/passwd 0644
etc/ssl/ 0755
etc/ssl/certs/ 0755
etc/ssl/certs/ca-certificates.crt 0644
lib -> usr/lib
lib64 -> usr/lib64
proc/ 0755
run/ 0755
run/mcp-gateway/ 0755
run/mcp-gateway-proxy/ 0700 65532
sbin -> usr/sbin
sys/ 0755
tmp/ 0755
usr/ 0755
usr/bin/ 0755
usr/lib/ 0755
usr/lib64/ 0755
usr/sbin/ 0755
usr/share/ 0755
usr/share/doc/ 0755
usr/share/doc/mcp-gateway/ 0755
usr/share/doc/mcp-gateway/LICENSE 0644
var/ 0755
var/lib/ 0755
`

// own is what one image has beside that.
func own() map[string]string {
	return map[string]string{
		"daemon": `
etc/mcp-gateway/ 0755
etc/mcp-gateway/mcp-gateway.yaml 0644
etc/mcp-gateway/policies.yaml 0644
run/mcp-gateway-ids/ 0700
usr/bin/mcp-gateway 0755
usr/bin/mcp-gatewayd 0755
usr/libexec/ 0755
usr/libexec/mcp-gateway/ 0755
usr/libexec/mcp-gateway/mcp-gateway-launch 0755
usr/libexec/mcp-gateway/mcp-gateway-vault 0755
var/lib/mcp-gateway/ 0755
var/log/ 0755
var/log/mcp-gateway/ 0750
`,
		"proxy": `
usr/bin/mcp-gateway-proxy 0755
var/lib/mcp-gateway-proxy/ 0700 65532
`,
	}
}

// maxSize bounds an image's content in bytes: what it grows by was meant to be in it.
const maxSize = 50 << 20

// TestContents compares each root filesystem with its list: nothing that is not in it,
// such as a shell, with no other mode or owner; only static programs.
func TestContents(t *testing.T) {
	t.Parallel()
	for _, role := range roles() {
		root := filepath.Join(made.dir, role)
		want := lines(common + own()[role])
		slices.Sort(want)
		var got []string
		var size int64
		walk(t, root, func(path string, info fs.FileInfo) {
			got = append(got, describePath(t, root, path, info))
			if !info.Mode().IsRegular() {
				return
			}
			size += info.Size()
			if info.Mode().Perm()&0o111 != 0 {
				checkStatic(t, filepath.Join(root, path))
			}
		})
		slices.Sort(got)
		for _, extra := range difference(got, want) {
			t.Errorf("%s: %s is in the image, but not in the list", role, extra)
		}
		for _, missing := range difference(want, got) {
			t.Errorf("%s: %s is in the list, but not in the image", role, missing)
		}
		if size > maxSize {
			t.Errorf("%s: %d bytes, at most %d are allowed", role, size, maxSize)
		}
		t.Logf("%s: %d files and folders, %d bytes", role, len(got), size)
	}
}

func lines(text string) []string {
	return slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool { return line == "" })
}

func difference(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

func walk(t *testing.T, root string, do func(path string, info fs.FileInfo)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if relative, _ := filepath.Rel(root, path); err == nil && relative != "." {
			do(relative, info)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// describePath says all of a file but its content and its time.
func describePath(t *testing.T, root, path string, info fs.FileInfo) string {
	t.Helper()
	owner, text := info.Sys().(*syscall.Stat_t), path
	switch info.Mode().Type() {
	case fs.ModeDir:
		text += "/"
	case fs.ModeSymlink:
		target, err := os.Readlink(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		return text + " -> " + target
	case 0:
	default:
		t.Errorf("%s is a %s", path, info.Mode())
	}
	text += fmt.Sprintf(" %04o", owner.Mode&0o7777)
	if owner.Uid != owner.Gid {
		t.Errorf("%s: its owner is %d, and its group %d", path, owner.Uid, owner.Gid)
	}
	if owner.Uid != 0 {
		text += fmt.Sprintf(" %d", owner.Uid)
	}
	return text
}

func checkStatic(t *testing.T, path string) {
	t.Helper()
	program, err := elf.Open(path)
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	defer program.Close()
	libraries, _ := program.ImportedLibraries() // an error is a program without any
	for _, part := range program.Progs {
		if part.Type == elf.PT_INTERP || len(libraries) > 0 {
			t.Errorf("%s is not static: %v", path, libraries)
		}
	}
}

func TestUsers(t *testing.T) {
	t.Parallel()
	for _, role := range roles() {
		for name, want := range map[string]string{
			"passwd": fmt.Sprintf("root:0:0 mcp-gateway:%d:%[1]d mcp-gateway-secrets:%d:%[2]d", proxyID, helperID),
			"group":  fmt.Sprintf("root:0 mcp-gateway:%d mcp-gateway-secrets:%d", proxyID, helperID),
		} {
			content, err := os.ReadFile(filepath.Join(made.dir, role, "etc", name))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, line := range lines(string(content)) {
				fields := strings.Split(line, ":")
				got = append(got, strings.TrimSuffix(strings.Join(append(fields[:1], fields[2:4]...), ":"), ":"))
			}
			if all := strings.Join(got, " "); all != want {
				t.Errorf("%s: %s has %q, want %q", role, name, all, want)
			}
		}
	}
}

// TestTwoAreAlike makes each root filesystem again.
func TestTwoAreAlike(t *testing.T) {
	t.Parallel()
	for _, role := range roles() {
		again := filepath.Join(t.TempDir(), role)
		if out, err := rootfs(role, again); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		first, second := digests(t, filepath.Join(made.dir, role)), digests(t, again)
		if !maps.Equal(first, second) {
			t.Errorf("%s: two root filesystems differ:\n%v\n%v", role, first, second)
		}
	}
}

func digests(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	walk(t, root, func(path string, info fs.FileInfo) {
		all[path] = fmt.Sprint(describePath(t, root, path, info), info.ModTime().UnixNano())
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(filepath.Join(root, path))
			if err != nil {
				t.Fatal(err)
			}
			all[path] += fmt.Sprintf(" %x", sha256.Sum256(content))
		}
	})
	return all
}
