// Package packaging checks the packages that make package has left in dist: what is in
// them, for whom, that two builds are the same, and what lintian and rpmlint say.
package packaging

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// architectures are Go's and Debian's names, and rpm's.
var architectures = map[string]struct {
	rpm     string
	machine elf.Machine
}{
	"amd64": {"x86_64", elf.EM_X86_64},
	"arm64": {"aarch64", elf.EM_AARCH64},
}

// one is the only file that a pattern matches.
func one(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, "dist", pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s in dist: got %v, want one (make package)", pattern, found)
	}
	return found[0]
}

func deb(t *testing.T, arch string) string { return one(t, "mcp-gateway_*_"+arch+".deb") }
func rpm(t *testing.T, arch string) string {
	return one(t, "mcp-gateway-*."+architectures[arch].rpm+".rpm")
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, out, &stderr)
	}
	return string(out)
}

type file struct {
	*tar.Header
	content []byte
}

// files are those of a deb, by their installed paths.
func files(t *testing.T, arch string) map[string]file {
	t.Helper()
	found := map[string]file{}
	for archive := tar.NewReader(strings.NewReader(output(t, "dpkg-deb", "--fsys-tarfile", deb(t, arch)))); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		found[strings.TrimSuffix(strings.TrimPrefix(h.Name, "."), "/")] = file{h, content}
	}
}

var programs = []string{
	"/usr/bin/mcp-gateway", "/usr/bin/mcp-gatewayd", "/usr/bin/mcp-gateway-proxy",
	"/usr/libexec/mcp-gateway/mcp-gateway-launch", "/usr/libexec/mcp-gateway/mcp-gateway-vault",
}

func TestFiles(t *testing.T) {
	t.Parallel()
	for arch := range architectures {
		got := files(t, arch)
		for name, f := range got {
			want := fs.FileMode(0o644)
			if f.Typeflag == tar.TypeDir || slices.Contains(programs, name) {
				want = 0o755
			}
			if f.Typeflag != tar.TypeSymlink && f.FileInfo().Mode()&(fs.ModePerm|fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != want {
				t.Errorf("%s: %s: got mode %v, want %v", arch, name, f.FileInfo().Mode(), want)
			}
			if f.Uname != "root" || f.Gname != "root" || f.Uid != 0 || f.Gid != 0 {
				t.Errorf("%s: %s belongs to %s:%s (%d:%d)", arch, name, f.Uname, f.Gname, f.Uid, f.Gid)
			}
		}
		for _, name := range append(programs,
			"/usr/lib/systemd/system/mcp-gatewayd.service", "/usr/lib/systemd/system/mcp-gatewayd.socket",
			"/usr/lib/systemd/system/mcp-gateway-proxy.service", "/usr/lib/systemd/system/mcp-gateway-proxy.socket",
			"/usr/lib/sysusers.d/mcp-gateway.conf", "/usr/lib/tmpfiles.d/mcp-gateway.conf",
			"/etc/mcp-gateway/mcp-gateway.yaml", "/etc/mcp-gateway/policies.yaml",
			"/usr/share/doc/mcp-gateway/README.md", "/usr/share/doc/mcp-gateway/docs/configuration.md", "/usr/share/doc/mcp-gateway/copyright",
			"/usr/share/bash-completion/completions/mcp-gateway", "/usr/share/zsh/vendor-completions/_mcp-gateway",
			"/usr/share/fish/vendor_completions.d/mcp-gateway.fish") {
			if _, ok := got[name]; !ok {
				t.Errorf("%s: %s is missing", arch, name)
			}
		}
	}
}

// TestUnits: what units say of files is true where the package puts them.
func TestUnits(t *testing.T) {
	t.Parallel()
	got := files(t, "amd64")
	path := regexp.MustCompile(`(?:file://)?(/usr/(?:bin|libexec|share/doc)/[\w./-]+)`)
	for name, f := range got {
		if !strings.HasPrefix(name, "/usr/lib/systemd/system/") {
			continue
		}
		for _, m := range path.FindAllStringSubmatch(string(f.content), -1) {
			if _, ok := got[m[1]]; !ok {
				t.Errorf("%s names %s, which is not in the package", name, m[1])
			}
		}
	}
}

// TestPrograms: each is static, for its architecture, and does not tell where it was built.
func TestPrograms(t *testing.T) {
	t.Parallel()
	folders := strings.Fields(output(t, "go", "env", "GOMODCACHE", "GOROOT", "GOCACHE"))
	here, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	folders = append(folders, here, os.TempDir()+"/go-build")
	for arch, want := range architectures {
		got := files(t, arch)
		for _, name := range programs {
			content := got[name].content
			f, err := elf.NewFile(bytes.NewReader(content))
			if err != nil {
				t.Errorf("%s: %s: %v", arch, name, err)
				continue
			}
			libraries, _ := f.ImportedLibraries() // none: no such section
			if f.Machine != want.machine || len(libraries) > 0 || slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
				t.Errorf("%s: %s is for %v, with libraries %v", arch, name, f.Machine, libraries)
			}
			if name == "/usr/bin/mcp-gatewayd" && f.Type != elf.ET_DYN {
				t.Errorf("%s: the daemon is always at the same place in memory", arch)
			}
			for _, folder := range folders {
				if i := bytes.Index(content, []byte(folder+"/")); i >= 0 {
					t.Errorf("%s: %s tells where it was built: %q", arch, name, content[i:min(i+100, len(content))])
				}
			}
		}
	}
}

