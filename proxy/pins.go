package proxy

import (
	"cmp"
	"fmt"

	"mcpgateway/policy"
	"mcpgateway/proxy/pins"
)

// parseLock refuses a file of approved tools that it can't enforce, by its name.
func parseLock(file policy.ToolLock) (pins.Lock, error) {
	lock, err := pins.ParseLock(file.Content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cmp.Or(file.Name, "tools.lock"), err)
	}
	return lock, nil
}

// pinModes gives the mode of every server.
func pinModes(rules *policy.Policy) map[string]policy.PinMode {
	modes := map[string]policy.PinMode{}
	for name, server := range rules.Servers {
		modes[name] = cmp.Or(server.ToolPins, policy.PinsOff)
	}
	return modes
}
