package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"mcpgateway/runtime/document"
	"mcpgateway/runtime/provider"
	"mcpgateway/runtime/secret"
)

// Secrets is where the values of references come from.
type Secrets struct {
	Helpers map[string]provider.Helper `config:"helpers"`
	Refresh time.Duration              `config:"refresh" want:"0|1s..24h"` // how often they are looked up again; default 5m; zero: on reload only
}

// Fetch looks references up: it is the method of a provider.Provider.
type Fetch func([]document.Reference, map[string]provider.Helper) map[document.Reference]provider.Result

// known is what references stood for when the configuration was loaded.
type known map[document.Reference]secret.Value

// Unfetched is how many references of the file were not looked up: all, if it was
// read without Fetch.
func (c *Config) Unfetched() int { return c.unfetched }

// SecretsChanged looks all references up again and reports whether one stands for
// something else now. An error says that nothing is known.
func (c *Config) SecretsChanged(fetch Fetch) (bool, error) {
	for _, before := range c.fetched { // the helpers' own come first
		now := fetch(slices.Collect(maps.Keys(before)), c.Secrets.Helpers)
		for reference, value := range before {
			if err := now[reference].Err; err != nil {
				return false, fmt.Errorf("%s: %w", reference, err)
			}
			if now[reference].Value.Reveal() != value.Reveal() {
				return true, nil
			}
		}
	}
	return false, nil
}

// secrets judges the helpers and looks up the references. What helpers themselves
// need comes first.
func (c *checker) secrets() {
	at := document.At("secrets", "helpers")
	helpers := c.config.Secrets.Helpers
	for _, name := range slices.Sorted(maps.Keys(helpers)) {
		c.name(at.Key(name), name)
		if helpers[name].Command == "" {
			c.Fail(at.Key(name).Key("command"), "is missing: name the program that gets secrets")
		}
		c.variableNames(at.Key(name).Key("env"), helpers[name].Env)
	}
	c.References(func(p document.Path, r document.Reference) {
		_, declared := helpers[r.Helper]
		switch {
		case r.Kind == document.ReferenceExec && p.Within(at):
			c.Fail(p, "%s can't be used here: a helper's own secrets come from files or credentials", r)
		case r.Kind == document.ReferenceExec && !declared:
			text := "declare it below secrets.helpers"
			if meant := document.Nearest(r.Helper, slices.Collect(maps.Keys(helpers))); meant != "" {
				text = fmt.Sprintf("did you mean %q?", meant)
			}
			c.Fail(p, "%s: there is no helper %q: %s", r, r.Helper, text)
		}
		if r.Kind == document.ReferenceFile {
			c.Watch(r.Name)
		}
		c.config.unfetched++
	})
	if c.host.fetch == nil || len(c.Errors()) > 0 { // no program is run for a file that is wrong
		return
	}
	c.config.unfetched = 0
	if c.config.fetched[0] = c.fetch(at); len(c.Errors()) == 0 {
		c.config.fetched[1] = c.fetch("")
	}
}

func (c *checker) fetch(within document.Path) known {
	var references []document.Reference
	c.References(func(p document.Path, r document.Reference) {
		if p.Within(within) {
			references = append(references, r)
		}
	})
	if len(references) == 0 {
		return nil
	}
	results, found := c.host.fetch(references, c.config.Secrets.Helpers), make(known)
	c.Resolve(within, func(r document.Reference) (string, error) {
		result, ok := results[r]
		if !ok {
			return "", errors.New("was not looked up")
		}
		found[r] = result.Value
		return result.Value.Reveal(), result.Err
	})
	return found
}

// variableNames refuses what can't name a variable of an environment.
func (c *checker) variableNames(p document.Path, env map[string]secret.Value) {
	for _, variable := range slices.Sorted(maps.Keys(env)) {
		if !document.IsVariable(variable) {
			c.Fail(p.Key(variable), "the name of a variable has letters, digits and '_', and no digit first")
		}
	}
}
