// Bench builds the proxy with this file added, for -profile: no gateway that is
// installed has it. SIGUSR1 begins a profile of the CPU, and the next one ends it;
// SIGUSR2 writes one of the heap.
package main

import (
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"syscall"
)

var profile string // the file, set by the linker

func init() {
	runtime.MemProfileRate = 64 << 10 // finer, its own part of the CPU profile is not small
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		for begun := range signals {
			kind := cpu
			if begun == syscall.SIGUSR2 {
				kind = heap
			}
			if err := record(func(to io.Writer) error { return kind(to, signals) }); err != nil {
				panic(err)
			}
		}
	}()
}

func cpu(to io.Writer, end <-chan os.Signal) error {
	if err := pprof.StartCPUProfile(to); err != nil {
		return err
	}
	<-end
	pprof.StopCPUProfile()
	return nil
}

func heap(to io.Writer, _ <-chan os.Signal) error {
	runtime.GC() // the profile is of the last one
	return pprof.Lookup("heap").WriteTo(to, 0)
}

func record(write func(io.Writer) error) error {
	file, err := os.Create(profile)
	if err != nil {
		return err
	}
	if err := write(file); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	return os.Rename(profile, profile+".done") // all of it is there
}