// TestRPM: an rpm has what the deb has, byte for byte, but for a few files that are each
// format's own.
func TestRPM(t *testing.T) {
	t.Parallel()
	own := regexp.MustCompile(`^/usr/share/(lintian|licenses|zsh)/|^/usr/share/doc/mcp-gateway/(copyright|changelog\.Debian\.gz)$`)
	for arch := range architectures {
		want := files(t, arch)
		got := map[string]bool{}
		for line := range strings.Lines(output(t, "rpm", "-qp", "--nosignature", "--qf",
			`[%{FILENAMES} %{FILEMODES:octal} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILEFLAGS:fflags}. %{FILEDIGESTS}\n]`, rpm(t, arch))) {
			f := strings.Fields(line)
			name, mode := f[0], f[1]
			got[name] = true
			if f[2] != "root:root" {
				t.Errorf("%s: %s belongs to %s", arch, name, f[2])
			}
			if (f[3] == "cn.") != strings.HasPrefix(name, "/etc/") && !strings.HasPrefix(mode, "4") {
				t.Errorf("%s: %s has the flags %q", arch, name, f[3])
			}
			if own.MatchString(name) {
				continue
			}
			w, ok := want[name]
			if !ok {
				t.Errorf("%s: only the rpm has %s", arch, name)
				continue
			}
			if w.Typeflag == tar.TypeReg {
				sum := sha256.Sum256(w.content)
				if len(f) < 5 || f[4] != hex.EncodeToString(sum[:]) || mode != fmt.Sprintf("100%o", w.Mode) {
					t.Errorf("%s: %s is not the deb's: %v", arch, name, f)
				}
			}
		}
		for name, f := range want {
			if f.Typeflag != tar.TypeDir && !own.MatchString(name) && !got[name] {
				t.Errorf("%s: only the deb has %s", arch, name)
			}
		}
	}
}

// TestConfiguration: what administrators change is kept, and loads as it stands.
func TestConfiguration(t *testing.T) {
	t.Parallel()
	got := files(t, "amd64")
	var want []string
	for name, f := range got {
		if strings.HasPrefix(name, "/etc/") && f.Typeflag == tar.TypeReg {
			want = append(want, name)
		}
	}
	slices.Sort(want)
	conffiles := strings.Fields(output(t, "dpkg-deb", "-I", deb(t, "amd64"), "conffiles"))
	if slices.Sort(conffiles); !slices.Equal(conffiles, want) {
		t.Errorf("conffiles: got %v, want %v", conffiles, want)
	}

	dir := t.TempDir()
	command := extract(t, got, dir, "/usr/bin/mcp-gateway")
	policies := extract(t, got, dir, "/etc/mcp-gateway/policies.yaml")
	output(t, command, "check", extract(t, got, dir, "/etc/mcp-gateway/mcp-gateway.yaml"))
	using := filepath.Join(dir, "using.yaml")
	text := "security: {authorization: {type: rbac, policy_file: " + policies + "}}\n"
	if err := os.WriteFile(using, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, command, "check", using)
}

// extract writes a file of a package into a folder and returns its path.
func extract(t *testing.T, from map[string]file, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, filepath.Base(name))
	if err := os.WriteFile(path, from[name].content, from[name].FileInfo().Mode()); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestManual: each program that people type has a page, with every flag, and so has the
