package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"mcpgateway/runtime/document"
)

// Load reads the configuration in the file at path: YAML if its name ends in
// .yaml or .yml, TOML if it ends in .toml. The file must belong to root or to
// the user of this process, and nobody else may be able to write to it. env
// gives the values of variables; it is os.LookupEnv outside of tests.
//
// A mistake in the file is reported as document.Errors, all of them at once. Load
// also looks at the directories that the file names, but changes nothing. It does
// not look up secrets.
func Load(path string, env func(string) (string, bool)) (*Config, document.Errors, error) {
	r := Read(path, env, nil)
	return r.Config, r.Warnings, r.Err
}

// Reading is what came of reading a configuration.
type Reading struct {
	Config   *Config // nil after an error
	Warnings document.Errors
	Err      error
	// Files are the paths of all that the configuration is made of, whether or not
	// there is anything: files, and folders whose names count. A mistake may be in any.
	Files []string
}

// Read is Load for who watches the files, and uses what references stand for: a
// reference that fetch can't look up is a mistake like any other. Without fetch
// secrets are not looked up.
func Read(path string, env func(string) (string, bool), fetch Fetch) Reading {
	content, err := document.ReadFile(path)
	if err != nil {
		return Reading{Err: fmt.Errorf("read configuration: %w", err), Files: []string{path}}
	}
	on := systemHost()
	on.fetch = fetch
	return read(path, content, env, on)
}

// Parse is Load for a document that was already read. name is the file's name
// for errors and says the format; content may be any bytes.
func Parse(name string, content []byte, env func(string) (string, bool)) (*Config, document.Errors, error) {
	return parse(name, content, env, systemHost())
}

func parse(name string, content []byte, env func(string) (string, bool), on host) (*Config, document.Errors, error) {
	r := read(name, content, env, on)
	return r.Config, r.Warnings, r.Err
}

func read(name string, content []byte, env func(string) (string, bool), on host) Reading {
	c := new(Config)
	c.setDefaults()
	c.Sandbox.Profiles = filepath.Join(filepath.Dir(name), "profiles")
	c.Security.ToolPins.File = filepath.Join(filepath.Dir(name), "tools.lock")
	r := document.Decode(name, content, env, c)
	r.Watch(name)
	checker := &checker{Report: r, config: c, host: on}
	mistakes, err := checker.loadProfiles()
	if err != nil {
		return Reading{Err: err, Files: r.Files()}
	}
	checker.check()
	mistakes = append(mistakes, checker.authorization()...)
	warnings := r.Warnings()
	if checker.profiles != nil {
		warnings = append(warnings, checker.profiles.Warnings()...)
	}
	if mistakes = append(r.Errors(), mistakes...); len(mistakes) > 0 {
		return Reading{Warnings: warnings, Err: mistakes, Files: r.Files()}
	}
	c.unsupported = r.Unsupported()
	return Reading{Config: c, Warnings: warnings, Files: r.Files()}
}

// loadProfiles reads the profiles of the folder that the file names. Their mistakes
// are reported beside its own.
func (c *checker) loadProfiles() (mistakes document.Errors, err error) {
	at, folder := document.At("sandbox", "profiles"), c.config.Sandbox.Profiles
	if c.HasFailed(at) {
		return nil, nil
	}
	c.Watch(folder)
	entries, err := os.ReadDir(folder)
	if c.Given(at) && errors.Is(err, fs.ErrNotExist) {
		c.Warn(at, "%q does not exist: there are only the shipped profiles", folder)
	}
	for _, entry := range entries {
		c.Watch(filepath.Join(folder, entry.Name()))
	}
	c.profiles, err = c.host.profiles(folder)
	if errors.As(err, &mistakes) {
		return mistakes, nil
	}
	return nil, err
}
