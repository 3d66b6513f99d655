package provider

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mcpgateway/runtime/document"
	"mcpgateway/runtime/secret"
)

// folder is a folder that any user may pass through.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "provider-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func write(t *testing.T, path, content string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// fetch looks one reference up.
func fetch(p *Provider, r document.Reference, helpers map[string]Helper) (string, error) {
	result := p.Fetch([]document.Reference{r, r}, helpers)[r]
	return result.Value.Reveal(), result.Err
}

func TestFiles(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("plain", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, content string
		mode          os.FileMode // 0: it is there, or is not
		want, err     string
	}{
		{"plain", "s3cret", 0o600, "s3cret", ""},
		{"newline", "s3cret\n", 0o600, "s3cret", ""},
		{"newlines", "s3cret\n\n", 0o600, "s3cret\n", ""},
		{"bytes", "\xff\n\x01 ${x}", 0o640, "\xff\n\x01 ${x}", ""},
		{"largest", strings.Repeat("x", document.MaxSecret), 0o600, strings.Repeat("x", document.MaxSecret), ""},
		{"larger", strings.Repeat("x", document.MaxSecret+1), 0o600, "", "is larger than 65536 bytes"},
		{"empty", "", 0o600, "", "is empty"},
		{"empty line", "\n", 0o600, "", "is empty"},
		{"readable", "s3cret", 0o604, "", "can be read by others"},
		{"writable", "s3cret", 0o620, "", "can be written by its group"},
		{"absent", "", 0, "", "no such file"},
		{"pipe", "", 0, "", "not a regular file"},
		{"link", "", 0, "s3cret", ""}, // to plain
	} {
		path := filepath.Join(dir, tt.name)
		if tt.mode != 0 {
			write(t, path, tt.content, tt.mode)
		}
		for _, r := range []document.Reference{
			{Kind: document.ReferenceFile, Name: path}, {Kind: document.ReferenceCredential, Name: tt.name},
		} {
			got, err := fetch(&Provider{Credentials: dir}, r, nil)
			if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: got %.20q and %v, want %.20q and %q", r, got, err, tt.want, tt.err)
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%s: the error shows the secret: %v", r, err)
			}
		}
	}
	if _, err := fetch(&Provider{}, document.Reference{Kind: document.ReferenceCredential, Name: "plain"}, nil); err == nil || !strings.Contains(err.Error(), "LoadCredential=") {
		t.Errorf("no credentials: got %v", err)
	}
}

// helper asks a shell script. It needs root, as the daemon does.
func helper(t *testing.T, script string, h Helper) (string, error) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("helpers are run by root: run this as root")
	}
	dir := folder(t)
	h.Command = write(t, filepath.Join(dir, "helper"), "#!/bin/sh\n"+script, 0o755)
	if h.Timeout == 0 {
		h.Timeout = 20 * time.Second
	}
	if h.User == "" {
		h.User = "daemon"
	}
	return fetch(&Provider{NotAs: 65534}, document.Reference{Kind: document.ReferenceExec, Helper: "h", Name: "a/b#c"}, map[string]Helper{"h": h})
}

func TestHelperHasNothing(t *testing.T) {
	t.Parallel()
	t.Run("by the kernel", func(t *testing.T) {
		t.Parallel()
		got, err := helper(t, `cat /proc/self/status; echo; cat /proc/self/limits; exec 9<&-; ls -l /proc/self/fd; id; pwd; env; echo "args $*"; wc -c; ps -o pid=,pgid=,sid= -p $$`,
			Helper{Args: []string{"-x"}, Env: map[string]secret.Value{"TOKEN": secret.New("the token")}})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			"Uid:\t1\t1\t1\t1", "Gid:\t1\t1\t1\t1", "Groups:\t \n", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapAmb:\t0000000000000000",
			"NoNewPrivs:\t1", "uid=1(daemon)", "\n/\n", "TOKEN=the token\n", "args -x a/b#c\n", "\n0\n", "0 -> /dev/null",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("got %s\nwant %q in it", got, want)
			}
		}
		for _, never := range []string{"SENTINEL", " 3 -> /", " 4 -> ", " 5 -> "} {
			if strings.Contains(strings.ReplaceAll(got, " 3 -> /proc/", ""), never) {
				t.Errorf("got %s\nwant no %q in it", got, never)
			}
		}
		fields := strings.Fields(got[strings.LastIndex(strings.TrimSpace(got), "\n"):])
		if len(fields) != 3 || fields[0] != fields[1] || fields[0] != fields[2] {
			t.Errorf("process, group, session: got %v, want one number", fields)
		}
	})
}

