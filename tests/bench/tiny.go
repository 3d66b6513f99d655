package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// tinyName is the program of the tiny server, by which its processes are told.
const tinyName = "bench-tiny"

//go:embed testdata/tiny.c
var tinySource string

// buildTiny builds it with the compiler that the daemon needs, too.
func buildTiny(ctx context.Context, to string) error {
	compiler := os.Getenv("CC")
	if compiler == "" {
		compiler = "cc"
	}
	build := exec.CommandContext(ctx, compiler, "-O2", "-static", "-s", "-x", "c", "-o", to, "-")
	build.Stdin = strings.NewReader(tinySource)
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the tiny server: %w: %s", err, out)
	}
	return nil
}
