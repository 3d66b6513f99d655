// Package release says which version of the gateway a program is.
//
// Runs in: proxy, CLI.
package release

// version is set by the linker (-X): the Makefile has it.
var version = "devel"

// Version is a semantic version such as "0.1.0", or "devel" for a program that was not
// built by make.
func Version() string { return version }
