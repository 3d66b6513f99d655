package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"mcpgateway/runtime/config"
)

// placeholder begins the value of a variable that is not set here. It is longer than
// any secret must be, so that nothing is refused for it.
const placeholder = "this variable is not set in the environment of this command: "

// loadOffline reads a configuration for a command that does without the values of
// variables: those of servers are set for the daemon, and seldom where people work.
func loadOffline(path string) (*config.Config, error) {
	var unset []string
	cfg, _, err := config.Load(path, func(name string) (string, bool) {
		if value, ok := os.LookupEnv(name); ok {
			return value, true
		}
		if !slices.Contains(unset, name) {
			unset = append(unset, name)
		}
		return placeholder + name, true
	})
	if err != nil && len(unset) > 0 {
		err = fmt.Errorf("%w\n(these variables are not set here: %s)", err, strings.Join(unset, ", "))
	}
	return cfg, err
}