// configuration, with every key at its top.
func TestManual(t *testing.T) {
	t.Parallel()
	got := files(t, "amd64")
	pages := map[string]string{}
	for name, f := range got {
		if !strings.HasPrefix(name, "/usr/share/man/") || f.Typeflag != tar.TypeReg {
			continue
		}
		unpacked, err := gzip.NewReader(bytes.NewReader(f.content))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		text, err := io.ReadAll(unpacked)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		pages[strings.TrimSuffix(filepath.Base(name), ".gz")] = string(text)
		groff := exec.Command("groff", "-man", "-Kutf8", "-Tutf8", "-ww")
		groff.Stdin = bytes.NewReader(text)
		var warnings strings.Builder
		groff.Stderr = &warnings
		if err := groff.Run(); err != nil || warnings.Len() > 0 {
			t.Errorf("%s: %v\n%s", name, err, &warnings)
		}
	}
	flag := regexp.MustCompile(`(?m)^  -([a-z-]+)`)
	for _, program := range []string{"mcp-gatewayd", "mcp-gateway-proxy"} {
		help, _ := exec.Command(extract(t, got, t.TempDir(), "/usr/bin/"+program), "-help").CombinedOutput() // status 2 or 0
		flags := flag.FindAllStringSubmatch(string(help), -1)
		if len(flags) == 0 {
			t.Errorf("%s -help: got %s", program, help)
		}
		for _, m := range flags {
			if !strings.Contains(pages[program+".8"], `\-`+m[1]) {
				t.Errorf("%s.8 does not have the flag -%s", program, m[1])
			}
		}
	}
	if !strings.Contains(pages["mcp-gateway-key-create.1"], "mcp\\-gateway") && !strings.Contains(pages["mcp-gateway-key-create.1"], "mcp-gateway") {
		t.Error("there is no page for mcp-gateway key create")
	}
	key := regexp.MustCompile(`(?m)^([a-z_]+):`)
	for _, m := range key.FindAllStringSubmatch(string(got["/etc/mcp-gateway/mcp-gateway.yaml"].content), -1) {
		if !strings.Contains(pages["mcp-gateway.yaml.5"], "\n.B "+m[1]+"\n") {
			t.Errorf("mcp-gateway.yaml.5 does not have the key %s", m[1])
		}
	}
}

// TestScripts: each is a script that ends with its first mistake.
func TestScripts(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob(filepath.Join(root, "packaging/*/p*"))
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, script := range scripts {
		text, err := os.ReadFile(script)
		if err != nil || !regexp.MustCompile(`/(deb|rpm)/(pre|post)[a-z]*$`).MatchString(script) {
			continue
		}
		checked++
		output(t, "sh", "-n", script)
		if !bytes.Contains(text, []byte("\nset -e\n")) {
			t.Errorf("%s goes on after a mistake", script)
		}
	}
	if checked < 6 {
		t.Errorf("got %d scripts", checked)
	}
}

func TestLintian(t *testing.T) {
	t.Parallel()
	for arch := range architectures {
		cmd := exec.Command("lintian", "--fail-on", "error,warning", "--display-info", "--tag-display-limit", "0", deb(t, arch))
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
		out, err := cmd.CombinedOutput()
		if err != nil || regexp.MustCompile(`(?m)^[EWI]: `).Match(out) {
			t.Errorf("lintian: %v\n%s", err, out)
		}
	}
}

// TestRpmlint keeps rpmlint from unpacking over this host: it leaves that to cpio, and
// nfpm writes absolute names, which rpm itself does not heed.
func TestRpmlint(t *testing.T) {
	t.Parallel()
	tools := t.TempDir()
	real, err := exec.LookPath("cpio")
	if err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\nexec " + real + " --no-absolute-filenames \"$@\"\n"
	if err := os.WriteFile(filepath.Join(tools, "cpio"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	for arch := range architectures {
		cmd := exec.Command("rpmlint", "-c", root+"/packaging/rpm/rpmlint.toml", rpm(t, arch))
		cmd.Env = append(os.Environ(), "PATH="+tools+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte(" 0 errors, 0 warnings")) {
			t.Errorf("rpmlint: %v\n%s", err, out)
		}
	}
}

// TestReproducible builds again, in another folder with another name, as another checkout
// of the same commit would be.
func TestReproducible(t *testing.T) {
	t.Parallel()
	elsewhere := filepath.Join(t.TempDir(), "another-checkout")
	if err := os.Mkdir(elsewhere, 0o700); err != nil {
		t.Fatal(err)
	}
	copying := exec.Command("sh", "-c", `tar -c --exclude=./.git --exclude=./bin --exclude=./dist --exclude=./.run --exclude=node_modules . | tar -xf - -C "$1"`, "sh", elsewhere)
	copying.Dir = root
	if out, err := copying.CombinedOutput(); err != nil {
		t.Fatalf("copy the checkout: %v\n%s", err, out)
	}
	version := strings.Split(filepath.Base(deb(t, "amd64")), "_")[1]
	build := exec.Command("packaging/package.sh", "amd64")
	build.Dir = elsewhere
	epoch := strings.TrimSpace(output(t, root+"/packaging/epoch.sh"))
	build.Env = append(os.Environ(), "VERSION="+strings.TrimSuffix(version, "-1"), "DIST=out", "SOURCE_DATE_EPOCH="+epoch, "TZ=Asia/Tokyo", "HOSTNAME=other")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build again: %v\n%s", err, out)
	}
	for _, first := range []string{deb(t, "amd64"), rpm(t, "amd64")} {
		want, err := os.ReadFile(first)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(elsewhere, "out", filepath.Base(first)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not the same when it is built again", filepath.Base(first))
		}
	}
}
