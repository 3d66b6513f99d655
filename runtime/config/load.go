package config

import (
	"fmt"

	"mcpgateway/runtime/document"
)

// Load reads the configuration in the file at path: YAML if its name ends in
// .yaml or .yml, TOML if it ends in .toml. The file must belong to root or to
// the user of this process, and nobody else may be able to write to it. env
// gives the values of variables; it is os.LookupEnv outside of tests.
//
// A mistake in the file is reported as document.Errors, all of them at once. Load
// also looks at the directories that the file names, but changes nothing.
func Load(path string, env func(string) (string, bool)) (*Config, document.Errors, error) {
	content, err := document.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(path, content, env)
}

// Parse is Load for a document that was already read. name is the file's name
// for errors and says the format; content may be any bytes.
func Parse(name string, content []byte, env func(string) (string, bool)) (*Config, document.Errors, error) {
	return parse(name, content, env, systemHost())
}

func parse(name string, content []byte, env func(string) (string, bool), on host) (*Config, document.Errors, error) {
	c := new(Config)
	c.setDefaults()
	r := document.Decode(name, content, env, c)
	(&checker{Report: r, config: c, host: on}).check()
	if errors := r.Errors(); len(errors) > 0 {
		return nil, r.Warnings(), errors
	}
	c.unsupported = r.Unsupported()
	return c, r.Warnings(), nil
}
