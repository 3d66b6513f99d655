// Package keys keeps the API keys' hashes in a file. It never sees a key itself.
//
// Runs in: daemon (reads), CLI (reads and writes).
package keys

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"mcpgateway/policy"
)

// maxFile is the largest key file in bytes.
const maxFile = 16 << 20

type document struct {
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
	var d document
	if err := json.Unmarshal(content, &d); err != nil {
		return nil, fmt.Errorf("read keys %s: %w", path, err)
	}
	return d.Keys, nil
}

// Update replaces the keys of the file at path with what change makes of them.
// It is atomic, durable, and safe against other updates at the same time.
func Update(path string, change func([]policy.Key) ([]policy.Key, error)) error {
	unlock, err := lock(path + ".lock")
	if err != nil {
		return fmt.Errorf("change keys: %w", err)
	}
	defer unlock()
	keys, err := Load(path)
	if err != nil {
		return err
	}
	if keys, err = change(keys); err != nil {
		return err
	}
	content, err := json.MarshalIndent(document{keys}, "", "  ")
	if err != nil {
		return fmt.Errorf("change keys: %w", err)
	}
	if err := replace(path, append(content, '\n')); err != nil {
		return fmt.Errorf("change keys: %w", err)
	}
	return nil
}

func lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		file.Close()
		return nil, err
	}
	return func() { file.Close() }, nil
}

// replace writes a new file and renames it over path, so that a reader, or a
// crash, sees the old file or the new one.
func replace(path string, content []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".keys-") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(content)
	err = errors.Join(err, file.Sync(), file.Close())
	if err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
