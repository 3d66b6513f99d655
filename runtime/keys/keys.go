// Package keys reads the files that the operator's command keeps: the API keys'
// hashes, so that it never sees such a key itself, and the secret of the gateway's own
// tokens. It does not write: the daemon can make neither.
//
// Runs in: daemon, CLI.
package keys

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"mcpgateway/policy"
)

const (
	maxFile   = 16 << 20 // bytes of the file with the keys
	maxSecret = 4 << 10
)

// File is what the file holds, as JSON.
type File struct {
	Keys []policy.Key `json:"keys"`
}

// Load returns the keys of the file at path; none if it does not exist. The file
// must belong to root or the caller and be writable by its owner alone: who can
// write it can let anybody in.
func Load(path string) ([]policy.Key, error) {
	content, err := read(path, 0o022, maxFile)
	if content == nil || err != nil {
		return nil, err
	}
	var f File
	if err := json.Unmarshal(content, &f); err != nil {
		return nil, fmt.Errorf("read keys %s: %w", path, err)
	}
	return f.Keys, nil
}

// Secret returns the secret of the gateway's own tokens, which is the file at path;
// nil if it does not exist. Nobody but its owner may even read it.
func Secret(path string) ([]byte, error) {
	content, err := read(path, 0o077, maxSecret)
	return bytes.TrimSpace(content), err
}

// read returns what is in a file, nil without one.
func read(path string, forbidden uint32, most int64) ([]byte, error) {
	file, err := os.OpenFile(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return nil, fmt.Errorf("read keys %s: %w", path, err)
	}
	if st.Uid != 0 && int(st.Uid) != os.Geteuid() || st.Mode&forbidden != 0 {
		return nil, fmt.Errorf("read keys %s: others may get at it: chown root %[1]s && chmod 0600 %[1]s", path)
	}
	content, err := io.ReadAll(io.LimitReader(file, most))
	if err != nil {
		return nil, fmt.Errorf("read keys %s: %w", path, err)
	}
	return content, nil
}
