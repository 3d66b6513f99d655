package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"mcpgateway/policy"
	"mcpgateway/policy/rbac"
	"mcpgateway/runtime/config"
	"mcpgateway/runtime/document"
)

// policyMistakes compiles the conditions of the policy file, as the proxy will.
func policyMistakes(cfg *config.Config) error {
	data := cfg.Security.Authorization.RBAC
	if data == nil {
		return nil
	}
	_, err := rbac.New(data)
	return err
}

// mistakesOf are the mistakes in an error of policyMistakes, all of them.
func mistakesOf(path string, err error) (list []remark) {
	var mistakes rbac.Errors
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &mistakes):
		return []remark{{path, err.Error()}}
	}
	for _, m := range mistakes {
		list = append(list, remark{m.Position, m.Text})
	}
	return list
}

// unknownNames says which rules name a project or server that the configuration does
// not have: they match nothing.
func unknownNames(cfg *config.Config) (list []remark) {
	data := cfg.Security.Authorization.RBAC
	if data == nil {
		return nil
	}
	projects, servers := slices.Sorted(maps.Keys(cfg.Projects)), slices.Sorted(maps.Keys(cfg.Servers))
	look := func(at policy.Position, what string, names, known []string) {
		for _, name := range names {
			if strings.Contains(name, "*") || slices.Contains(known, name) {
				continue
			}
			text := fmt.Sprintf("there is no %s %q", what, name)
			if meant := document.Nearest(name, known); meant != "" {
				text += fmt.Sprintf(": did you mean %q?", meant)
			}
			list = append(list, remark{data.Where(at), text})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(data.Roles)) {
		for _, p := range data.Roles[name].Permissions {
			look(p.At, "project", p.Projects, projects)
			look(p.At, "server", p.Servers, servers)
		}
	}
	for _, b := range data.Bindings {
		look(b.At, "project", b.Projects, projects)
	}
	return list
}
