package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"mcpgateway/policy"
	"mcpgateway/runtime/keys"
)

func keyFile(state string) string { return filepath.Join(state, "keys.json") }

// updateKeys replaces the keys of the file at path with what change makes of
// them. It is atomic, durable, and safe against other updates at the same time.
func updateKeys(path string, change func([]policy.Key) ([]policy.Key, error)) error {
	unlock, err := lock(path + ".lock")
	if err != nil {
		return fmt.Errorf("change keys: %w", err)
	}
	defer unlock()
	stored, err := keys.Load(path)
	if err != nil {
		return err
	}
	if stored, err = change(stored); err != nil {
		return err
	}
	content, err := json.MarshalIndent(keys.File{Keys: stored}, "", "  ")
	if err != nil {
		return fmt.Errorf("change keys: %w", err)
	}
	if err := replaceFile(path, append(content, '\n')); err != nil {
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
		return nil, errors.Join(err, file.Close())
	}
	return func() { file.Close() }, nil
}

// lockFolder keeps others from changing files of a folder in the same way meanwhile.
func lockFolder(path string) (unlock func(), err error) {
	folder, err := os.OpenFile(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(folder.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(err, folder.Close())
	}
	return func() { folder.Close() }, nil
}

// replaceFile writes a new file that only its owner can read and renames it over
// path: a reader, or a crash, finds the old file or the new one.
func replaceFile(path string, content []byte) error { return replaceFileAs(path, content, 0o600) }

// replaceFileAs is replaceFile for a file with another mode.
func replaceFileAs(path string, content []byte, mode os.FileMode) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".new-") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(content)
	if err = errors.Join(err, file.Chmod(mode)); err != nil {
		return errors.Join(err, file.Close())
	}
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
