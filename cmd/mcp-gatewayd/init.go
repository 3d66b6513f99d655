package main

import "mcpgateway/sandbox"

// A sandbox begins as a second execution of this binary, which must become its
// first process before anything else of the daemon runs.
func init() { sandbox.Init() }
