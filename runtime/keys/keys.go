// Package keys reads the file with the API keys' hashes. It never sees a key
// itself, and does not write: the daemon can't make one.
//
// Runs in: daemon, CLI.
package keys

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"mcpgateway/policy"
)

// maxFile is the largest key file in bytes.
const maxFile = 16 << 20

// File is what the file holds, as JSON.
type File struct {
	Keys []policy.Key `json:"keys"`
}

// Load returns the keys of the file at path; none if it does not exist. The file
// must belong to root or the caller and be writable by its owner alone: who can
// write it can let anybody in.
func Load(path string) ([]policy.Key, error) {
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
	if st.Uid != 0 && int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return nil, fmt.Errorf("read keys %s: others may write it: chown root %[1]s && chmod 0600 %[1]s", path)
	}
	content, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err != nil {
		return nil, fmt.Errorf("read keys %s: %w", path, err)
	}
	var f File
	if err := json.Unmarshal(content, &f); err != nil {
		return nil, fmt.Errorf("read keys %s: %w", path, err)
	}
	return f.Keys, nil
}
