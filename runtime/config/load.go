package config

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

// MaxFileSize is the size in bytes of the largest file that Load reads.
const MaxFileSize = 1 << 20

// Load reads the configuration in the file at path: YAML if its name ends in
// .yaml or .yml, TOML if it ends in .toml. The file must belong to root or to
// the user of this process, and nobody else may be able to write to it. env
// gives the values of variables; it is os.LookupEnv outside of tests.
//
// A mistake in the file is reported as Errors, all of them at once. Load also
// looks at the directories that the file names, but changes nothing.
func Load(path string, env func(string) (string, bool)) (*Config, Errors, error) {
	document, err := readFile(path, os.Geteuid())
	if err != nil {
		return nil, nil, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(path, document, env)
}

// Parse is Load for a document that was already read. name is the file's name
// for errors and says the format; document may be any bytes.
func Parse(name string, document []byte, env func(string) (string, bool)) (*Config, Errors, error) {
	return parse(name, document, env, systemHost())
}

func parse(name string, document []byte, env func(string) (string, bool), on host) (*Config, Errors, error) {
	r := &report{file: name, places: make(map[path]position), failed: make(map[path]bool)}
	var root *yaml.Node
	switch ext := filepath.Ext(name); {
	case len(document) > MaxFileSize:
		return nil, nil, Errors{{name, fmt.Sprintf("is larger than %d bytes: split off what is not configuration", MaxFileSize)}}
	case ext == ".yaml" || ext == ".yml":
		root = r.readYAML(document)
	case ext == ".toml":
		root = r.readTOML(document)
	default:
		return nil, nil, Errors{{name, "is neither YAML nor TOML by its name: end it in .yaml, .yml or .toml"}}
	}
	c := new(Config)
	c.setDefaults()
	if root != nil {
		(&decoder{report: r, env: env}).decode("", root, root, reflect.ValueOf(c).Elem())
	}
	(&checker{report: r, config: c, host: on}).check()

	warnings := inOrder(name, r.warnings)
	if len(r.errors) > 0 {
		return nil, warnings, inOrder(name, r.errors)
	}
	c.unsupported = inOrder(name, r.unsupported)
	return c, warnings, nil
}

// readFile looks at owner, mode and content of one open file, so that they
// cannot be those of different files.
func readFile(path string, user int) ([]byte, error) {
	// Without O_NONBLOCK a named pipe would hold up the open for ever.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if err := trusted(path, info, user); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(file, MaxFileSize+1))
}

// trusted returns nil if nobody but root and user can change the file.
func trusted(path string, info fs.FileInfo, user int) error {
	owner := int(ownerOf(info))
	switch {
	case !info.Mode().IsRegular():
		return Errors{{path, "is not a regular file"}}
	case owner != 0 && owner != user:
		return Errors{{path, fmt.Sprintf("belongs to user %d, who could change it: run chown root %s", owner, path)}}
	case info.Mode().Perm()&0o022 != 0:
		return Errors{{path, fmt.Sprintf("can be written by its group or others (mode %04o): run chmod go-w %s", info.Mode().Perm(), path)}}
	}
	return nil
}
