package containers_test

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"

	"golang.org/x/sys/unix"
)

// helperVariable makes the test binary a helper for secrets, which answers its value.
const helperVariable = "CONTAINERS_TEST_HELPER"

// initVariable makes the test binary the first process of a container, as tini is
// there, which runs the rest of its arguments.
const initVariable = "CONTAINERS_TEST_INIT"

func beInit() {
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGTERM)
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	if cmd.Wait() != nil {
		os.Exit(1)
	}
	os.Exit(0)
}
