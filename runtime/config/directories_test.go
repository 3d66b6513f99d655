package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"mcpgateway/policy"
	"mcpgateway/policy/profile"
	"mcpgateway/policy/rules"
	"mcpgateway/runtime/document"
)

var shipped = sync.OnceValues(func() (*profile.Set, error) { return profile.Load("/no/such/folder") })

// testHost owns every directory by uid and knows one user, alice, number 1000. It
// has the shipped profiles, whatever folder a file names.
func testHost(uid uint32) host {
	return host{
		profiles: func(string) (*profile.Set, error) { return shipped() },
		owner:    func(fs.FileInfo) uint32 { return uid },
		rules: func(file string) (*policy.RBAC, error) {
			return rules.Parse(file, []byte("roles: {viewer: {}}"))
		},
		userID: func(name string) (string, error) {
			switch name {
			case "alice":
				return "1000", nil
			case "root":
				return "0", nil
			}
			return "", errors.New("unknown user")
		},
	}
}

// tree makes a temporary folder with two directories a and b, a file, a link to
// a, one to /etc and one to nothing.
func tree(t *testing.T) string {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.MkdirAll(filepath.Join(root, "a", "inner"), 0o700),
		os.Mkdir(filepath.Join(root, "b"), 0o700),
		os.Mkdir(filepath.Join(root, "c"), 0o700),
		os.WriteFile(filepath.Join(root, "file"), nil, 0o600),
		os.Symlink(filepath.Join(root, "a"), filepath.Join(root, "link")),
		os.Symlink("/etc", filepath.Join(root, "etc")),
		os.Symlink("/nowhere/at/all", filepath.Join(root, "dangling")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// findings gives errors and warnings as lines "line:column: text".
func findings(warnings document.Errors, err error) []string {
	var lines []string
	if found, ok := errors.AsType[document.Errors](err); ok {
		for _, one := range found {
			lines = append(lines, "error "+strings.TrimPrefix(one.Position, "t.yaml:")+": "+one.Text)
		}
	} else if err != nil {
		lines = append(lines, err.Error())
	}
	for _, one := range warnings {
		lines = append(lines, "warning "+strings.TrimPrefix(one.Position, "t.yaml:")+": "+one.Text)
	}
	return lines
}

func TestAllowedDirectory(t *testing.T) {
	t.Parallel()
	const system = `error 5:5: servers.s.allowed_directories[0]: "%s" is a system path: name a folder of the project's own`
	const where = "servers.s.allowed_directories[0]"
	root := tree(t)
	for _, tt := range []struct {
		name, entry string
		uid         uint32
		want        string // "" for nothing; {} stands for the temporary folder
	}{
		{"plain", "{}/a", 1000, ""},
		{"read-only", "{}/a:ro", 1000, ""},
		{"read-write", "{}/a:rw", 1000, ""},
		{"mapping", "{path: {}/a, access: rw, owner: alice}", 0, ""},
		{"owner by number", `{path: {}/a, access: rw, owner: "1234"}`, 0, ""},
		{"root", "/", 1000, fmt.Sprintf(system, "/")},
		{"tree", "/etc", 1000, fmt.Sprintf(system, "/etc")},
		{"inside tree", "/etc/nothing", 1000, fmt.Sprintf(system, "/etc/nothing")},
		{"holds tree", "/var/lib", 1000, fmt.Sprintf(system, "/var/lib")},
		{"own state", "/var/lib/mcp-gateway/keys", 1000, fmt.Sprintf(system, "/var/lib/mcp-gateway/keys")},
		{"single folder", "/home", 1000, fmt.Sprintf(system, "/home")},
		{"tmp", "/tmp", 1000, fmt.Sprintf(system, "/tmp")},
		{"name like a tree", "/etcetera", 1000, `warning 5:5: ` + where + `: "/etcetera" does not exist: the server cannot start before it does`},
		{"missing", "{}/no/where", 1000, `warning 5:5: ` + where + `: "{}/no/where" does not exist: the server cannot start before it does`},
		{"relative", "a/b", 1000, `error 5:5: ` + where + `: is "a/b", want an absolute path`},
		{"unclean", "{}/a/../b", 1000, `error 5:5: ` + where + `: is "{}/a/../b": write "{}/b"`},
		{"trailing slash", "{}/a/", 1000, `error 5:5: ` + where + `: is "{}/a/": write "{}/a"`},
		{"file", "{}/file", 1000, `error 5:5: ` + where + `: "{}/file" is not a directory`},
		{"below file", "{}/file/x", 1000, `error 5:5: ` + where + `: "{}/file/x" cannot be used: not a directory`},
		{"link", "{}/link", 1000, `error 5:5: ` + where + `: "{}/link" passes through a symbolic link: write the real path, "{}/a"`},
		{"through link", "{}/link/inner", 1000, `error 5:5: ` + where + `: "{}/link/inner" passes through a symbolic link: write the real path, "{}/a/inner"`},
		{"missing behind link", "{}/link/new", 1000, `error 5:5: ` + where + `: "{}/link/new" passes through a symbolic link: write the real path, "{}/a/new"`},
		{"link to system", "{}/etc", 1000, `error 5:5: ` + where + `: "{}/etc" leads through a symbolic link to "/etc", which is a system path`},
		{"missing behind link to system", "{}/etc/zz-none", 1000, `error 5:5: ` + where + `: "{}/etc/zz-none" leads through a symbolic link to "/etc/zz-none", which is a system path`},
		{"dangling link", "{}/dangling", 1000, `error 5:5: ` + where + `: "{}/dangling" cannot be used: {}/dangling is a symbolic link that leads nowhere`},
		{"bad access", "{}/a:rwx", 1000, `error 5:5: ` + where + `: what follows ":" must be ro or rw: a path that has a colon goes into a mapping, path: "…"`},
		{"bad access key", "{path: {}/a, access: rx}", 1000, `error 5:{ACCESS}: ` + where + `.access: is "rx": did you mean "ro"?`},
		{"no path", "{access: ro}", 1000, `error 5:5: ` + where + `: is missing: write an absolute path`},
		{"number", "5", 1000, `error 5:5: ` + where + `: is 5, want a mapping`},
		{"root's, open", "{}/a", 0, `warning 5:5: ` + where + `: "{}/a" belongs to root, so it is read-only: write access: ro to agree, or access: rw with owner: naming a user`},
		{"root's, read-only", "{}/a:ro", 0, ""},
		{"root's, read-write", "{}/a:rw", 0, `error 5:5: ` + where + `: "{}/a" belongs to root, and a server never writes as root: use access: ro, or name a user with owner:`},
		{"unknown owner", "{owner: bob, path: {}/a}", 1000, `error 5:13: ` + where + `.owner: "bob" is no user of this host: name one, or write a number above 0`},
		{"owner root", "{owner: root, path: {}/a}", 1000, `error 5:13: ` + where + `.owner: "root" cannot be an owner: a server never writes as root: name another user`},
		{"owner zero", `{owner: "00", path: {}/a}`, 1000, `error 5:13: ` + where + `.owner: "00" cannot be an owner: a server never writes as root: name another user`},
		{"owner nobody at all", `{owner: "4294967295", path: {}/a}`, 1000, `error 5:13: ` + where + `.owner: "4294967295" cannot be an owner: a server never writes as root: name another user`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			here := func(text string) string { return strings.ReplaceAll(text, "{}", root) }
			content := "servers:\n s:\n  command: c\n  allowed_directories:\n  - " + here(tt.entry) + "\n"
			_, warnings, err := parse("t.yaml", []byte(content), unset, testHost(tt.uid))
			got := strings.Join(findings(warnings, err), "\n")
			access := fmt.Sprint(strings.Index(here(tt.entry), "rx") + 5)
			if want := strings.ReplaceAll(here(tt.want), "{ACCESS}", access); got != want {
				t.Errorf("findings:\ngot  %s\nwant %s", got, want)
			}
		})
	}
}

// TestNesting has what a server could turn against its own next start, or
// against another server's.
func TestNesting(t *testing.T) {
	t.Parallel()
	root := tree(t)
	tests := []struct{ name, server, want string }{
		{"directory in a directory", `{command: c, allowed_directories: ["{}/a:rw", "{}/a/inner:ro"]}`, `inner" lies in`},
		{"by the variable", `{command: c, env: {ALLOWED_DIRECTORIES: "{}/a:{}/a/inner"}}`, `inner" lies in`},
		{"own program", `{command: c, allowed_directories: ["{}/a:rw"], mounts: ["{}/a/inner:/opt/x"]}`, `which server "s" may write`},
		{"other's program", `{command: c, mounts: ["{}/b:/opt/x"]}`, `which server "other" may write`},
		{"target in a directory", `{command: c, allowed_directories: ["{}/a:ro"], mounts: ["{}/c:{}/a/inner"]}`, "lies in the allowed directory"},
		{"read-only program", `{command: c, allowed_directories: ["{}/a:ro"], mounts: ["{}/a/inner:/opt/x"]}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			content := "servers:\n  s: " + tt.server + "\n  other: {command: c, allowed_directories: [\"{}/b:rw\"]}\n"
			_, _, err := parse("t.yaml", []byte(strings.ReplaceAll(content, "{}", root)), unset, testHost(1000))
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestMountSourceIsResolved: what is opened later must have no link in its path.
func TestMountSourceIsResolved(t *testing.T) {
	t.Parallel()
	root := tree(t)
	link := root + "/link-to-c"
	if err := os.Symlink(root+"/c", link); err != nil {
		t.Fatal(err)
	}
	c, _, err := parse("t.yaml", []byte("servers: {s: {command: c, mounts: [\""+link+"\"]}}"), unset, testHost(1000))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Servers["s"].Mounts[0], (Mount{Source: root + "/c", Target: link}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestDirectoriesAreMerged(t *testing.T) {
	t.Parallel()
	root := tree(t)
	content := `
projects:
  p:
    allowed_directories: ["{}/b:ro"]
servers:
  s:
    project: p
    command: c
    env: {ALLOWED_DIRECTORIES: "{}/a, {}/c:{}/b"}
    allowed_directories: [{path: "{}/a", access: rw, owner: alice}, "{}/b:ro"]
  bare:
    command: c
`
	c, warnings, err := parse("t.yaml", []byte(strings.ReplaceAll(content, "{}", root)), unset, testHost(1000))
	if err != nil || len(warnings) > 0 {
		t.Fatalf("parse: %v, %v", err, warnings)
	}
	got := c.Servers["s"].AllowedDirectories
	want := []Directory{{root + "/a", AccessReadWrite, "1000"}, {root + "/b", AccessReadOnly, ""}, {root + "/c", AccessDefault, ""}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("directories: got %v, want %v", got, want)
	}
	if got := c.Servers["s"].WorkingDirectory; got != root+"/a" {
		t.Errorf("working directory: got %q, want the first directory", got)
	}
	if got := c.Servers["bare"].WorkingDirectory; got != "/tmp" {
		t.Errorf("working directory without directories: got %q, want /tmp", got)
	}
	if c.Servers["s"].Env["ALLOWED_DIRECTORIES"].Empty() {
		t.Error("ALLOWED_DIRECTORIES: is gone, want it passed on")
	}
}

func TestDirectoriesInConflict(t *testing.T) {
	t.Parallel()
	root := tree(t)
	content := `
projects:
  p:
    allowed_directories: ["{}/b:ro", "{}/b:rw"]
servers:
  s:
    project: p
    command: c
    env: {ALLOWED_DIRECTORIES: "/etc,relative"}
    allowed_directories: ["{}/a", "{}/a:ro", "{}/a", "{}/b:rw"]
`
	_, _, err := parse("t.yaml", []byte(strings.ReplaceAll(content, "{}", root)), unset, testHost(1000))
	got := strings.Join(findings(nil, err), "\n")
	want := strings.ReplaceAll(fmt.Sprintf(`error 4:%d: projects.p.allowed_directories[1]: "{}/b" is there twice, with different access or owner: keep one
error 9:32: servers.s.env.ALLOWED_DIRECTORIES[0]: "/etc" is a system path: name a folder of the project's own
error 9:32: servers.s.env.ALLOWED_DIRECTORIES[1]: is "relative", want an absolute path
error 10:%d: servers.s.allowed_directories[1]: "{}/a" is there twice, with different access or owner: keep one
error 10:%d: servers.s.allowed_directories[3]: "{}/b" has another access or owner in project "p": keep one`,
		27+len(root)+len(`"/b:ro", `), 27+len(root)+len(`"/a", `), 27+3*len(root)+len(`"/a", "/a:ro", "/a", `)), "{}", root)
	if got != want {
		t.Errorf("findings:\ngot\n%s\nwant\n%s", got, want)
	}
}

func TestMounts(t *testing.T) {
	t.Parallel()
	root := tree(t)
	const where = "servers.s.mounts[0]"
	for _, tt := range []struct{ name, entry, want string }{
		{"folder", "{}/a", ""},
		{"file", "{}/file:/opt/tool", ""},
		{"through a link", "{}/link", ""},
		{"mapping", "{source: {}/a, target: /opt/a}", ""},
		{"missing", "/root/.nvm/zz-none", `warning 5:5: ` + where + `.source: "/root/.nvm/zz-none" does not exist: the server cannot start before it does`},
		{"relative", "a:/opt/a", `error 5:5: ` + where + `.source: is "a", want an absolute path`},
		{"unclean target", "{}/a:/opt//a", `error 5:5: ` + where + `.target: is "/opt//a": write "/opt/a"`},
		{"root", "/", `error 5:5: ` + where + `.source: "/" is a system path: name the folder of the program` + "\n" + `error 5:5: ` + where + `.target: "/" cannot be a target: the sandbox has its own`},
		{"sockets", "/run/docker.sock:/opt/s", `error 5:5: ` + where + `.source: "/run/docker.sock" is a system path: name the folder of the program`},
		{"etc", "/etc:/opt/etc", `error 5:5: ` + where + `.source: "/etc" is a system path: name the folder of the program`},
		{"holds the gateway's state", "/var/lib:/opt/v", `error 5:5: ` + where + `.source: "/var/lib" is a system path: name the folder of the program`},
		{"link to etc", "{}/etc:/opt/e", `error 5:5: ` + where + `.source: "{}/etc" leads to "/etc", which is a system path`},
		{"onto proc", "{}/a:/proc/x", `error 5:5: ` + where + `.target: "/proc/x" cannot be a target: the sandbox has its own`},
		{"onto etc", "{}/a:/etc", `error 5:5: ` + where + `.target: "/etc" cannot be a target: the sandbox has its own`},
		{"into tmp", "{}/a:/tmp/x", ""},
		{"too many parts", "/a:/b:/c", `error 5:5: ` + where + `: want "/source" or "/source:/target": a path that has a colon goes into a mapping, source: "…"`},
		{"twice", "{}/a\n  - {}/b:{}/a", `error 6:5: servers.s.mounts[1]: "{}/a" is the target of another mount already`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			here := func(text string) string { return strings.ReplaceAll(text, "{}", root) }
			content := "servers:\n s:\n  command: c\n  mounts:\n  - " + here(tt.entry) + "\n"
			_, warnings, err := parse("t.yaml", []byte(content), unset, testHost(1000))
			if got := strings.Join(findings(warnings, err), "\n"); got != here(tt.want) {
				t.Errorf("findings:\ngot  %s\nwant %s", got, here(tt.want))
			}
		})
	}
}

func TestSystemHost(t *testing.T) {
	t.Parallel()
	info, err := os.Stat(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if got := systemHost().owner(info); int(got) != os.Geteuid() {
		t.Errorf("owner of an own folder: got %d, want %d", got, os.Geteuid())
	}
	if got, err := systemHost().userID("root"); got != "0" || err != nil {
		t.Errorf("root's number: got %q, %v, want 0", got, err)
	}
	if got, err := systemHost().userID("no-such-user-here"); err == nil {
		t.Errorf("number of an unknown user: got %q, want an error", got)
	}
}
