// Command mcp-gateway-vault gets one field of a secret from HashiCorp Vault or
// OpenBao, from a KV engine of version 2, and writes it to its standard output. It is
// a helper for ${exec:…} references: it is told where to go by its environment, and
// what to get by its argument, MOUNT/PATH#FIELD. It neither lists nor changes secrets,
// always checks the server's certificate, and tells no token and no value in an error.
//
// Runs in: helper.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// longest is how long it goes on if nobody ends it before.
const longest = 5 * time.Minute

func main() {
	if err := run(os.Args[1:], os.Getenv, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mcp-gateway-vault:", err)
		os.Exit(1)
	}
}

func run(args []string, env func(string) string, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("want one argument, MOUNT/PATH#FIELD")
	}
	// Both names are in use: OpenBao knows Vault's, too.
	variable := func(name string) string {
		if value := env("BAO_" + name); value != "" {
			return value
		}
		return env("VAULT_" + name)
	}
	at, err := parsePlace(args[0], variable("MOUNT"))
	if err != nil {
		return err
	}
	s, err := newServer(variable)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	logout, err := s.login(ctx, variable)
	if err != nil {
		return err
	}
	defer logout()
	value, err := s.read(ctx, at)
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, value)
	return err
}
