package main

import (
	"os"
	"path/filepath"
)

// program returns the path of one of the gateway's other programs. Built, all lie beside
// this one, in bin; installed, those that nobody types lie in libexec.
func program(bin, name string) string {
	path := filepath.Join(bin, name)
	if _, err := os.Lstat(path); err == nil {
		return path
	}
	installed := filepath.Join(bin, "../libexec/mcp-gateway", name)
	if _, err := os.Lstat(installed); err == nil {
		return installed
	}
	return path // which an error then names
}
