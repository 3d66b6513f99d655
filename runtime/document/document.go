// Package document reads a file that root wrote, YAML or TOML, into a value whose
// type is the file's schema. It is strict: what the schema does not know and what
// cannot be converted is an error with its position, and all errors of a file come
// in one go. What the values mean is for others to judge.
//
// The tag config of a field is its key. The tag want is what the value may be: a
// range "low..high", "0|low..high" where zero means something else, texts
// "one|other", or "/" for an absolute path. The tag enforced is the only value
// that this version can enforce. The tag visible says who sees a value besides: no
// secret can be one.
//
// Runs in: daemon, CLI.
package document

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"syscall"

	"go.yaml.in/yaml/v4"
)

// MaxFileSize is the size in bytes of the largest file that is read.
const MaxFileSize = 1 << 20

// ReadFile returns the content of a file that belongs to root or to the user of
// this process, and that nobody else can write to.
func ReadFile(path string) ([]byte, error) { return read(path, 0o022, MaxFileSize) }

// ReadLong is ReadFile for a file of up to so many bytes, which is no document.
func ReadLong(path string, size int64) ([]byte, error) { return read(path, 0o022, size) }

// ReadSecret is ReadFile for what others may not even read. A group may: it is how
// hosts share keys between services.
func ReadSecret(path string) ([]byte, error) { return read(path, 0o026, MaxFileSize) }

// read returns at most one byte more than size.
func read(path string, forbidden fs.FileMode, size int64) ([]byte, error) {
	// Without O_NONBLOCK a named pipe would hold up the open for ever.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	// Of the open file, so that owner, mode and content cannot be those of
	// different files.
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, Errors{{path, "is not a regular file"}}
	}
	if err := trusted(path, info, os.Geteuid(), forbidden); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(file, size+1))
}

// ReadFolder returns the names in a folder that belongs to root or to the user of
// this process, and in which nobody else can put or rename a file.
func ReadFolder(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if err := trusted(path, info, os.Geteuid(), 0o022); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(path)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, err
}

// CheckProgram returns an error if the file at path is no program that belongs to root
// or to the user of this process, or if others can write to it, or put another in its
// place before it is started.
func CheckProgram(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return Errors{{path, "is no program"}}
	}
	target, err := filepath.EvalSymlinks(path)
	if err == nil {
		err = trusted(path, info, os.Geteuid(), 0o022)
	}
	for _, place := range []string{path, target} {
		for at := filepath.Dir(place); err == nil && at != place; place, at = at, filepath.Dir(at) {
			err = checkFolder(at)
		}
	}
	return err
}

// checkFolder returns nil if nobody but root and the user of this process can rename
// what they own in a folder.
func checkFolder(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSticky != 0 && info.Sys().(*syscall.Stat_t).Uid == 0 {
		return nil // as /tmp
	}
	return trusted(path, info, os.Geteuid(), 0o022)
}

// trusted returns nil if nobody but root and user can change the file or folder, or
// do what else is forbidden.
func trusted(path string, info fs.FileInfo, user int, forbidden fs.FileMode) error {
	owner := int(info.Sys().(*syscall.Stat_t).Uid)
	switch {
	case owner != 0 && owner != user:
		return Errors{{path, fmt.Sprintf("belongs to user %d, who could change it: run chown root %s", owner, path)}}
	case info.Mode().Perm()&0o022 != 0:
		return Errors{{path, fmt.Sprintf("can be written by its group or others (mode %04o): run chmod go-w %s", info.Mode().Perm(), path)}}
	case info.Mode().Perm()&forbidden != 0:
		return Errors{{path, fmt.Sprintf("can be read by others (mode %04o): run chmod o-r %s", info.Mode().Perm(), path)}}
	}
	return nil
}

// Decode fills target, a pointer to a struct that holds the defaults already. name
// is the file's name for errors and says the format; content may be any bytes. env
// gives the values of variables; if it is nil, a document has none.
func Decode(name string, content []byte, env func(string) (string, bool), target any) *Report {
	r := &Report{file: name, places: make(map[Path]Position), failed: make(map[Path]bool)}
	var root *yaml.Node
	switch ext := filepath.Ext(name); {
	case len(content) > MaxFileSize:
		r.whole(fmt.Sprintf("is larger than %d bytes: split off what is not configuration", MaxFileSize))
	case ext == ".yaml" || ext == ".yml":
		root = r.readYAML(content)
	case ext == ".toml":
		root = r.readTOML(content)
	default:
		r.whole("is neither YAML nor TOML by its name: end it in .yaml, .yml or .toml")
	}
	if root != nil {
		(&decoder{Report: r, env: env}).decode("", root, root, reflect.ValueOf(target).Elem())
	}
	return r
}
