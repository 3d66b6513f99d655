package images

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// UID and GID are the ids that a server has inside its sandbox.
const (
	UID = 1000
	GID = 1000
)

// etcFiles is the whole /etc that is made rather than copied. The names are
// fixed: nothing of the host's users, hosts or name servers shows.
var etcFiles = map[string]string{
	"passwd":        "root:x:0:0:root:/:/usr/sbin/nologin\nmcp:x:1000:1000:mcp:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
	"group":         "root:x:0:\nmcp:x:1000:\nnogroup:x:65534:\n",
	"hosts":         "127.0.0.1\tlocalhost\n::1\tlocalhost\n",
	"hostname":      "mcp\n",
	"host.conf":     "multi on\n",
	"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
	"resolv.conf":   "nameserver 127.0.0.1\noptions timeout:2 attempts:1\n", // answered for profiles with an allow-list (network.mode)
	"os-release":    "ID=mcp-gateway\nNAME=\"MCP Gateway sandbox\"\n",
}

// copied are the host's files that programs need to run at all: where the
// libraries are, which authorities to trust, what the local time is. None of
// them names a user or a machine.
var copied = []string{
	"ld.so.cache",
	"localtime",
	"ssl/certs/ca-certificates.crt",
	"ssl/openssl.cnf",
	"pki/tls/certs/ca-bundle.crt",
	"mime.types",
	"services",
	"protocols",
}

// maxCopied is the largest file in bytes that is copied.
const maxCopied = 16 << 20

// WriteEtc makes the /etc of the image "host" in dir, which must not exist. It
// keeps the host's choice of alternatives (update-alternatives(1)), because
// programs such as awk or java are found only through them.
func WriteEtc(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("make the image's /etc: %w", err)
	}
	for name, content := range etcFiles {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return fmt.Errorf("make the image's /etc: %w", err)
		}
	}
	for _, name := range copied {
		if err := copyFile(filepath.Join("/etc", name), filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("make the image's /etc/%s: %w", name, err)
		}
	}
	return copyAlternatives("/etc/alternatives", filepath.Join(dir, "alternatives"))
}

// copyFile copies a file that may be absent on this host.
func copyFile(from, to string) error {
	info, err := os.Stat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() > maxCopied {
		return fmt.Errorf("%s is not a regular file of at most %d bytes", from, maxCopied)
	}
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o644)
}

// copyAlternatives copies the links that point at programs of the image; one
// that points elsewhere would name what the image does not show.
func copyAlternatives(from, to string) error {
	entries, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the host's alternatives: %w", err)
	}
	if err := os.Mkdir(to, 0o755); err != nil {
		return fmt.Errorf("copy the host's alternatives: %w", err)
	}
	for _, entry := range entries {
		target, err := os.Readlink(filepath.Join(from, entry.Name()))
		if err != nil || !visibleTarget(target) {
			continue
		}
		if err := os.Symlink(target, filepath.Join(to, entry.Name())); err != nil {
			return fmt.Errorf("copy the host's alternatives: %w", err)
		}
	}
	return nil
}

func visibleTarget(target string) bool {
	for _, root := range []string{"/usr/", "/bin/", "/sbin/", "/lib/"} {
		if strings.HasPrefix(target, root) {
			return true
		}
	}
	return false
}
