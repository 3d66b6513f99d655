package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/spf13/cobra"

	"mcpgateway/proxy/pins"
	"mcpgateway/runtime/config"
	"mcpgateway/runtime/document"
)

// lockFlags say where the file of approved tools is. The proxy is not asked: it must not
// choose what root writes to.
type lockFlags struct{ config, lock *string }

func newLockFlags(cmd *cobra.Command) lockFlags {
	return lockFlags{
		config: cmd.Flags().String("config", defaultConfig, "the gateway's configuration `FILE`, which names the lock file"),
		lock:   cmd.Flags().String("lock", "", "use this lock `FILE`, whatever the configuration says"),
	}
}

func (f lockFlags) path() (string, error) {
	if *f.lock != "" {
		return filepath.Abs(*f.lock)
	}
	cfg, err := loadOffline(*f.config)
	if err != nil {
		return "", fmt.Errorf("find the lock file: %w\n(name the configuration with --config, or the lock file itself with --lock)", err)
	}
	return filepath.Abs(cfg.Security.ToolPins.File)
}

// readLock returns what is approved; nothing if there is no file.
func readLock(path string) (pins.Lock, error) {
	content, err := document.ReadLong(path, config.MaxLockSize)
	if errors.Is(err, fs.ErrNotExist) {
		return pins.Lock{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read approved tools: %w", err)
	}
	if len(content) > config.MaxLockSize {
		return nil, fmt.Errorf("read approved tools: %s is larger than %d bytes", path, config.MaxLockSize)
	}
	lock, err := pins.ParseLock(content)
	if err != nil {
		return nil, fmt.Errorf("read approved tools: %s: %s", path, shown(err.Error()))
	}
	return lock, nil
}

// updateLock replaces the lock with what change makes of it. It is atomic, durable, and
// safe against other updates at the same time.
func updateLock(path string, change func(pins.Lock)) error {
	unlock, err := lockFolder(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("write approved tools: %w", err)
	}
	defer unlock()
	lock, err := readLock(path)
	if err != nil {
		return err
	}
	change(lock)
	content, err := encodeLock(lock)
	if err == nil && len(content) > config.MaxLockSize {
		err = fmt.Errorf("%s would be larger than %d bytes", path, config.MaxLockSize)
	}
	if err == nil {
		_, err = pins.ParseLock(content) // what the gateway would not read is not written
	}
	if err == nil {
		err = replaceFileAs(path, content, 0o644)
	}
	if err != nil {
		return fmt.Errorf("write approved tools: %w", err)
	}
	return nil
}

// encodeLock writes a lock so that two can be compared line by line, and so that nothing
// in it is hidden.
func encodeLock(lock pins.Lock) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(lock); err != nil {
		return nil, err
	}
	return visible(b.Bytes()), nil
}