func TestHelper(t *testing.T) {
	t.Parallel()
	env := map[string]secret.Value{"TOKEN": secret.New("the token")}
	for _, tt := range []struct {
		name, script string
		h            Helper
		want, err    string
	}{
		{"an answer", `printf 's3cret\nof two lines\n'`, Helper{}, "s3cret\nof two lines", ""},
		{"nothing", `true`, Helper{}, "", "is empty"},
		{"a status", `echo s3cret; exit 3`, Helper{}, "", `helper "h": exit status 3`},
		{"a reason", `echo "no right to read $TOKEN" >&2; exit 1`, Helper{Env: env}, "", `helper "h": exit status 1: it says "no right to read [hidden]"`},
		{"its own answer in the reason", `echo s3cret; echo "not s3cret" >&2; exit 1`, Helper{}, "", `it says "not [hidden]"`},
		{"a reason that steers terminals", `printf '\033[31m' >&2; exit 1`, Helper{}, "", `it says "\x1b[31m"`},
		{"a signal", `kill -9 $$`, Helper{}, "", "signal: killed"},
		{"too long", `sleep 60`, Helper{Timeout: 200 * time.Millisecond}, "", "did not end within 200ms, its timeout"},
		{"children that stay", `sleep 60 & echo s3cret; exit 0`, Helper{}, "", "WaitDelay"},
		{"quiet children that stay", `sleep 60 >/dev/null 2>&1 & echo s3cret; exit 0`, Helper{}, "s3cret", ""},
		{"too much", `head -c 100000 /dev/zero | tr '\0' x`, Helper{}, "", "gave more than 65536 bytes"},
		{"endless", `exec cat /dev/zero`, Helper{}, "", "gave more than 65536 bytes"},
		{"endless complaints", `head -c 1000000 /dev/zero >&2; echo s3cret`, Helper{}, "s3cret", ""},
		{"nobody's", `true`, Helper{User: "nobody"}, "", "is the proxy's"},
		{"root's", `true`, Helper{User: "root"}, "", "is root"},
		{"of no user", `true`, Helper{User: "no-such-user"}, "", "useradd --system"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			started := time.Now()
			got, err := helper(t, tt.script, tt.h)
			if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %.200q and %v, want %q and %q", got, err, tt.want, tt.err)
			}
			if err != nil && (strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "the token")) {
				t.Errorf("the error shows a secret: %v", err)
			}
			if time.Since(started) > 30*time.Second {
				t.Errorf("it took %s", time.Since(started))
			}
		})
	}
}

func TestHelperOfOthers(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("helpers are run by root: run this as root")
	}
	dir := folder(t)
	for name, tt := range map[string]struct {
		mode os.FileMode
		uid  int
		err  string
	}{
		"writable": {0o775, 0, "can be written"}, "another's": {0o755, 1, "belongs to user 1"}, "no program": {0o644, 0, "is no program"},
	} {
		path := write(t, filepath.Join(dir, name), "#!/bin/sh\necho x", tt.mode)
		if err := os.Chown(path, tt.uid, 0); err != nil {
			t.Fatal(err)
		}
		_, err := fetch(&Provider{}, document.Reference{Kind: document.ReferenceExec, Helper: "h", Name: "x"},
			map[string]Helper{"h": {Command: path, Timeout: time.Second, User: "daemon"}})
		if err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: got %v, want %q", name, err, tt.err)
		}
	}
}

// Who owns the folder of a helper, or of a link to it, can put another in its place
// after it was looked at.
func TestHelperInFoldersOfOthers(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("helpers are run by root: run this as root")
	}
	good, others := folder(t), folder(t)
	program := write(t, filepath.Join(good, "helper"), "#!/bin/sh\necho x", 0o755)
	inner := filepath.Join(others, "inner")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	below := write(t, filepath.Join(inner, "helper"), "#!/bin/sh\necho x", 0o755)
	link, linked := filepath.Join(others, "link"), filepath.Join(good, "link")
	for path, target := range map[string]string{link: program, linked: below} {
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
	}
	for _, others := range []func() error{
		func() error { return os.Chown(others, 1, 0) },
		func() error { return errors.Join(os.Chown(others, 0, 0), os.Chmod(others, 0o777)) },
	} {
		if err := others(); err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]string{program: "", below: "could change it", link: "could change it", linked: "could change it"} {
			_, err := fetch(&Provider{}, document.Reference{Kind: document.ReferenceExec, Helper: "h", Name: "x"},
				map[string]Helper{"h": {Command: path, Timeout: 20 * time.Second, User: "daemon"}})
			text := fmt.Sprint(err)
			if (err == nil) != (want == "") || err != nil && !strings.Contains(text, want) && !strings.Contains(text, "can be written") {
				t.Errorf("%s: got %v, want %q", path, err, want)
			}
		}
	}
}

// What a helper starts ends with it, when its time is over, too.
func TestHelperLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	_, err := helper(t, `sleep 600 & echo $! > `+dir+`/pid; wait`, Helper{Timeout: time.Second})
	if err == nil {
		t.Fatal("got no error")
	}
	content, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		<-time.After(20 * time.Millisecond)
	}
	t.Errorf("process %d still runs", pid)
}

// Each reference is looked up once, and not too many at a time.
func TestFetchIsBounded(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("helpers are run by root: run this as root")
	}
	dir := folder(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	command := write(t, filepath.Join(folder(t), "helper"), "#!/bin/sh\ncd "+dir+`
touch "run-$1"; ls run-* | wc -l >> counts; sleep 0.1; rm "run-$1"; echo "$1" >> asked; echo "$1"`, 0o755)
	var references []document.Reference
	for i := range 24 {
		references = append(references, document.Reference{Kind: document.ReferenceExec, Helper: "h", Name: strconv.Itoa(i % 12)})
	}
	results := (&Provider{}).Fetch(references, map[string]Helper{"h": {Command: command, Timeout: time.Minute, User: "daemon"}})
	for r, result := range results {
		if result.Err != nil || result.Value.Reveal() != r.Name {
			t.Errorf("%s: got %q and %v", r, result.Value.Reveal(), result.Err)
		}
	}
	asked, _ := os.ReadFile(filepath.Join(dir, "asked"))
	if n := strings.Count(string(asked), "\n"); n != 12 || len(results) != 12 {
		t.Errorf("asked %d times for %d results, want 12", n, len(results))
	}
	counts, _ := os.ReadFile(filepath.Join(dir, "counts"))
	for field := range strings.FieldsSeq(string(counts)) {
		if n, _ := strconv.Atoi(field); n > maxAtOnce {
			t.Errorf("%d ran at a time, want at most %d", n, maxAtOnce)
		}
	}
}
