// Package procs says what processes use, as /proc has it: those below one, told apart
// by their programs' names.
//
// Runs in: tests/bench.
package procs

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is what CPU time is counted in (USER_HZ, the same on all architectures).
const tick = time.Second / 100

// Process is one as /proc/PID/stat has it.
type Process struct {
	PID, Parent int
	Name        string // at most 15 bytes
	CPU         time.Duration
}

// Tree is a process and all below it.
func Tree(root int) ([]Process, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	all := map[int]Process{}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		p, err := parse(content)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all[p.PID] = p
	}
	if _, ok := all[root]; !ok {
		return nil, fmt.Errorf("process %d has ended", root)
	}
	return below(all, root), nil
}

func below(all map[int]Process, root int) []Process {
	found := []Process{all[root]}
	for i := 0; i < len(found); i++ {
		for _, pid := range slices.Sorted(maps.Keys(all)) {
			if all[pid].Parent == found[i].PID {
				found = append(found, all[pid])
			}
		}
	}
	return found
}

// parse reads proc_pid_stat(5); the name may have blanks and parentheses.
func parse(stat []byte) (Process, error) {
	begin, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if begin < 0 || end < begin {
		return Process{}, fmt.Errorf("no name in %.100q", stat)
	}
	p := Process{Name: string(stat[begin+1 : end])}
	fields := strings.Fields(string(stat[end+1:]))
	const parent, user, system = 1, 11, 12 // fields 4, 14 and 15; the name is field 2
	if len(fields) <= system {
		return Process{}, fmt.Errorf("%d fields after the name", len(fields))
	}
	var ticks [2]uint64
	var err error
	if p.PID, err = strconv.Atoi(strings.TrimSpace(string(stat[:begin]))); err != nil {
		return Process{}, err
	}
	if p.Parent, err = strconv.Atoi(fields[parent]); err != nil {
		return Process{}, err
	}
	for i, field := range []int{user, system} {
		if ticks[i], err = strconv.ParseUint(fields[field], 10, 64); err != nil {
			return Process{}, err
		}
	}
	p.CPU = time.Duration(ticks[0]+ticks[1]) * tick
	return p, nil
}

// CPU is what processes have used between two looks. One that was not there before
// counts from its start; what one that ended used meanwhile is not known.
func CPU(before, after []Process, counted func(Process) bool) time.Duration {
	was := map[int]time.Duration{}
	for _, p := range before {
		was[p.PID] = p.CPU
	}
	var used time.Duration
	for _, p := range after {
		if counted(p) {
			used += p.CPU - was[p.PID]
		}
	}
	return used
}

// Memory is in bytes.
type Memory struct {
	RSS, PSS int64 // PSS counts a page that n processes share as an n-th
	Private  int64 // of pages that no other process has
}

// MemoryOf adds up what processes occupy, but those that have ended meanwhile.
func MemoryOf(processes []Process, counted func(Process) bool) (Memory, error) {
	var sum Memory
	for _, p := range processes {
		if !counted(p) {
			continue
		}
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.PID))
		switch {
		case errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH):
			continue
		case err != nil:
			return Memory{}, err
		}
		sum.RSS += kilobytes(content, "Rss:") << 10
		sum.PSS += kilobytes(content, "Pss:") << 10
		sum.Private += (kilobytes(content, "Private_Clean:") + kilobytes(content, "Private_Dirty:")) << 10
	}
	return sum, nil
}

// Peak is the most memory that a process had in RAM since its last call for it, in
// bytes. It needs root.
func Peak(pid int) (int64, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	const resetPeak = "5"
	err = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte(resetPeak), 0)
	return kilobytes(content, "VmHWM:") << 10, err
}

func kilobytes(rollup []byte, name string) int64 {
	for line := range strings.Lines(string(rollup)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == name {
			n, err := strconv.ParseInt(fields[1], 10, 64)
			if err == nil {
				return n
			}
		}
	}
	return 0
}
